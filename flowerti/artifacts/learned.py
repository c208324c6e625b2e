"""What is left of learning a class: its record, the loss curve and the neighbours of learnt rows.

This module does not know how anything is learnt, nor where a record lies.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class LossPoint:
    """The deterministic evaluation loss after some steps."""

    step: int
    loss: float
    seconds: float = field(default=0.0, compare=False)
    """Since training began; not part of what makes two curves equal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """A vocabulary token near a learnt row."""

    vector: int
    token: str
    cosine: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ConceptNeighbour:
    """A learnt row of another class near a learnt row."""

    class_name: str
    vector: int
    other_class_name: str
    other_vector: int
    cosine: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """What a technique learnt for a class, or the reason why it learnt nothing."""

    class_name: str
    """`identity.ALL_CLASSES` where classes were learnt together."""
    technique: str
    """A row of `config.techniques.TECHNIQUES`."""
    learning: int = 0
    """Which of the class's learnings, from 0; each has a seed of its own."""
    token: str = ""
    """The placeholder token in the captions it was learnt with, its own or that of what it needs; empty for none."""
    num_vectors: int = 0
    """Embedding rows of its token; 0 where the technique makes no token of its own."""
    num_parameters: int = 0
    """Numbers that were learnt."""
    base: str = ""
    base_sha256: str = ""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file, by its name in the class's folder."""
    num_images: int = 0
    num_steps: int = 0
    best_step: int = 0
    seed: int = 0
    """Of the first step's draw."""
    loss_curve: list[LossPoint] = field(default_factory=list)
    """Of a technique that goes on from another it begins at that one's loss, on the same draws where both evaluate as
    many."""
    neighbours: list[Neighbour] = field(default_factory=list)
    """Vocabulary tokens near each of its own rows; empty where it has none."""
    details: dict[str, str | int | float] = field(default_factory=dict)
    """Settings that tell it from others of its technique, as in {"rank": 4}."""
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    classes: list[str] = field(default_factory=list)
    """The classes that were learnt together, in their order; empty where it is of one class."""
    error: str = ""
    """Empty, or why the class failed."""

    def is_of(self, class_name: str) -> bool:
        """Whether it was learnt for a class, alone or together with others."""
        return class_name in (self.classes or [self.class_name])
