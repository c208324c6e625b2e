"""The herbarium as a data source: how many images of each species a split has, and their addresses.

An address is "herbarium:<species>:<seed>"; images of different seeds are different. This module does not draw.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from flowerti.artifacts.identity import seed_for
from flowerti.config.data import DataConfig
from flowerti.data.dataset import SPLITS, Dataset, Record
from flowerti.data.sources.herbarium.herbarium import draw, fingerprint
from flowerti.data.sources.herbarium.species import SPECIES
from flowerti.data.sources.implementation import ImageReader, Implementation
from flowerti.tables.sources import ClassNames


def _list_records(config: DataConfig, seed: int) -> Dataset:
    records = []
    for class_id, species in enumerate(SPECIES):
        num_train = config.num_train_rare if species.rare else config.num_train_common
        for split, count in zip(SPLITS, (num_train, config.num_validation, config.num_test), strict=True):
            for index in range(count):
                image_seed = seed_for(seed, species.name, f"herbarium/{split}", index)
                address = f"herbarium:{species.name}:{image_seed}"
                records.append(Record(f"{species.name}/{split}/{index}", class_id, split, address))
    return Dataset(tuple(species.name for species in SPECIES), tuple(records))


def _identifier(address: str) -> str:
    return f"{address}:{fingerprint()}"


def _draw(address: str, size_px: int) -> UInt8[np.ndarray, "{size_px} {size_px} 3"]:
    _, species, image_seed = address.split(":")
    return draw(species, int(image_seed), size_px)


def _known_names() -> Mapping[str, ClassNames]:
    return {s.name: ClassNames(class_name=s.name, alternative=s.alternative_name or "") for s in SPECIES}


HERBARIUM = Implementation(
    list_records=_list_records,
    images=ImageReader(identify=lambda address: _identifier(address).encode(), stamp_of=_identifier, draw=_draw),
    known_names=_known_names,
)
