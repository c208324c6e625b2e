"""The questions that scoring asks, each answered on a worker from stored features.

A task reads the features, asks one module and returns records. Only names of files and records travel. This module
does not know about Ray, nor how features are computed.
"""

from dataclasses import dataclass

import numpy as np

from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.scores import (
    Comparison,
    CopyCheck,
    Distance,
    MatrixRow,
    NearDuplicate,
    Recognition,
    TrainedOnSource,
)
from flowerti.config.experiment import ScoringConfig
from flowerti.data.dataset import Record, Split
from flowerti.features.files import StoredFeatures
from flowerti.scoring.class_matrix import class_matrix
from flowerti.scoring.copies import Images, check_copies, held_out_similarities, near_duplicates
from flowerti.scoring.distances import score_class
from flowerti.scoring.recognition import recognise, train_independent_head, train_on_source


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSets:
    """Everything that a task needs to know about one extractor's features, by name."""

    run: RunDirectory
    extractor: str
    config: ScoringConfig
    seed: int
    reference: Split
    class_names: tuple[str, ...]
    train: StoredFeatures
    train_records: tuple[Record, ...]
    held_out: StoredFeatures
    held_out_records: tuple[Record, ...]
    synthetic: dict[tuple[str, str], StoredFeatures]
    """By (class name, source)."""
    addresses: dict[tuple[str, str], list[str]]
    text_prompt: str
    """Filled with a class name, it is what CLIP's text features are made from; empty for other extractors."""
    text_weights: str

    @property
    def selected(self) -> list[str]:
        """The classes that have synthetic images."""
        return list(dict.fromkeys(class_name for class_name, _ in self.synthetic))

    def sources(self, class_name: str) -> dict[str, np.ndarray]:
        """Features [num, dim] of a class's synthetic sets."""
        found = {source: of for (name, source), of in self.synthetic.items() if name == class_name}
        return {source: of.read(self.run)[:, 0] for source, of in found.items()}

    def held_out_by_class(self) -> dict[str, np.ndarray]:
        """Features [num, dim] of the held-out real images of every class."""
        return _by_class(self.held_out.read(self.run)[:, 0], self.held_out_records, self.class_names)

    def train_by_class(self) -> dict[str, np.ndarray]:
        """Features [num, views, dim] of the training images of every class."""
        return _by_class(self.train.read(self.run), self.train_records, self.class_names)


def _by_class(rows: np.ndarray, records: tuple[Record, ...], class_names: tuple[str, ...]) -> dict[str, np.ndarray]:
    ids = np.array([record.class_id for record in records])
    return {name: rows[ids == class_id] for class_id, name in enumerate(class_names)}


def score_one_class(room: StoredSets, class_name: str) -> tuple[list[Distance], list[Comparison], list[str]]:
    """Distances and comparisons of one class's sets, and notes on what is missing."""
    return score_class(
        class_name,
        room.held_out_by_class()[class_name],
        room.sources(class_name),
        room.extractor,
        room.config,
        seed_for(room.seed, class_name, f"score/{room.reference}", 0),
        room.reference,
        _text_feature(room, class_name),
    )


def _text_feature(room: StoredSets, class_name: str) -> np.ndarray | None:
    if not room.text_prompt:
        return None
    from flowerti.features.transformer_backbones import folder_of, text_features

    folder = folder_of(room.extractor, room.text_weights)
    return text_features([room.text_prompt.format(class_name)], folder)[0].numpy()


def matrix_of(room: StoredSets) -> tuple[list[MatrixRow], list[str]]:
    """Every set, and the selected classes' training images, against every class."""
    train = room.train_by_class()
    sets = {}
    for name in room.selected:
        sets |= {(name, source): features for source, features in room.sources(name).items()}
        if len(train[name]) > 1:
            sets[name, "real"] = train[name][:, 0]
    return class_matrix(sets, room.held_out_by_class(), room.class_names, room.extractor, room.seed)


def recognition_of(room: StoredSets) -> tuple[list[Recognition], list[TrainedOnSource], list[str]]:
    """What a classifier of real images says of the sets, and what one that learnt from each source is worth."""
    train, held_out = room.train_by_class(), room.held_out_by_class()
    class_ids = np.array([record.class_id for record in room.train_records], dtype=np.int64)
    head = train_independent_head(room.train.read(room.run), class_ids, len(room.class_names), room.seed)
    synthetic = {(n, source): features for n in room.selected for source, features in room.sources(n).items()}
    real = {(name, "real"): held_out[name] for name in room.selected}
    learnt_from = {key: features[:, None] for key, features in synthetic.items()}
    learnt_from |= {(name, "real"): train[name][:, :1] for name in room.selected}
    trained, notes = train_on_source(learnt_from, {name: held_out[name] for name in room.selected}, room.seed)
    return recognise(head, room.class_names, real | synthetic), trained, notes


def copies_of(room: StoredSets, pixels: StoredSets) -> list[CopyCheck]:
    """Training images among the synthetic ones; `pixels` holds the same sets as thumbnails."""
    train = _images(room.train_by_class(), pixels.train_by_class(), room.train_records, room.class_names)
    plain = {name: rows[:, None] for name, rows in room.held_out_by_class().items()}
    shown = {name: rows[:, None] for name, rows in pixels.held_out_by_class().items()}
    held_out = _images(plain, shown, room.held_out_records, room.class_names)
    similarities = {name: held_out_similarities(name, train[name], held_out[name]) for name in room.class_names}
    checks = []
    for (name, source), stored in room.synthetic.items():
        drawn = Images(
            ids=room.addresses[name, source],
            features=stored.read(room.run),
            thumbnails=pixels.synthetic[name, source].read(room.run)[:, 0],
        )
        num_closest = room.config.num_closest_pairs
        checks.append(check_copies(name, source, room.extractor, drawn, train[name], similarities, num_closest))
    return checks


def _images(
    features: dict[str, np.ndarray],
    thumbnails: dict[str, np.ndarray],
    records: tuple[Record, ...],
    class_names: tuple[str, ...],
) -> dict[str, Images]:
    ids = {name: [r.id for r in records if r.class_id == class_id] for class_id, name in enumerate(class_names)}
    return {
        name: Images(ids=ids[name], features=features[name], thumbnails=thumbnails[name][:, 0]) for name in class_names
    }


def duplicates_of(
    run: RunDirectory,
    class_names: tuple[str, ...],
    splits: list[tuple[StoredFeatures, tuple[Record, ...]]],
    identical: list[list[str]],
) -> list[NearDuplicate]:
    """Images of different splits that show the same, from the splits' thumbnails."""
    records = [record for _, of_split in splits for record in of_split]
    flat = np.concatenate([stored.read(run)[:, 0] for stored, _ in splits])
    known = {record.id for record in records}
    groups = [[name for name in group if name in known] for group in identical]
    return near_duplicates(records, class_names, flat, groups)
