"""Names of splits: which words are known in folders and files, and what eval stands for."""

import pytest

from flowerti.data.sources.split_names import settled, split_of_folder, split_words_in


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("TRAINING", "train"), ("train_set", "train"), ("trainset", "train"),
        ("train2017", "train"),
        ("val", "validation"), ("Valid", "validation"), ("validation-images", "validation"), ("dev", "validation"),
        ("test", "test"), ("testing", "test"), ("eval", "test"), ("test data", "test"),
        ("trains", None), ("test_tube", None), ("train_val", None), ("valley", None), ("data", None), ("2021", None),
    ],
)  # fmt: skip
def test_a_folder_is_a_split_if_its_name_says_little_else(name: str, split: str | None):
    assert split_of_folder(name) == split


def test_a_file_may_say_more():
    assert split_words_in("flowers-train-00000-of-00002.parquet") == {"train": "train"}
    assert split_words_in("dev-and-test") == {"dev": "validation", "test": "test"}
    assert split_words_in("0000.parquet") == {}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train", "eval"], ["train", "test"]),
        (["train", "eval", "test"], ["train", "validation", "test"]),
        (["train", "val", "eval"], ["train", "validation", "test"]),
        (["train", "val", "eval", "test"], ["train", "validation", "test", "test"]),
    ],
)
def test_eval_is_what_is_missing(names: list[str], expected: list[str]):
    split_of = {name: split for name in names if (split := split_of_folder(name))}
    assert list(settled(split_of, {name: name for name in names}).values()) == expected
