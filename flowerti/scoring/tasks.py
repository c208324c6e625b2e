"""The tasks of scoring, each computed on a worker from stored features.

A task reads features, calls one module and returns records; only file names and records are transferred. This module
does not know about Ray, nor how features are computed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.image_scores import ImageScore
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.scores import (
    CopyCheck,
    CopySensitivity,
    LearningDistance,
    MatrixRow,
    NearDuplicate,
    Recognition,
    TrainedOnSource,
)
from flowerti.classifier.training import Head
from flowerti.config.experiment import ScoringConfig
from flowerti.data.access import read_images
from flowerti.data.dataset import Record, Split
from flowerti.features.files import StoredFeatures
from flowerti.scoring.class_features import is_one_image
from flowerti.scoring.class_matrix import MIN_REAL, class_matrix
from flowerti.scoring.class_task import ClassSets
from flowerti.scoring.copies import (
    Images,
    SyntheticSet,
    check_copies,
    copied_from,
    held_out_similarities,
    near_duplicates,
)
from flowerti.scoring.copy_sensitivity import copy_sensitivity
from flowerti.scoring.image_scores import score_images
from flowerti.scoring.learning_distances import LearningKey, learning_distances
from flowerti.scoring.recognition import recognise, train_independent_head, train_on_source

_NUM_PLANTED = 100
"""Training images of which copies are planted; at 95 found the interval is 89 to 98 %."""
_NO_NEW_IMAGE = (
    "Every held-out image copies a training image of its class: whether synthetic images come nearer to the training "
    "images than held-out ones do is not known."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSets:
    """References to the stored features of one extractor, and the settings of a task."""

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
    """Template of the prompt for CLIP's text features, formatted with a class name; empty for other extractors."""
    text_weights: str

    @property
    def selected(self) -> list[str]:
        """The classes that have synthetic images."""
        return list(dict.fromkeys(class_name for class_name, _ in self.synthetic))

    def classes(self) -> list[ClassSets]:
        """What the scores of each selected class are taken from, without all that is other classes'."""
        rows: dict[int, list[int]] = {}
        for row, record in enumerate(self.held_out_records):
            rows.setdefault(record.class_id, []).append(row)
        synthetic: dict[str, dict[str, StoredFeatures]] = {}
        for (class_name, source), of_set in self.synthetic.items():
            synthetic.setdefault(class_name, {})[source] = of_set
        ids = {name: class_id for class_id, name in enumerate(self.class_names)}
        return [
            ClassSets(
                run=self.run,
                extractor=self.extractor,
                config=self.config,
                seed=self.seed,
                reference=self.reference,
                class_name=name,
                held_out=self.held_out.of_rows(rows.get(ids[name], [])),
                synthetic=of_sources,
                text_prompt=self.text_prompt,
                text_weights=self.text_weights,
            )
            for name, of_sources in synthetic.items()
        ]

    def sources(self, class_name: str) -> dict[str, Float[np.ndarray, "_ _"]]:
        """Features [num, dim] of a class's synthetic sets."""
        found = {source: of for (name, source), of in self.synthetic.items() if name == class_name}
        return {source: of.read(self.run)[:, 0] for source, of in found.items()}

    def held_out_by_class(self) -> dict[str, Float[np.ndarray, "_ _"]]:
        """Features [num, dim] of the held-out real images of every class."""
        return _by_class(self.held_out.read(self.run)[:, 0], self.held_out_records, self.class_names)

    def train_by_class(self) -> dict[str, Float[np.ndarray, "_ _ _"]]:
        """Features [num, views, dim] of the training images of every class."""
        return _by_class(self.train.read(self.run), self.train_records, self.class_names)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecognitionScores:
    """Scores of all sets by classifiers."""

    recognition: list[Recognition]
    trained_on_source: list[TrainedOnSource]
    images: list[ImageScore]
    """Of every synthetic image."""
    notes: list[str]
    """What could not be computed, and why."""


def _by_class(
    rows: Float[np.ndarray, "num *rest"], records: tuple[Record, ...], class_names: tuple[str, ...]
) -> dict[str, Float[np.ndarray, "_ *rest"]]:
    ids = np.array([record.class_id for record in records])
    return {name: rows[ids == class_id] for class_id, name in enumerate(class_names)}


def learning_distances_of(
    stored: StoredSets, learnings: dict[LearningKey, StoredFeatures]
) -> tuple[list[LearningDistance], list[str]]:
    """Kernel distances of all learnings' sets, and notes on what is missing."""
    synthetic = {key: of_set.read(stored.run)[:, 0] for key, of_set in learnings.items()}
    return learning_distances(stored.held_out_by_class(), synthetic, stored.extractor, stored.reference)


def matrix_of(stored: StoredSets, class_names: Sequence[str]) -> tuple[list[MatrixRow], list[str]]:
    """Every set of some selected classes, and their training images, against every class of the data set."""
    train = stored.train_by_class()
    sets, notes = {}, []
    for name in class_names:
        for source, features in stored.sources(name).items():
            if is_one_image(source, features):
                notes.append(f"{name}, {source}: no distances to other classes, since all its images are the same.")
            else:
                sets[name, source] = features
        if len(train[name]) > 1:
            sets[name, "real"] = train[name][:, 0]
    if not sets:
        return [], notes
    real = stored.held_out_by_class()
    size = _smallest_size(stored, real)
    rows, more = class_matrix(sets, real, stored.class_names, stored.extractor, stored.seed, size=size)
    return rows, notes + more


def _smallest_size(stored: StoredSets, real: Mapping[str, Float[np.ndarray, "_ _"]]) -> int | None:
    """Images of the smallest set among all that the whole matrix compares; no other block of it may take more."""
    kept = {name for name, features in real.items() if len(features) >= MIN_REAL}
    num_train = Counter(stored.class_names[record.class_id] for record in stored.train_records)
    sizes = [len(real[name]) for name in kept]
    sizes += [len(addresses) for (name, _), addresses in stored.addresses.items() if name in kept]
    sizes += [num_train[name] for name in stored.selected if name in kept and num_train[name] > 1]
    return min(sizes, default=None)


def recognition_of(stored: StoredSets) -> RecognitionScores:
    """Recognition of the sets by a classifier of real images, and accuracy of classifiers of single sources."""
    train, held_out = stored.train_by_class(), stored.held_out_by_class()
    class_ids = np.array([record.class_id for record in stored.train_records], dtype=np.int64)
    head = train_independent_head(stored.train.read(stored.run), class_ids, len(stored.class_names), stored.seed)
    synthetic = {(n, source): features for n in stored.selected for source, features in stored.sources(n).items()}
    real = {(name, "real"): held_out[name] for name in stored.selected}
    learnt_from = {key: features[:, None] for key, features in synthetic.items()}
    learnt_from |= {(name, "real"): train[name][:, :1] for name in stored.selected}
    trained, notes = train_on_source(learnt_from, {name: held_out[name] for name in stored.selected}, stored.seed)
    recognised = recognise(head, stored.class_names, real | synthetic)
    images = [one for name in stored.selected for one in _image_scores(stored, head, name, train[name])]
    return RecognitionScores(recognition=recognised, trained_on_source=trained, images=images, notes=notes)


def _image_scores(
    stored: StoredSets, head: Head, class_name: str, train: Float[np.ndarray, "_ _ _"]
) -> list[ImageScore]:
    class_id = stored.class_names.index(class_name)
    train_ids = [record.id for record in stored.train_records if record.class_id == class_id]
    sets = stored.sources(class_name)
    scored = [score_images(head, class_id, sets[s], stored.addresses[class_name, s], train, train_ids) for s in sets]
    return [one for of_set in scored for one in of_set]


def _may_be_copied(stored: StoredSets, pixels: StoredSets, seen_ids: frozenset[str]) -> Images:
    """The training images, and the held-out ones that the base has seen, whose one view stands for all."""
    features, shown = stored.train.read(stored.run), pixels.train.read(stored.run)[:, 0]
    seen = [i for i, record in enumerate(stored.held_out_records) if record.id in seen_ids]
    of_seen, shown_seen = stored.held_out.read(stored.run)[seen], pixels.held_out.read(stored.run)[seen, 0]
    return Images(
        ids=[r.id for r in stored.train_records] + [stored.held_out_records[i].id for i in seen],
        features=np.concatenate([features, np.repeat(of_seen[:, :1], features.shape[1], axis=1)]),
        thumbnails=np.concatenate([shown, shown_seen]),
    )


def copies_of(stored: StoredSets, pixels: StoredSets, seen_ids: frozenset[str]) -> tuple[list[CopyCheck], list[str]]:
    """Copies among the synthetic images, and notes on what is not known.

    Looked for are the training images of every class, and the held-out images that the base was trained on.

    Args:
        stored: features of all sets.
        pixels: aligned thumbnails of the same sets, in one view.
        seen_ids: held-out images that the base was trained on.
    """
    originals = copied_from(_may_be_copied(stored, pixels, seen_ids))
    train = _images(stored.train_by_class(), pixels.train_by_class(), stored.train_records, stored.class_names)
    plain = {name: rows[:, None] for name, rows in stored.held_out_by_class().items()}
    thumbnails = {name: rows[:, None] for name, rows in pixels.held_out_by_class().items()}
    held_out = _images(plain, thumbnails, stored.held_out_records, stored.class_names)
    similarities = {name: held_out_similarities(name, train[name], held_out[name]) for name in stored.class_names}
    checks = []
    for (name, source), of_set in stored.synthetic.items():
        drawn = Images(
            ids=stored.addresses[name, source],
            features=of_set.read(stored.run),
            thumbnails=pixels.synthetic[name, source].read(stored.run)[:, 0],
        )
        synthetic = SyntheticSet(class_name=name, source=source, extractor=stored.extractor, images=drawn)
        checks.append(check_copies(synthetic, train[name], originals, similarities, stored.config.num_closest_pairs))
    return checks, [] if any(len(of_class) for of_class in similarities.values()) else [_NO_NEW_IMAGE]


def sensitivity_of(stored: StoredSets, image_size_px: int) -> list[CopySensitivity]:
    """How many planted copies of the run's own training images the check finds; reads a sample of the images."""
    seed = seed_for(stored.seed, "", "copy_sensitivity", 0)
    num = min(_NUM_PLANTED, len(stored.train_records))
    chosen = np.random.default_rng(seed).choice(len(stored.train_records), num, replace=False)
    addresses = [stored.train_records[i].address for i in sorted(chosen)]
    return copy_sensitivity(read_images(addresses, image_size_px))


def _images(
    features: dict[str, Float[np.ndarray, "_ _ _"]],
    thumbnails: dict[str, Float[np.ndarray, "_ _ _"]],
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
    """Near duplicates across splits, from the splits' thumbnails."""
    records = [record for _, of_split in splits for record in of_split]
    flat = np.concatenate([stored.read(run)[:, 0] for stored, _ in splits])
    known = {record.id for record in records}
    groups = [[name for name in group if name in known] for group in identical]
    return near_duplicates(records, class_names, flat, groups)
