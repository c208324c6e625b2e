"""Words and folders of classes: plain, different for different classes, and independent of other classes."""

import re

import pytest
from small_export import NAMES, WORDS

from flowerti.export.class_words import folders_of, trigger_of, words_of


def test_words_are_plain():
    assert words_of(NAMES) == WORDS
    assert trigger_of("ti-cafe") == "<ti-cafe>"


def test_classes_that_would_share_a_word_get_a_hash_each():
    names = ["Tulip", "tulip", "tulip?", "rose", "薔薇", "x" * 300, "-", "snow drop", "snow_drop"]
    found = words_of(names)
    assert len(set(found.values())) == len(names)
    assert found["rose"] == "ti-rose"
    assert all(re.fullmatch("ti(-[a-z0-9]+)+", word) and len(word) < 64 for word in found.values())
    assert words_of(list(reversed(names))) == found, "in whatever order"


def test_folders_are_names_where_every_disk_takes_them():
    names = ["sword lily", "café", "colt's foot", "a/b", "..", "what?", " x", "x ", "CON:", "y" * 150, "pink-yellow"]
    found = folders_of(names)
    assert [found[name] for name in ("sword lily", "café", "colt's foot", "pink-yellow")] == [
        "sword lily", "café", "colt's foot", "pink-yellow",
    ]  # fmt: skip
    assert len(set(found.values())) == len(names)
    assert not any(re.search(r'[/\\:*?"<>|]|^\.|[. ]$', folder) for folder in found.values())


@pytest.mark.parametrize("names", [["x ", "x_"]])
def test_folders_never_meet(names):
    assert len(set(folders_of(names).values())) == len(names)
