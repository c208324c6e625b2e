"""Which split a folder or file is of, by the names that people give: train, Training, val, dev, test_set, ...

The words are those of Hugging Face `datasets`. This module opens nothing.
"""

import re
from collections.abc import Hashable, Mapping
from typing import TypeVar

from flowerti.data.dataset import Split

Place = TypeVar("Place", bound=Hashable)

_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation"), "test"),
}
_EITHER = ("eval", "evaluation")
"""Words for validation images where there are test images beside, for test images otherwise."""
_BESIDE = ("set", "split", "data", "dataset", "folder", "image", "images", "img", "imgs")
"""Words that may stand beside a split's in the name of its folder, as in test_set."""


def split_of_folder(name: str) -> Split | None:
    """The split that a folder is named after, in any case; its name may add no more than "set" or a number."""
    words = [word for word in _words(name) if word not in _BESIDE]
    return _WORDS.get(words[0]) if len(words) == 1 else None


def split_words_in(name: str) -> dict[str, Split]:
    """The words for splits anywhere in a name, as in flowers-train-00000-of-00002.parquet, and the split of each."""
    return {word: _WORDS[word] for word in _words(name) if word in _WORDS}


def settled(split_of: Mapping[Place, Split], name_of: Mapping[Place, str]) -> dict[Place, Split]:
    """Take what is named eval for validation where something else is named after the test split.

    Args:
        split_of: split of each place, as the functions above give it.
        name_of: its name.
    """
    either = {place for place in split_of if set(_words(name_of[place])) & set(_EITHER)}
    others = {split for place, split in split_of.items() if place not in either}
    if "test" in others and "validation" not in others:
        return {place: "validation" if place in either else split for place, split in split_of.items()}
    return dict(split_of)


def _words(name: str) -> list[str]:
    words = re.findall(r"[a-z]+", name.lower())
    # trainset, valset and testset are one word each
    return [word.removesuffix("set") if word.removesuffix("set") in _WORDS else word for word in words]
