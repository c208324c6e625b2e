"""The typed records that scoring leaves behind: what was compared with what, and what came out.

One `Scores` holds all records of one reference split. This module does not know how anything is computed.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Extractor:
    """The network that features came from; numbers of different extractors are never compared."""

    name: str
    weights_sha256: str
    input_size_px: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Distance:
    """One number about a synthetic set beside held-out real images of its class."""

    class_name: str
    source: str
    extractor: str
    metric: str
    """A row of `scoring.metric_table`."""
    value: float
    num_real: int
    num_synthetic: int
    floor: float | None
    """Mean of the same metric between disjoint halves of the real images; of a metric that is taken against a text the
    value of all real images. None where there is no such number."""
    floor_num_images: int
    """Images on each side of the floor's halves; of a metric that is taken against a text all real images."""
    p_value: float | None
    """Permutation test of "same distribution"; None where the metric has no such test."""
    low: float | None = None
    """Lower end of the 95 % interval (jackknife over images); None where the metric has none."""
    high: float | None = None
    """Upper end of it."""
    reference: str = "validation"
    """Split of the real images: validation before the sweep, test once after it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningDistance:
    """The kernel distance to real images of each learning of a class: what another token would change."""

    class_name: str
    source: str
    extractor: str
    reference: str
    """Split of the real images."""
    learnings: list[int]
    values: list[float]
    """One for each of `learnings`, between all images."""
    std: float
    """Standard deviation over learnings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Whether one source lies nearer to the real images than another."""

    class_name: str
    closer: str
    than: str
    extractor: str = ""
    metric: str
    difference: float
    """distance(than) - distance(closer): positive where the claim holds."""
    p_value: float | None
    """One-sided test of "both lie equally far from the real images" (`metrics.nearer`), below 0.025 exactly where `low`
    is above 0. Not adjusted for the number of comparisons. None where a set has fewer than 4 images."""
    low: float | None = None
    """Lower end of the difference's 95 % interval, of the same reference distribution; None with the p-value."""
    high: float | None = None
    """Upper end of it."""
    reference: str = "validation"
    """Split of the real images: validation before the sweep, test once after it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MatrixRow:
    """Distances of one set to the real images of every class of the data set."""

    class_name: str
    source: str
    """A source of synthetic images, or "real": the class's own training images, which a good token resembles."""
    extractor: str
    metric: str
    values: list[float | None]
    """In the order of `Scores.class_names`; None for a class with too few real images, which a note names."""
    num_real: list[int]
    """Real images of each class that were used; 0 beside a value that is None."""
    num_synthetic: int
    rank: int
    """Place of the set's own class among the classes that have a value, 1 where it is the nearest."""
    nearest: str
    """The nearest class."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recognition:
    """What a classifier trained on real images only says of a set."""

    class_name: str
    source: str
    """A source of synthetic images, or "real": the held-out real images themselves."""
    num_images: int
    num_recognised: int
    share: float
    low: float
    """Lower end of the 95 % Wilson interval of `share`."""
    high: float
    """Upper end of it."""
    mistaken_for: str
    """The other class that is predicted most often, the first of several; empty where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedOnSource:
    """A classifier among the selected classes that learnt from one source alone, on held-out real images."""

    source: str
    """A source of synthetic images, or "real": training images, at the same number."""
    class_names: list[str]
    num_per_class: int
    num_seeds: int
    accuracy: float
    """Balanced accuracy, mean over seeds; chance is one over the number of classes."""
    low: float
    """Lower end of the 95 % interval (bootstrap over seeds and held-out images)."""
    high: float
    """Upper end of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyPair:
    """A synthetic image and the training image that it copies, or else the one nearest to it by its features."""

    image: str
    """Address of the synthetic image: file and row."""
    train_id: str
    is_mirrored: bool
    """Whether the mirror image of the training image is the nearer one."""
    similarity: float
    """Cosine of the features, of the nearer of the two views."""
    pixel_correlation: float
    """Correlation at low resolution after alignment (`scoring.alignment`), in [-1, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyCheck:
    """How near a synthetic set comes to the images that its token, or the base, may have copied."""

    class_name: str
    source: str
    extractor: str
    num_images: int
    num_compared: int
    """Training images, of every class, that were looked for among the synthetic ones."""
    similarity_limit: float | None
    """Similarity above which an image deserves a look: 95 % of held-out real images lie below it."""
    correlation_limit: float
    """Pixel correlation above which an image is called a copy, whatever its similarity."""
    copies: list[CopyPair]
    closest: list[CopyPair]
    """The pairs of the highest similarity, copies or not, in falling order."""
    p_value: float | None
    """One-sided rank test of "no nearer to the training images than the class's held-out real images are".

    Like the similarity limit, not known where no held-out image of any class is new to training.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class CopySensitivity:
    """How many planted copies of training images the check finds, for one way of changing them."""

    kind: str
    """What was done to the image, such as "crop 5 %"."""
    num_images: int
    num_found: int
    share: float
    low: float
    """Lower end of the 95 % Wilson interval of `share`."""
    high: float
    """Upper end of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NearDuplicate:
    """Two images of the data set in different splits that show the same."""

    first_id: str
    first_split: str
    first_class: str
    second_id: str
    second_split: str
    second_class: str
    is_identical: bool
    """Whether the files are the same byte for byte."""
    is_mirrored: bool
    pixel_correlation: float


@dataclass(frozen=True, kw_only=True, slots=True)
class NameVerdict:
    """Whether a class needs a token, or a better name is enough."""

    class_name: str
    verdict: str
    """token, better_name_is_enough, class_name_is_enough, or undecided."""
    reason: str
    """One sentence with the numbers behind the verdict."""
    reference: str = "validation"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """All records of one reference split, or of both once they are joined."""

    extractors: list[Extractor]
    class_names: list[str]
    """Columns of the matrix."""
    distances: list[Distance]
    comparisons: list[Comparison]
    learning_distances: list[LearningDistance] = field(default_factory=list)
    matrix: list[MatrixRow] = field(default_factory=list)
    recognition: list[Recognition] = field(default_factory=list)
    trained_on_source: list[TrainedOnSource] = field(default_factory=list)
    copies: list[CopyCheck] = field(default_factory=list)
    copy_sensitivity: list[CopySensitivity] = field(default_factory=list)
    near_duplicates: list[NearDuplicate] = field(default_factory=list)
    verdicts: list[NameVerdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What could not be computed, and why, in plain sentences."""
