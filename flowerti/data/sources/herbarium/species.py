"""The species of the herbarium: which traits a blossom has, and which values each species draws from.

`Traits` is one concrete blossom, `Species` a distribution over such blossoms. Several species share each colour
on purpose, so that form has to be looked at. This module knows nothing about pixels, captions or data splits.
"""

from dataclasses import dataclass

import numpy as np

ARRANGEMENTS = ("single", "double", "full", "spike", "umbel", "bell")
PETAL_SHAPES = ("round", "pointed", "strap", "heart", "fringed", "spoon")
PATTERNS = ("plain", "edged", "striped", "spotted", "eyed")
CENTRES = ("button", "stamens", "star", "none")
COLOURS: dict[str, tuple[float, float, float]] = {
    "white": (0.12, 0.06, 0.95),
    "yellow": (0.145, 0.82, 0.95),
    "orange": (0.07, 0.85, 0.95),
    "red": (0.985, 0.82, 0.80),
    "pink": (0.92, 0.45, 0.93),
    "purple": (0.78, 0.58, 0.65),
    "blue": (0.62, 0.65, 0.80),
    "brown": (0.06, 0.65, 0.32),
    "green": (0.25, 0.55, 0.60),
}
"""Name -> (hue, saturation, value), each in [0, 1]."""
PETAL_COLOURS = ("white", "yellow", "orange", "red", "pink", "purple", "blue")


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """One concrete blossom, before light, viewpoint and every other free variation."""

    arrangement: str
    num_petals: int
    petal_shape: str
    pattern: str
    petal_colour: str
    mark_colour: str
    centre: str
    centre_colour: str
    centre_size: float

    def form(self) -> tuple[str, int, str, str, str]:
        """What makes a look apart from its colours."""
        return (self.arrangement, self.num_petals, self.petal_shape, self.pattern, self.centre)


@dataclass(frozen=True, kw_only=True, slots=True)
class Species:
    """A named distribution over `Traits`; `alternative_name` describes a rare one in plain words."""

    name: str
    rare: bool = False
    alternative_name: str | None = None
    arrangement: str
    num_petals: tuple[int, ...]
    petal_shape: str
    pattern: str = "plain"
    petal_colours: tuple[str, ...]
    mark_colours: tuple[str, ...] = ("white",)
    centre: str
    centre_colours: tuple[str, ...] = ("yellow",)
    centre_size: tuple[float, float] = (0.18, 0.26)


SPECIES: tuple[Species, ...] = (
    Species(
        name="daisy",
        arrangement="single",
        num_petals=(11, 12, 13, 14),
        petal_shape="strap",
        petal_colours=("white", "pink", "yellow", "purple"),
        centre="button",
        centre_colours=("yellow", "orange"),
        centre_size=(0.26, 0.36),
    ),
    Species(
        name="sunflower",
        arrangement="double",
        num_petals=(12, 14, 16),
        petal_shape="pointed",
        petal_colours=("yellow", "orange", "red", "white"),
        centre="button",
        centre_colours=("brown", "orange"),
        centre_size=(0.34, 0.48),
    ),
    Species(
        name="poppy",
        arrangement="single",
        num_petals=(4, 5),
        petal_shape="round",
        pattern="eyed",
        petal_colours=("red", "orange", "pink", "white"),
        mark_colours=("brown", "purple"),
        centre="stamens",
        centre_colours=("brown", "green"),
        centre_size=(0.18, 0.28),
    ),
    Species(
        name="buttercup",
        arrangement="single",
        num_petals=(5, 6),
        petal_shape="round",
        petal_colours=("yellow", "white", "orange", "pink"),
        centre="stamens",
        centre_colours=("yellow", "green"),
        centre_size=(0.20, 0.32),
    ),
    Species(
        name="primrose",
        arrangement="single",
        num_petals=(5,),
        petal_shape="heart",
        pattern="eyed",
        petal_colours=("pink", "purple", "yellow", "blue", "red"),
        mark_colours=("yellow", "white"),
        centre="none",
        centre_colours=("orange", "green"),
        centre_size=(0.08, 0.14),
    ),
    Species(
        name="cornflower",
        arrangement="double",
        num_petals=(7, 8, 9),
        petal_shape="fringed",
        petal_colours=("blue", "purple", "pink", "white"),
        centre="stamens",
        centre_colours=("purple", "blue"),
        centre_size=(0.16, 0.26),
    ),
    Species(
        name="lily",
        arrangement="single",
        num_petals=(6,),
        petal_shape="pointed",
        pattern="spotted",
        petal_colours=("orange", "white", "pink", "yellow", "purple"),
        mark_colours=("brown", "red"),
        centre="star",
        centre_colours=("orange", "brown"),
        centre_size=(0.26, 0.38),
    ),
    Species(
        name="dahlia",
        arrangement="full",
        num_petals=(10, 11, 12, 13),
        petal_shape="round",
        petal_colours=("red", "pink", "orange", "purple", "white"),
        centre="none",
        centre_colours=("yellow",),
        centre_size=(0.06, 0.12),
    ),
    Species(
        name="bellflower",
        arrangement="bell",
        num_petals=(4, 5, 6),
        petal_shape="pointed",
        petal_colours=("blue", "purple", "white", "pink"),
        centre="none",
    ),
    Species(
        name="lupin",
        arrangement="spike",
        num_petals=(4, 5),
        petal_shape="round",
        petal_colours=("purple", "pink", "yellow", "blue", "red"),
        centre="none",
        centre_colours=("white",),
    ),
    Species(
        name="phlox",
        arrangement="umbel",
        num_petals=(5,),
        petal_shape="spoon",
        petal_colours=("pink", "white", "blue", "red"),
        centre="button",
        centre_colours=("yellow", "red"),
        centre_size=(0.16, 0.24),
    ),
    Species(
        name="velmora",
        rare=True,
        alternative_name="blue star flower",
        arrangement="single",
        num_petals=(5, 6),
        petal_shape="pointed",
        pattern="striped",
        petal_colours=("blue", "purple", "blue"),
        mark_colours=("white",),
        centre="star",
        centre_colours=("yellow", "white"),
        centre_size=(0.26, 0.38),
    ),
    Species(
        name="quillane",
        rare=True,
        arrangement="single",
        num_petals=(5,),
        petal_shape="heart",
        pattern="edged",
        petal_colours=("yellow", "white", "pink"),
        mark_colours=("red",),
        centre="button",
        centre_colours=("green", "yellow"),
        centre_size=(0.18, 0.28),
    ),
    Species(
        name="brindolet",
        rare=True,
        arrangement="double",
        num_petals=(9, 10, 11),
        petal_shape="spoon",
        pattern="eyed",
        petal_colours=("pink", "orange", "white"),
        mark_colours=("purple",),
        centre="button",
        centre_colours=("brown", "yellow"),
        centre_size=(0.22, 0.34),
    ),
)
COMMON: tuple[Species, ...] = tuple(species for species in SPECIES if not species.rare)
RARE: tuple[Species, ...] = tuple(species for species in SPECIES if species.rare)
_BY_NAME: dict[str, Species] = {species.name: species for species in SPECIES}


def species_named(name: str) -> Species:
    """The species of that name.

    Raises:
        ValueError: if the herbarium has no such species.
    """
    if name not in _BY_NAME:
        raise ValueError(f"no species {name!r} in the herbarium; it has {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def sample_traits(species: Species, rng: np.random.Generator) -> Traits:
    """One blossom of the species."""
    return Traits(
        arrangement=species.arrangement,
        num_petals=int(rng.choice(species.num_petals)),
        petal_shape=species.petal_shape,
        pattern=species.pattern,
        petal_colour=str(rng.choice(species.petal_colours)),
        mark_colour=str(rng.choice(species.mark_colours)),
        centre=species.centre,
        centre_colour=str(rng.choice(species.centre_colours)),
        centre_size=float(rng.uniform(*species.centre_size)),
    )


def random_traits(rng: np.random.Generator) -> Traits:
    """Any blossom of the whole attribute space, except the exact form of a rare species."""
    while True:
        traits = _any_traits(rng) if rng.random() < 0.6 else _near_species(rng)
        if not has_rare_form(traits):
            return traits


def has_rare_form(traits: Traits) -> bool:
    """Whether the form, colours aside, is one that a rare species can have."""
    return any(
        traits.form() == (s.arrangement, num, s.petal_shape, s.pattern, s.centre) for s in RARE for num in s.num_petals
    )


def _any_traits(rng: np.random.Generator) -> Traits:
    petal_colour = str(rng.choice(PETAL_COLOURS))
    marks = [colour for colour in (*PETAL_COLOURS, "brown") if colour != petal_colour]
    return Traits(
        arrangement=str(rng.choice(ARRANGEMENTS, p=(0.4, 0.2, 0.1, 0.1, 0.1, 0.1))),
        num_petals=int(rng.choice((3, 4, 5, 5, 6, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16))),
        petal_shape=str(rng.choice(PETAL_SHAPES)),
        pattern=str(rng.choice(PATTERNS, p=(0.28, 0.18, 0.18, 0.18, 0.18))),
        petal_colour=petal_colour,
        mark_colour=str(rng.choice(marks)),
        centre=str(rng.choice(CENTRES)),
        centre_colour=str(rng.choice(("yellow", "orange", "brown", "green", "white", "purple"))),
        centre_size=float(rng.uniform(0.14, 0.44)),
    )


def _near_species(rng: np.random.Generator) -> Traits:
    """A blossom of any species with two of its trait groups taken from elsewhere."""
    kept = sample_traits(SPECIES[int(rng.integers(len(SPECIES)))], rng)
    other = _any_traits(rng)
    groups = (
        ("arrangement",),
        ("num_petals",),
        ("petal_shape",),
        ("pattern", "petal_colour", "mark_colour"),
        ("centre", "centre_colour", "centre_size"),
    )
    taken = {f for i in rng.choice(len(groups), 2, replace=False) for f in groups[int(i)]}
    names = Traits.__dataclass_fields__
    return Traits(**{name: getattr(other if name in taken else kept, name) for name in names})
