"""Rows of `summary.json` that no stage leaves behind as they are: what the report takes from artifacts and settings.

This module computes nothing.
"""

from dataclasses import dataclass
from typing import Any

from flowerti.artifacts.records import ClassCount


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitCounts:
    """Images of each split."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True, kw_only=True, slots=True)
class QuotedSettings:
    """The settings that the report's captions quote."""

    data_kind: str
    image_size_px: int
    show_images: bool
    selection_rule: str
    classifier_mode: str
    num_epochs: int
    num_inference_steps: int
    guidance_scale: float
    num_permutations: int
    num_floor_splits: int
    num_neighbours: int
    num_bootstrap: int
    max_rest_drop: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """Names and hashes of the base and of the classifier's backbone; those of the extractors stand under extractors."""

    base: str
    base_revision: str
    base_sha256: str
    backbone: str
    backbone_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseRow:
    """The base, and which of this run's images it was trained on."""

    path: str
    sha256: str
    training_images_sha256: str
    """One hash over the list of its training images; empty where there is none."""
    drawn: str
    """Where its training images are not listed: why none of them can be in a data set. Empty where they are."""
    seen_in_training: SplitCounts | None
    """Images of each split that it was trained on; null where that is not known."""
    seen_classes: list[ClassCount]
    """The same for each class that has any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierScores:
    """The first classifier, on validation."""

    accuracy: float
    macro_f1: float


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedRow:
    """What the report calls a source, a technique, or a metric."""

    name: str
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRow:
    """Where synthetic images of this run come from."""

    name: str
    label: str
    colour: str
    technique: str
    is_judged: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricRow:
    """A metric of this run."""

    name: str
    label: str
    kind: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnedRow:
    """What a technique learnt for a class, or the error that left it without."""

    class_name: str
    technique: str
    token: str
    num_vectors: int
    num_parameters: int
    num_images: int
    num_steps: int
    best_step: int
    first_loss: float | None
    best_loss: float | None
    files: dict[str, str]
    """File -> SHA-256."""
    details: dict[str, Any]
    seconds: float
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ConceptRow:
    """A token for a selected class, or the error that left it without one."""

    class_name: str
    token: str
    num_vectors: int
    initializer_token: str
    num_images: int
    num_steps: int
    best_step: int
    first_loss: float | None
    best_loss: float | None
    embeddings_sha256: str
    seconds: float
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterRow:
    """What was learnt for a class beside its token, or the error that left it without."""

    class_name: str
    rank: int
    num_parameters: int
    num_images: int
    num_steps: int
    best_step: int
    first_loss: float | None
    best_loss: float | None
    weights_sha256: str
    seconds: float
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NeighbourRow:
    """A vocabulary token near a learnt row."""

    class_name: str
    vector: int
    token: str
    cosine: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Something that was tried and failed."""

    stage: str
    class_name: str
    reason: str
