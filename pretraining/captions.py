"""Captions for images of which the class is known: its names in the words of the project's prompts.

A caption is a template of `flowerti.prompts` around a noun phrase, so that the words of later prompts are known words.
This module knows nothing about pixels, tokenizers or training.
"""

from collections.abc import Collection, Sequence

import numpy as np

from flowerti.data.class_names import alternative_names, latin_names
from flowerti.prompts import TEMPLATES

RAW_SHARE = 0.06
"""Share of captions that are the raw prompt instead of a template."""
_OTHER_SHARE = 0.3
"""Share of captions with another name of the class, where it has some."""


def in_template(phrase: str, rng: np.random.Generator) -> str:
    """A noun phrase as a caption: in one of the templates, or in the raw prompt."""
    if rng.random() < RAW_SHARE:
        return f'Photo of a "{phrase}"'
    return str(rng.choice(TEMPLATES)).format(phrase)


def class_caption(names: Sequence[str], rng: np.random.Generator) -> str:
    """One caption for an image of a class.

    Args:
        names: what the class is called: first its own name, then others.
        rng: where the choices come from.
    """
    others = names[1:]
    is_other = bool(others) and rng.random() < _OTHER_SHARE
    return in_template(str(rng.choice(others)) if is_other else names[0], rng)


def names_of_classes(kind: str, class_names: tuple[str, ...], held_out: Collection[str]) -> list[tuple[str, ...]]:
    """What each class of a data source is called, its own name first; no other name says that of a held-out class."""
    alternative, latin = alternative_names(kind, class_names), latin_names(kind, class_names)
    found = []
    for name in class_names:
        others = [names[name] for names in (alternative, latin) if name in names]
        allowed = [other for other in others if not _says(other, held_out, alternative, latin)]
        found.append((name, *dict.fromkeys(allowed)))
    return found


def _says(phrase: str, held_out: Collection[str], *tables: dict[str, str]) -> bool:
    forbidden = [*held_out, *(names[name] for names in tables for name in held_out if name in names)]
    return any(name.lower() in phrase.lower() for name in forbidden)
