"""Captions for drawn images of the herbarium: names of common species and plain words for traits.

The names of rare species never occur, so that tokens for them are not trivial to train. This module does not know about
pixels, tokenizers or training.
"""

import numpy as np

from flowerti.data.sources.herbarium.species import Species, Traits
from pretraining.captions import in_template

NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
).split()
NAMED_SHARE = 0.75
"""Share of the captions of a common species' image that say its name."""
_NUM_DETAILS = (0.2, 0.35, 0.45)
"""Shares of captions with one, two and three details, of those that have any: short ones teach no form."""


def sample_caption(traits: Traits, species: Species | None, rng: np.random.Generator) -> str:
    """One caption for an image of these traits.

    Args:
        traits: what the image shows.
        species: the species it was drawn from, if any.
        rng: where the choices come from.

    Returns:
        A caption in lower case but for the raw prompt's first letter; never empty.

    Raises:
        ValueError: if the species is rare, since no caption may hold its name.
    """
    if species is not None and species.rare:
        raise ValueError(f"{species.name!r} is rare: the base model must not learn its name")
    if species is not None and rng.random() < NAMED_SHARE:
        phrase = _named_phrase(traits, species.name, rng)
    else:
        phrase = _attribute_phrase(traits, rng)
    return in_template(phrase, rng)


def _named_phrase(traits: Traits, name: str, rng: np.random.Generator) -> str:
    phrase = name if rng.random() < 0.5 else f"{traits.petal_colour} {name}"
    if rng.random() < 0.15:
        phrase += " flower"
    return phrase if rng.random() < 0.7 else f"{phrase} with {_details(traits, rng)}"


def _attribute_phrase(traits: Traits, rng: np.random.Generator) -> str:
    """For example "blue star flower with five petals and white stripes"."""
    words = [traits.petal_colour] if rng.random() < 0.75 else []
    words += _form_words(traits, rng)
    head = " ".join([*words, "flower"])
    if traits.arrangement in ("spike", "umbel"):
        of = "spike" if traits.arrangement == "spike" else "cluster"
        head = f"{of} of {head}s" if rng.random() < 0.8 else head
    return head if rng.random() < 0.1 else f"{head} with {_details(traits, rng)}"


def _form_words(traits: Traits, rng: np.random.Generator) -> list[str]:
    words = []
    if traits.arrangement in ("double", "full", "bell") and rng.random() < 0.8:
        words.append(traits.arrangement)
    if traits.pattern != "plain" and rng.random() < 0.2:
        words.insert(0, traits.pattern)
    is_star = traits.petal_shape == "pointed" and traits.num_petals <= 8
    if is_star and traits.arrangement in ("single", "double") and rng.random() < 0.6:
        words.append("star")
    return words


def _details(traits: Traits, rng: np.random.Generator) -> str:
    """One to three things to see, in random order, joined to a phrase."""
    details = [_petals(traits, rng), _marks(traits), _centre(traits)]
    weights = np.array([0.5, 0.25, 0.25])
    chosen = rng.choice(3, size=int(rng.choice(3, p=_NUM_DETAILS)) + 1, replace=False, p=weights)
    return " and ".join(details[int(i)] for i in chosen)


def _petals(traits: Traits, rng: np.random.Generator) -> str:
    words = [NUMBER_WORDS[traits.num_petals]] if rng.random() < 0.75 else []
    words += [traits.petal_shape] if rng.random() < 0.85 or not words else []
    words += [traits.petal_colour] if rng.random() < 0.4 else []
    return " ".join([*words, "petals"])


def _marks(traits: Traits) -> str:
    forms = {
        "edged": "{} edges",
        "striped": "{} stripes",
        "spotted": "{} spots",
        "eyed": "a {} eye",
        "plain": "plain petals",
    }
    return forms[traits.pattern].format(traits.mark_colour)


def _centre(traits: Traits) -> str:
    forms = {
        "button": "a {} button",
        "stamens": "{} stamens",
        "star": "a {} star centre",
        "none": "no centre",
    }
    return forms[traits.centre].format(traits.centre_colour)
