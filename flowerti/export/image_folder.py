"""A training set as train/class/image, which torchvision's `ImageFolder`, timm and many others read.

Real images that are files on the same disk are linked, not copied: they take no space, and must not be edited in place.
This module does not know where images come from.
"""

import csv
import os
import shutil
from pathlib import Path

from flowerti.export.columns import COLUMNS, columns_of
from flowerti.export.contents import Contents
from flowerti.export.dataset_card import dataset_card
from flowerti.export.training_set import ExportImage, training_set

_LOADING = """```python
from torchvision.datasets import ImageFolder

training = ImageFolder("train")
```

`images.csv` has a row for each image: its class, whether it was drawn, and how. Its `class_id` is the class's number
in the run; `ImageFolder` numbers the folders that are here by their order."""


def write_image_folder(contents: Contents, folder: Path) -> None:
    """Write all images, images.csv and README.md into a folder.

    Raises:
        ValueError: as `training_set`.
    """
    images = training_set(contents)
    with (folder / "images.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, ["file", "class_id", "class_name", *COLUMNS], lineterminator="\n")
        table.writeheader()
        for image in images:
            name = f"train/{contents.folders[image.class_name]}/{image.file}"
            _put(image, folder / name)
            row = {"file": name, "class_id": image.class_id, "class_name": image.class_name}
            table.writerow(row | columns_of(image))
    card = dataset_card(contents, images, _LOADING)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _put(image: ExportImage, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if image.path is None:
        target.write_bytes(image.read())
        return
    try:
        os.link(image.path, target)
    except OSError:
        # another disk, or one without links
        shutil.copyfile(image.path, target)
