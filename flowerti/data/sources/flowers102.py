"""Oxford 102 as torchvision lays it out and downloads it: 8,189 images of 102 flowers in the official splits.

Source: Nilsback and Zisserman 2008 (Automated flower classification over a large number of classes). This module opens
no image while it lists.
"""

from collections.abc import Mapping
from pathlib import Path

from flowerti.config.data import DataConfig
from flowerti.data.dataset import SPLITS, Dataset, Record
from flowerti.data.sources.files import FILES, root_of
from flowerti.data.sources.flowers102_names import NAMES
from flowerti.data.sources.implementation import Implementation
from flowerti.tables.sources import ClassNames


def _list_records(config: DataConfig, _seed: int) -> Dataset:
    from torchvision.datasets import Flowers102

    folder = root_of(config) / "flowers-102"
    if not config.download and not folder.is_dir():
        raise ValueError(
            f"data.root: {folder} is missing: point data.root at the folder that holds flowers-102, "
            "or set data.download to fetch it"
        )
    records = []
    for split, official in zip(SPLITS, ("train", "val", "test"), strict=True):
        try:
            images = Flowers102(folder.parent, split=official, download=config.download)
        except (RuntimeError, OSError) as error:
            raise ValueError(
                f"data.root: Oxford 102 in {folder} is incomplete ({error}): put 102flowers.tgz (unpacked as jpg/), "
                "imagelabels.mat and setid.mat of https://www.robots.ox.ac.uk/~vgg/data/flowers/102/ there"
            ) from error
        for path, class_id in zip(images._image_files, images._labels, strict=True):
            records.append(Record(Path(path).name, int(class_id), split, str(Path(path).resolve())))
    return Dataset(tuple(Flowers102.classes), tuple(records))


def _known_names() -> Mapping[str, ClassNames]:
    return {
        name: ClassNames(class_name=name, alternative=alternative, latin=latin)
        for name, (alternative, latin) in NAMES.items()
    }


FLOWERS102 = Implementation(list_records=_list_records, images=FILES, known_names=_known_names)
