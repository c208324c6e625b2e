"""Folders of images as split/class/image: `train`, `validation` and `test`, and in each a folder for every class.

This module opens no image while it lists.
"""

from pathlib import Path

from flowerti.config.data import DataConfig
from flowerti.data.dataset import SPLITS, Dataset, Record
from flowerti.data.sources.files import FILES
from flowerti.data.sources.implementation import Implementation

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def _list_records(config: DataConfig, _seed: int) -> Dataset:
    root = Path(config.root)
    for split in SPLITS:
        if not (root / split).is_dir():
            raise ValueError(f"data.root: {root / split} is missing: lay images out as split/class/image")
    class_names = _class_names(root)
    records = []
    for split in SPLITS:
        for class_id, class_name in enumerate(class_names):
            images = _images(root / split / class_name)
            if not images:
                raise ValueError(
                    f"data: class {class_name!r} has no images ({', '.join(IMAGE_SUFFIXES)}) in the {split} split: "
                    "each class needs some in each split"
                )
            records += [Record(f"{split}/{class_name}/{p.name}", class_id, split, str(p.resolve())) for p in images]
    return Dataset(class_names, tuple(records))


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(sorted({p.name for split in SPLITS for p in (root / split).iterdir() if p.is_dir()}))
    for name in names:
        if not name.isprintable():
            raise ValueError(f"data.root: class folder {name!r} in {root} has unprintable characters: rename it")
    return names


def _images(folder: Path) -> list[Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES]


IMAGE_FOLDER = Implementation(list_records=_list_records, images=FILES)
