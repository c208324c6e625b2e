"""Images of a run as a torch data set: squares of the run's own side, read one at a time.

This module does not know which images are chosen, or why.
"""

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.data.access import read_image


class ImageDataset(Dataset[tuple[Any, int]]):
    """Pairs of an image, or what `transform` makes of it, and the id of its class; may be sent to other processes."""

    def __init__(
        self,
        run: RunDirectory,
        images: Sequence[tuple[str, int]],
        class_names: Sequence[str],
        size_px: int,
        transform: Callable[[Image.Image], Any] | None = None,
    ) -> None:
        """Takes the address and class id of each image, and the side in pixels that the run shows its classifier."""
        self._run, self._size_px, self._transform = run, size_px, transform
        self.addresses = [address for address, _ in images]
        self.targets = [class_id for _, class_id in images]
        """Class ids in the order of the images, as in torchvision."""
        self.classes = list(class_names)
        """Class names in the order of their ids."""

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """One image with its class id.

        Raises:
            ValueError: its file is damaged, or no image any more; names it.
        """
        image = Image.fromarray(read_image(self.addresses[index], self._size_px, self._run))
        return (image if self._transform is None else self._transform(image)), self.targets[index]
