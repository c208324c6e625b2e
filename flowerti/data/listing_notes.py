"""The words in which a listing tells what it found and left out: counts by kind, each with an example.

This module knows no data source.
"""

from collections.abc import Mapping, Sequence


def counted(num: int, noun: str) -> str:
    """A number and its noun: "1 image", "2 images"."""
    return f"{num} {noun}{'' if num == 1 else 's'}"


def first_of(names: Sequence[str]) -> str:
    """The first name, and whether there are others; without what does not print."""
    shown = names[0] if names[0].isprintable() else repr(names[0])
    return shown if len(names) == 1 else f"{shown}, ..."


def left_out(names_by_kind: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for each kind of what was found and not listed, in the order of the kinds.

    Args:
        names_by_kind: paths by kind; a kind is a singular noun and may go on after a colon, as in "folder: no image".
    """
    sentences = []
    for kind, names in sorted(names_by_kind.items()):
        noun, _, rest = kind.partition(":")
        sentences.append(f"left out: {counted(len(names), noun)}{rest} ({first_of(names)})")
    return sentences
