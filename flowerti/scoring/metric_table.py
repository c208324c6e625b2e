"""The table of metrics of a synthetic set against real images: label, formula, and the images it is computed on.

Scoring iterates over `METRICS`, and the report derives its headings and columns from it; plugins add rows. This module
does not know the images, the files, or the layout of a record or a page.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from flowerti.metrics.diversity import vendi_ratio
from flowerti.metrics.frechet import frechet_distance
from flowerti.metrics.kernel import cmmd, kernel_distance, kernel_standard_error, permutation_p_value
from flowerti.metrics.manifold import precision_recall_density_coverage
from flowerti.metrics.similarity import image_similarity, text_similarity
from flowerti.tables import Table

Features = Float[np.ndarray, "_ _"]

Taken = Literal["halves", "matched", "all", "text"]
"""The images that a metric is computed on, and its floor.

- halves: mean over random halves of the real images, with as many synthetic ones; the floor lies between the halves.
  Right for every metric, and needed where the number of images biases it.
- matched: one value between sets cut to the size of the class's smallest; the floor is the mean over halves.
- all: one value between all images of both sets; the floor is the mean over halves.
- text: one value between the synthetic images and the text feature of the class; the floor is that of the real images.
"""

COMPARISON_METRIC = "kernel"
"""The metric of the comparisons between sources and of the verdicts on names (`comparisons`, `name_verdicts`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A group of metrics with a common explanation in the report."""

    name: str
    heading: str


KINDS: Table[Kind] = Table(
    "kind of metric",
    [
        Kind(name="kernel", heading="Kernel distance"),
        Kind(name="cmmd", heading="CMMD"),
        Kind(name="frechet", heading="Fréchet distance"),
        Kind(name="overlap", heading="Overlap: precision, recall, density, coverage"),
        Kind(name="diversity", heading="Diversity"),
        Kind(name="similarity", heading="Similarity to real images"),
        Kind(name="prompt", heading="Similarity to the description"),
    ],
)
"""In the order of the page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One metric of a set of synthetic images against real ones of its class."""

    name: str
    label: str
    """In plain words, as the report has it."""
    function: Callable[..., float]
    """Of features [num_real, dim] and [num_synthetic, dim], any float dtype; where `taken` is "text" of features
    [num, dim] and the text feature [dim]. Raises `ValueError` for features that it cannot take."""
    kind: str = ""
    """A row of `KINDS`; empty for a heading of its own, which is the label."""
    taken: Taken = "halves"
    extractor: str = ""
    """The only extractor whose features it is for; empty for all."""
    min_images: int = 2
    """Images that it needs on each side, at least 2; with fewer it is left out, and a note says so."""
    uses_neighbours: bool = False
    """Whether the function takes `num_neighbours` as well, which must be below the number of images on each side."""
    p_value: Callable[[Features, Features, int, np.random.Generator], float] | None = None
    """Test of "same distribution", of both sets, the number of permutations and their generator; None for none."""
    standard_error: Callable[[Features, Features], float] | None = None
    """Standard error of the value, of both sets of at least 3 images each; None where there is no interval."""

    def __post_init__(self) -> None:
        """Check that the fields fit together."""
        if self.min_images < 2:
            raise ValueError(f"metric {self.name!r}: min_images is {self.min_images}; it must be at least 2")
        if self.taken in ("halves", "text") and (self.p_value or self.standard_error):
            raise ValueError(
                f"metric {self.name!r}: p_value and standard_error are about one value between two sets; "
                f"take it 'matched' or of 'all', not {self.taken!r}"
            )


def _overlap(field: str) -> Callable[..., float]:
    def measure(real: Features, synthetic: Features, num_neighbours: int) -> float:
        return getattr(precision_recall_density_coverage(real, synthetic, num_neighbours), field)

    return measure


METRICS: Table[Metric] = Table(
    "metric",
    [
        Metric(name="frechet", label="Fréchet distance", kind="frechet", function=frechet_distance),
        *(
            Metric(name=name, label=name, kind="overlap", function=_overlap(name), uses_neighbours=True)
            for name in ("precision", "recall", "density", "coverage")
        ),
        Metric(name="vendi_ratio", label="Vendi ratio", kind="diversity", function=vendi_ratio),
        Metric(
            name="kernel",
            label="kernel distance",
            kind="kernel",
            taken="matched",
            function=kernel_distance,
            p_value=permutation_p_value,
            standard_error=kernel_standard_error,
        ),
        # its bandwidth is chosen for CLIP's unit vectors
        Metric(name="cmmd", label="CMMD", kind="cmmd", taken="matched", function=cmmd, extractor="clip"),
        Metric(
            name="image_similarity", label="image similarity", kind="similarity", taken="all", function=image_similarity
        ),
        Metric(name="text_similarity", label="text similarity", kind="prompt", taken="text", function=text_similarity),
    ],
)


def metrics_for(extractor: str) -> list[Metric]:
    """The metrics of one extractor's features.

    Raises:
        ValueError: a metric is of an unknown kind; names it.
    """
    for metric in METRICS:
        if metric.kind and metric.kind not in KINDS:
            raise ValueError(
                f"metric {metric.name!r}: unknown kind {metric.kind!r}: choose among {', '.join(KINDS.names)}, or none"
            )
    return [metric for metric in METRICS if metric.extractor in ("", extractor)]


def metric_label(name: str) -> str:
    """A metric in plain words; its name where the table has none, as in a run whose plugin is not loaded."""
    return METRICS[name].label if name in METRICS else name


def heading_of(name: str) -> str:
    """The heading of a kind, or of a metric that is a kind of its own."""
    label = metric_label(name)
    return KINDS[name].heading if name in KINDS else label[:1].upper() + label[1:]


def metrics_by_kind(names: Collection[str]) -> dict[str, list[str]]:
    """Some metrics by kind, kinds in the order of the page; after them those that have none, each by itself."""
    known = [metric for metric in METRICS if metric.name in names]
    by_kind = {kind.name: [metric.name for metric in known if metric.kind == kind.name] for kind in KINDS}
    placed = {name for of_kind in by_kind.values() for name in of_kind}
    alone = {name: [name] for name in names if name not in placed}
    return {kind: of_kind for kind, of_kind in by_kind.items() if of_kind} | alone
