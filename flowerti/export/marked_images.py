"""The drawn images of a run alone, as PNG files that say how they were drawn.

This module does not know where images come from.
"""

from pathlib import Path

from flowerti.export.contents import Contents
from flowerti.export.training_set import drawn_of_class


def write_marked_images(contents: Contents, folder: Path) -> None:
    """Write class/image.png for every drawn image that leaves the run.

    Raises:
        ValueError: there is none, or a ratio asks for more than there are.
    """
    num_written = 0
    for class_name in contents.weak:
        for image in drawn_of_class(contents, class_name):
            target = folder / contents.folders[class_name] / image.file
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(image.read())
            num_written += 1
    if not num_written:
        raise ValueError(
            f"{contents.run.uri}: no image of {', '.join(contents.sources)} is there: let the run draw some"
        )
