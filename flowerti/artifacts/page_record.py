"""What the report's page shows that `summary.json` does not hold: small images, confusions, curves, every class.

With the summary and the figures it is all that the page needs, so that a page can be written again where nothing else
of a run is left. This module does not know how anything is computed or drawn.
"""

from dataclasses import dataclass, field

from flowerti.artifacts.records import LossPoint


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassLine:
    """How the first classifier does on one class of the validation split."""

    class_name: str
    precision: float
    recall: float
    f1: float
    support: int
    num_train: int | None
    """Training images; None where they were not counted."""
    mistaken_for: list[str] = field(default_factory=list)
    """Classes that its images were most often taken for, and how often: "rose (3)"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """Which classes a classifier names for the images of some true classes."""

    arm: str
    """Of the sweep; empty for the first classifier."""
    ratio: float
    split: str
    rows: list[str]
    """True classes."""
    columns: list[str]
    """Predicted classes; what else was predicted is in no column."""
    shares: list[list[float]]
    """Of each true class's images, mean over repetitions, in [0, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossCurve:
    """The evaluation losses of what a technique learnt for a class."""

    class_name: str
    technique: str
    points: list[LossPoint]


@dataclass(frozen=True, kw_only=True, slots=True)
class GalleryImage:
    """One image of the gallery."""

    class_name: str
    source: str
    """A source of synthetic images, or "real"."""
    index: int
    """Of the image among those of its class and source."""
    thumbnail: str
    """Base64 of a WebP file."""
    seed: int | None = None
    prompt: str = ""
    probability: float | None = None
    """As in `image_scores.ImageScore`."""
    similarity: float | None = None
    train_id: str = ""
    """The nearest training image; empty where it is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageRecord:
    """Everything of the page that is in neither summary nor figures."""

    classes: list[ClassLine] = field(default_factory=list)
    """Worst first."""
    confusions: list[Confusion] = field(default_factory=list)
    """The baseline's first."""
    loss_curves: list[LossCurve] = field(default_factory=list)
    gallery: list[GalleryImage] = field(default_factory=list)
    """Set by set, in the order of the images."""
    num_not_shown: int = 0
    """Synthetic images that the gallery has no place for."""
    nearest: dict[str, str] = field(default_factory=dict)
    """Base64 of a WebP file by the id of a training image; empty where photographs may not be shown."""
