"""`flowerti.Run`: a run directory for a person's own Python, from its settings to its images.

It reads and never writes, and works while the run goes on. Torch is imported for `dataset` alone. This module does not
know how anything was computed.
"""

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from PIL import Image

from flowerti.artifacts import layout
from flowerti.artifacts.records import Census, Selection
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import read_config
from flowerti.config.experiment import Experiment
from flowerti.data.shards import synthetic_png
from flowerti.export.tokens import TOKEN_FILE
from flowerti.reading import images, tables
from flowerti.reading.stage_results import advice, result_of
from flowerti.report.stored_summary import stored_summary

if TYPE_CHECKING:
    from flowerti.reading.torch_dataset import ImageDataset


class Run:
    """What a run has left so far: `Run("runs/demo")`, or an `s3://` or `gs://` address.

    Every table is an Arrow table whose columns are fields of the run's records; `.to_pandas()` makes a data frame.
    Whatever a stage has not made yet is a ValueError that names the stage, and so is a file that is damaged.
    """

    settings: Experiment
    """Every setting, as config.json has it."""

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        """Open a run directory.

        Raises:
            ValueError: no run was started there, or its settings are damaged.
        """
        self._directory = RunDirectory(os.fspath(run_dir))
        self.settings = read_config(self._directory)

    def __repr__(self) -> str:
        """As it was made."""
        return f"Run({self.uri!r})"

    @property
    def uri(self) -> str:
        """Where it is."""
        return self._directory.uri

    @cached_property
    def summary(self) -> dict[str, Any]:
        """`summary.json`, read once: what the report says, with the keys of `flowerti/summary.schema.json`.

        Raises:
            ValueError: the run is not finished, or the file is not what it wrote.
        """
        return stored_summary(self._directory)

    @property
    def recommendation(self) -> str:
        """What the run recommends about the judged images and why, in a sentence; raises as `summary`."""
        return self.summary["recommendation"]

    @property
    def verdict(self) -> dict[str, Any] | None:
        """What to do, with its gain on test and its interval; None where no images were judged; raises as `summary`."""
        return self.summary["verdict"]

    @property
    def class_names(self) -> tuple[str, ...]:
        """All classes, in the order of their ids.

        Raises:
            ValueError: the stage classify is not begun.
        """
        census = result_of("classify", self._directory, layout.CENSUS, Census)
        return tuple(count.class_name for count in census.counts)

    @property
    def weak_classes(self) -> tuple[str, ...]:
        """The classes that do badly on validation.

        Raises:
            ValueError: the stage select is not done.
        """
        selection = result_of("select", self._directory, layout.SELECTION, Selection)
        return tuple(chosen.class_name for chosen in selection.selected)

    def arms(self) -> pa.Table:
        """A row for each split, arm and level of the sweep: F1 in [0, 1] and gains with 95 % intervals.

        Raises:
            ValueError: the stage sweep is not done.
        """
        return tables.arms_table(self._directory)

    def arms_by_class(self) -> pa.Table:
        """The same for each weak class alone.

        Raises:
            ValueError: the stage sweep is not done.
        """
        return tables.arms_by_class_table(self._directory)

    def classes(self) -> pa.Table:
        """A row for each class: images of each split, scores in [0, 1] of the first classifier on validation, is_weak.

        Raises:
            ValueError: the stage select is not done.
        """
        return tables.classes_table(self._directory)

    def distances(self) -> pa.Table:
        """A row for each set of synthetic images, metric, network and split: value, floor, n, interval and p.

        Raises:
            ValueError: the stage score is not done.
        """
        return tables.distances_table(self._directory)

    def images(self) -> pa.Table:
        """A row for each synthetic image: address, class, source, learning, index, seed, prompt, weight and others.

        `weight` is 0 where a filter refused it; `probability` of its class, `similarity` in [-1, 1] to the nearest
        training image and `train_id` of that are null until the stage score, and for learnings that are not scored.

        Raises:
            ValueError: no image was drawn yet, or a file of images is damaged.
        """
        return images.images_table(self._directory)

    def image(self, row: Mapping[str, Any] | str) -> Image.Image:
        """A synthetic image as it was drawn.

        Args:
            row: of `images().to_pylist()`, or the address in it.

        Raises:
            ValueError: its file is damaged.
        """
        address = row if isinstance(row, str) else row["address"]
        with Image.open(io.BytesIO(synthetic_png(self._directory, address))) as found:
            return found.convert("RGB")

    def iter_images(self, class_name: str = "", source: str = "") -> Iterator[tuple[dict[str, Any], Image.Image]]:
        """Rows of `images` with their images, of one class and source where they are named, else of all.

        Raises:
            ValueError: as `images`.
        """
        for row in self.images().to_pylist():
            if class_name in ("", row["class_name"]) and source in ("", row["source"]):
                yield row, self.image(row)

    def dataset(
        self,
        sources: Sequence[str],
        *,
        ratio: float | None = None,
        learning: int = 0,
        transform: Callable[[Image.Image], Any] | None = None,
    ) -> "ImageDataset":
        """A torch data set of pairs of an image and the id of its class.

        Images are RGB squares of `data.image_size_px`, as the run's classifier sees them, real ones first. No image of
        the validation and test splits is among them.

        Args:
            sources: whose images; "real" for those of the training split.
            ratio: drawn images of a class and source as a multiple of its training images, those that the sweep's first
                repetition adds; None for all that the filters kept.
            learning: which of a class's learnings, from 0.
            transform: from a PIL image to what a pair holds in its place.

        Raises:
            ValueError: the run has no such images, or the data set is not what the run had.
        """
        from flowerti.reading.torch_dataset import ImageDataset

        if isinstance(sources, str) or not sources:
            raise ValueError(f"sources: {sources!r} is no list of sources, as in ['real', 'token']")
        found = images.training_addresses(self._directory, sources, ratio, learning)
        return ImageDataset(self._directory, found, self.class_names, self.settings.data.image_size_px, transform)

    def token_file(self, class_name: str, learning: int = 0) -> Path:
        """The file of a class's token, for `load_textual_inversion` of diffusers.

        Raises:
            ValueError: the class has no token, its file is not what was learnt, or it lies in an object store.
        """
        contents = images.contents_of(self._directory, learning=learning)
        if class_name not in contents.weak:
            raise ValueError(f"class_name: {class_name!r} is no weak class: choose among {', '.join(contents.weak)}")
        learned = contents.learned(class_name)
        if learned is None:
            told = f"{self.uri}: no token of {class_name!r} was learnt in learning {learning}"
            raise ValueError(f"{told}: {advice(self._directory, 'personalize')}")
        file = layout.learned_file(class_name, TOKEN_FILE, learning)
        contents.learnt_bytes(learned, TOKEN_FILE)
        if not self._directory.is_local:
            raise ValueError(f"{self.uri}/{file} is in an object store: copy it to this machine")
        return Path(self._directory.path(file))
