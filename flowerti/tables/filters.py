"""The table of filters: which drawn images the sweep trains with, and with which weight of their loss.

A row names its code, so that settings can be checked without loading any. This module does not know how a filter looks
at an image.
"""

from dataclasses import dataclass

from flowerti.tables.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """One way to give each image of a set a weight; several multiply."""

    name: str
    label: str
    """What it keeps, in plain words."""
    implementation: str
    """Where its code is, as module:function; a `flowerti.curation.rules.Rule`."""
    needs_judge: bool = False
    """Whether it looks at the probabilities of a classifier of real training images."""
    needs_clip: bool = False
    """Whether it looks at which class CLIP takes an image for."""


_RULES = "flowerti.curation.rules"
FILTERS: Table[Filter] = Table(
    "filter",
    [
        Filter(
            name="top_share",
            label="the share with the highest probability of their class",
            implementation=f"{_RULES}:top_share",
            needs_judge=True,
        ),
        Filter(
            name="hard_share",
            label="the share with the lowest probability of their class",
            implementation=f"{_RULES}:hard_share",
            needs_judge=True,
        ),
        Filter(
            name="top_k",
            label="those whose class is among the classifier's first k",
            implementation=f"{_RULES}:top_k",
            needs_judge=True,
        ),
        Filter(
            name="confidence",
            label="all, by the calibrated probability of their class",
            implementation=f"{_RULES}:confidence",
            needs_judge=True,
        ),
        Filter(
            name="no_copies",
            label="those no nearer to a training image than real ones are to one another",
            implementation=f"{_RULES}:no_copies",
        ),
        Filter(
            name="no_outliers",
            label="all but those farthest from every training image",
            implementation=f"{_RULES}:no_outliers",
        ),
        Filter(
            name="clip",
            label="those that CLIP takes for their class",
            implementation=f"{_RULES}:clip_agrees",
            needs_clip=True,
        ),
    ],
)
