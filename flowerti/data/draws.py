"""Other draws of a class's training images, from those that the long tail left out.

A class that was cut down to a few images could have been cut down to others: every draw is as many of them, chosen at
random. Images that somebody never had cannot be drawn: a data set that is used as it is has one draw. This module opens
no image and does not know what is trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Int64

from flowerti.artifacts.identity import key_of, seed_for
from flowerti.config.data import ImbalanceConfig
from flowerti.data.dataset import Dataset, Record
from flowerti.data.imbalance import imbalanced


@dataclass(frozen=True, kw_only=True, slots=True)
class SpareImages:
    """The training images that the long tail left out, by class, with a digest of each class's."""

    records: Mapping[str, Sequence[Record]] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)


NO_SPARE = SpareImages()


@dataclass(frozen=True, kw_only=True, slots=True)
class SpareDigests:
    """SHA-256 of every readable training image that the long tail left out, by the image's id."""

    sha256: dict[str, str]


def spare_records(
    listed: Dataset, kept: Dataset, config: ImbalanceConfig, seed: int, alike: Sequence[Sequence[str]]
) -> dict[str, list[Record]]:
    """The training images that the long tail left out, by class, ordered by id.

    Args:
        listed: all images.
        kept: the same after `imbalance.imbalanced` with these settings.
        config: settings of re-split and long tail.
        seed: run seed.
        alike: as for `imbalance.imbalanced`.
    """
    uncut = imbalanced(listed, replace(config, factor=1.0, minority_classes=(), minority_images=0), seed, alike)
    has = {record.id for record in kept.records}
    return {
        name: sorted((r for r in uncut.of("train", name) if r.id not in has), key=lambda record: record.id)
        for name in kept.class_names
    }


def check_spare(spare: SpareImages, num_draws: int, num_train: Mapping[str, int]) -> None:
    """Refuse more draws than one of a class that has no other images to draw.

    Raises:
        ValueError: a class has fewer spare images than training images; names it.
    """
    for name, num in num_train.items() if num_draws > 1 else ():
        num_spare = len(spare.records.get(name, ()))
        if num_spare < num:
            raise ValueError(
                f"replication.num_draws: {num_draws} draws of class {name!r} need {num} training images besides its "
                f"{num}, and the imbalance leaves out {num_spare}: set it to 1"
            )


def drawn_images(
    own: Sequence[Record], spare: Sequence[Record], draw: int, run_seed: int, class_name: str
) -> list[Record]:
    """The training images of one class in a draw.

    Args:
        own: its training images.
        spare: those that the long tail left out.
        draw: 0 for its own, else a random choice of as many from both.
        run_seed: seed of the run.
        class_name: name of the class.
    """
    if draw == 0:
        return list(own)
    everything = sorted([*own, *spare], key=lambda record: record.id)
    rng = np.random.default_rng(seed_for(run_seed, class_name, "replication/draw", draw))
    return [everything[i] for i in np.sort(rng.permutation(len(everything))[: len(own)])]


def draw_key(images_sha256: str, spare_sha256: str, records: Sequence[Record]) -> str:
    """Identity of a draw: what the class's images are, and which of them it has."""
    return key_of(images_sha256, spare_sha256, [record.id for record in records])


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingDraws:
    """Rows of the training images in each draw, in a list of the training split and after it the spare images."""

    spare: list[Record]
    rows: tuple[Int64[np.ndarray, " drawn"], ...]
    """Empty where there is one draw, of the training split."""
    key: str = ""
    """Identity of the spare images."""


def training_draws(
    train: Sequence[Record], drawn: Mapping[int, Sequence[Sequence[Record]]], spare: Sequence[Record], key: str
) -> TrainingDraws:
    """Put draws together: those of weak classes, and all images of the others.

    Args:
        train: the training split.
        drawn: by id of a weak class, its images in each draw; as many draws for each.
        spare: spare images of the weak classes.
        key: identity of the spare images.
    """
    place = {record.id: row for row, record in enumerate([*train, *spare])}
    others = [row for row, record in enumerate(train) if record.class_id not in drawn]
    num_draws = min((len(draws) for draws in drawn.values()), default=0)
    rows = [
        np.array(sorted([*others, *(place[r.id] for draws in drawn.values() for r in draws[i])]), dtype=np.int64)
        for i in range(num_draws)
    ]
    return TrainingDraws(spare=list(spare), rows=tuple(rows), key=key)
