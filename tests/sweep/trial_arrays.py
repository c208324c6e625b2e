"""Arrays of three classes, two of them weak, in which every image says which one it is."""

import dataclasses

import numpy as np

from flowerti.sweep.trial_data import PoolKey, TrialData
from flowerti.tables import Table
from flowerti.tables.arms import ARMS, replaced_on, source_arms, stacked
from flowerti.tables.sources import SOURCES

TRAIN_IDS = np.array([0] * 6 + [1] * 4 + [2] * 2)
POOLS = {PoolKey(1, "token"): 100, PoolKey(2, "token"): 200, PoolKey(1, "raw"): 300, PoolKey(2, "raw"): 400}
"""Pool and the number that its features begin with."""

BALANCED_TOKEN = stacked(ARMS["balanced"], SOURCES["token"])
EVERY_ARM = Table(
    "arm of this test",
    [
        *ARMS,
        *source_arms(),
        BALANCED_TOKEN,
        stacked(ARMS["augmented"], SOURCES["token"]),
        *(replaced_on(ARMS[control], SOURCES["token"]) for control in ("real", "augmented")),
    ],
)


def marked(begin: int, num: int, num_views: int = 2) -> np.ndarray:
    """Features [num, views, 3] whose first value says which image it is."""
    return np.tile((begin + np.arange(num, dtype=np.float32))[:, None, None], (1, num_views, 3))


def data_of(**changes: object) -> TrialData:
    data = TrialData(
        train=marked(0, len(TRAIN_IDS)),
        train_ids=TRAIN_IDS,
        augmented=marked(1000, len(TRAIN_IDS), num_views=4),
        evaluation=marked(0, 3, num_views=1),
        synthetic={pool: marked(begin, 10) for pool, begin in POOLS.items()},
        num_classes=3,
    )
    return dataclasses.replace(data, **changes)
