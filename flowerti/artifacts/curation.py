"""What the filters leave behind: a weight for every drawn image, and how many they kept of each class and source.

This module does not know how anything is computed.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class CuratedSet:
    """The images of a class, source and learning after all filters."""

    class_name: str
    source: str
    learning: int
    weights: list[float]
    """Of each image, in [0, 1]; 0 for one that is refused."""
    refused: dict[str, int]
    """Images that each filter refuses, by its name; two may refuse the same one."""
    similarities: list[float]
    """Of each image: the highest cosine of its features with those of a training image of its class, in [-1, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceptanceRow:
    """What the filters kept of a class's images of one source, over all learnings."""

    class_name: str
    source: str
    num_drawn: int
    num_kept: int
    share_kept: float
    """num_kept / num_drawn, in [0, 1]."""
    mean_weight: float
    """Of the images that were kept, in [0, 1]; 0 for none."""
    refused: dict[str, int]
    """As in `CuratedSet`."""
    similarity_kept: float | None
    """Mean of the highest cosines with a training image, of those kept; None for none. Where it is far above that of
    the refused ones, the filters keep what shows little that is new."""
    similarity_refused: float | None
    is_left_out: bool
    """Whether the sweep goes without them, because too few are left in some learning or pool."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """How good the classifier is that some filters ask: real training images, predicted by others of them."""

    draw: int
    """The draw of training images that it was trained on."""
    temperature: float
    """What its logits are divided by; above 1 where it is too sure of itself."""
    accuracy: float
    """Mean recall over the classes that could be left out in part, in [0, 1]."""
    nll_before: float
    """Mean of -log p(own class) with temperature 1, in nats, classes counted equally."""
    nll_after: float
    """The same at the temperature."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curation:
    """What the filters did: all weights, and beside them what a report can show."""

    filters: list[str]
    """Their names, as they were asked for."""
    rows: list[AcceptanceRow]
    judges: list[Judge]
    """One for each draw of training images; none where no filter asks a classifier."""
    sets: list[CuratedSet]

    def weights_of(self, class_name: str, source: str, learning: int) -> list[float]:
        """The weights of a set's images, in their order."""
        (found,) = (
            s.weights for s in self.sets if (s.class_name, s.source, s.learning) == (class_name, source, learning)
        )
        return found

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """The (class, source) that the sweep goes without."""
        return [(row.class_name, row.source) for row in self.rows if row.is_left_out]
