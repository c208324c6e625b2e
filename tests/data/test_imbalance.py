"""Made imbalance: sizes against the formula, seeds, disjoint splits, and the real flowers with the study's classes."""

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from flowerti.config.experiment import DataConfig, ImbalanceConfig
from flowerti.config.presets import STUDY_CLASSES
from flowerti.data.access import list_records
from flowerti.data.census import split_lists
from flowerti.data.dataset import SPLITS, Dataset, Record, count_by_split
from flowerti.data.imbalance import imbalanced, shot_group, tail_sizes

LONG_TAIL = ImbalanceConfig(factor=0.1)


def dataset_of(sizes: dict[str, int]) -> Dataset:
    """Training images as many as said, three for validation and four for test."""
    records = [
        Record(f"{split}/{name}/{i}", class_id, split, f"{name}-{split}-{i}.png")
        for class_id, (name, size) in enumerate(sizes.items())
        for split, count in zip(SPLITS, (size, 3, 4), strict=True)
        for i in range(count)
    ]
    return Dataset(tuple(sizes), tuple(records))


def train_counts(dataset: Dataset) -> list[int]:
    counts = count_by_split(dataset)
    return [counts[i, "train"] for i in range(len(dataset.class_names))]


def test_sizes_are_the_exponential_profile():
    sizes = tail_sizes([200] * 11, 0.1)
    assert sizes == [round(200 * 10 ** (-k / 10)) for k in range(11)]
    assert (sizes[0], sizes[-1]) == (200, 20)


def test_no_class_gets_more_than_it_has_nor_less_than_one():
    assert tail_sizes([5, 100, 3, 60], 0.01) == [5, 100, 1, 22]
    assert tail_sizes([2, 2], 0.01) == [2, 1]


def test_minority_classes_stand_at_the_end_in_their_order():
    sizes = tail_sizes([100, 100, 100, 100, 100], 0.1, minority=[1, 0])
    assert sizes[0] == 10
    assert sizes[1] == round(100 * 0.1**0.75)
    assert sizes[2:] == [100, 56, 32]


@pytest.mark.parametrize(
    ("num", "group"), [(101, "many"), (100, "medium"), (20, "medium"), (19, "few"), (1, "few"), (500, "many")]
)
def test_groups_are_those_of_the_literature(num: int, group: str):
    assert shot_group(num) == group


def test_defaults_change_nothing():
    dataset = dataset_of({"a": 4, "b": 7})
    assert imbalanced(dataset, ImbalanceConfig(), 0) == dataset


def test_only_training_images_are_taken_away():
    dataset = dataset_of({"a": 100, "b": 100, "c": 100})
    found = imbalanced(dataset, LONG_TAIL, 0)
    assert train_counts(found) == [100, 32, 10]
    assert set(found.records) <= set(dataset.records)
    for split in ("validation", "test"):
        assert found.of(split) == dataset.of(split)


def test_the_seed_chooses_and_a_smaller_factor_keeps_a_part():
    dataset = dataset_of({"a": 100, "b": 100, "c": 100})
    first, again, other = (imbalanced(dataset, LONG_TAIL, seed) for seed in (0, 0, 1))
    smaller = imbalanced(dataset, ImbalanceConfig(factor=0.05), 0)
    assert first == again
    assert split_lists(first).sha256 != split_lists(other).sha256
    assert set(smaller.records) < set(first.records)
    assert [r.id for r in first.records] != [r.id for r in other.records], "to later stages it is another data set"


def test_minority_classes_keep_a_number_and_the_others_all():
    dataset = dataset_of({"a": 20, "b": 30, "c": 9})
    config = ImbalanceConfig(minority_classes=("c", "a"), minority_images=5)
    found = imbalanced(dataset, config, 0)
    assert train_counts(found) == [5, 30, 5]
    more = imbalanced(dataset, dataclasses.replace(config, minority_images=9), 0)
    assert set(found.records) < set(more.records), "a larger number includes a smaller one's images"
    both = imbalanced(dataset, dataclasses.replace(config, factor=0.1), 0)
    assert train_counts(both) == [5, 30, 5], "the class at the head of the tail keeps all"
    with pytest.raises(ValueError, match=r"^imbalance\.minority_images: class 'c' has 9 training images, not 10: ask"):
        imbalanced(dataset, dataclasses.replace(config, minority_images=10), 0)


def test_the_choice_does_not_depend_on_the_order_of_records():
    dataset = dataset_of({"a": 30, "b": 30})
    turned = Dataset(dataset.class_names, dataset.records[::-1])
    config = ImbalanceConfig(factor=0.2, resplit=True)
    assert set(imbalanced(turned, config, 3).records) == set(imbalanced(dataset, config, 3).records)


def test_a_re_split_pools_all_images_and_shares_none():
    dataset = dataset_of({"a": 93, "b": 33})
    found = imbalanced(dataset, ImbalanceConfig(resplit=True, validation_share=0.2, test_share=0.3), 0)
    counts = count_by_split(found)
    assert [counts[0, split] for split in SPLITS] == [50, 20, 30]
    assert [counts[1, split] for split in SPLITS] == [20, 8, 12]
    assert {(r.id, r.class_id, r.address) for r in found.records} == {
        (r.id, r.class_id, r.address) for r in dataset.records
    }
    assert len({r.id for r in found.records}) == len(dataset.records)


def test_a_re_split_keeps_alike_images_on_one_side_and_its_counts():
    dataset = dataset_of({"a": 93, "b": 33})
    config = ImbalanceConfig(resplit=True, validation_share=0.2, test_share=0.3)
    before = imbalanced(dataset, config, 0)
    test, train = before.of("test", "a")[0].id, before.of("train", "b")[0].id
    after = imbalanced(dataset, config, 0, [[test, train]])
    split_of = {record.id: record.split for record in after.records}
    assert split_of[test] == split_of[train]
    assert count_by_split(after) == count_by_split(before)
    assert imbalanced(dataset, config, 0, [[r.id for r in before.of("train", "a")]]) == before
    assert imbalanced(dataset, ImbalanceConfig(), 0, [[test, train]]) == dataset, "a cut of others is left alone"


def test_a_binary_task_keeps_the_images():
    dataset = dataset_of({"a": 5, "b": 6, "c": 7})
    found = imbalanced(dataset, ImbalanceConfig(positive_classes=("c", "a")), 0)
    assert found.class_names == ("other classes", "c or a")
    assert train_counts(found) == [6, 12]
    assert [r.id for r in found.records] == [r.id for r in dataset.records]


@pytest.mark.parametrize(
    "config", [ImbalanceConfig(factor=0.1, minority_classes=("azaela",)), ImbalanceConfig(positive_classes=("azaela",))]
)
def test_an_unknown_class_is_named_with_a_hint(config: ImbalanceConfig):
    with pytest.raises(ValueError, match=r"^imbalance\.\w+_classes: unknown class 'azaela': did you mean azalea"):
        imbalanced(dataset_of({"azalea": 4, "rose": 4}), config, 0)


def test_a_class_that_a_re_split_empties_is_named():
    dataset = Dataset(("a", "b"), tuple(Record(f"{c}{i}", c, "train", f"{c}{i}") for c in (0, 1) for i in (0, 1)))
    with pytest.raises(ValueError, match=r"'a' has no images in the train split"):
        imbalanced(dataset, ImbalanceConfig(resplit=True), 0)


def test_the_lists_that_are_written_down_are_the_splits():
    found = split_lists(imbalanced(dataset_of({"a": 20, "b": 20}), LONG_TAIL, 0))
    assert len(found.train) == 22
    assert all(name.startswith("validation/") for name in found.validation)
    assert len(set(found.train) | set(found.validation) | set(found.test)) == 22 + 6 + 8


@pytest.fixture(scope="module")
def flowers(shared_root: Path) -> Dataset:
    return list_records(DataConfig(kind="flowers102", root=str(shared_root / "data" / "flowers102-64")), 0)


FLOWERS = ImbalanceConfig(factor=0.1, minority_classes=STUDY_CLASSES, resplit=True)


def test_the_studys_classes_are_few_shot_and_still_judged_on_many_images(flowers: Dataset):
    found = imbalanced(flowers, FLOWERS, 0)
    counts = dict(zip(found.class_names, train_counts(found), strict=True))
    groups = Counter(shot_group(num) for num in counts.values())
    assert {shot_group(counts[name]) for name in STUDY_CLASSES} == {"few"}
    assert min(groups[group] for group in ("many", "medium", "few")) >= 3
    assert 0.09 < min(counts.values()) / max(counts.values()) < 0.11
    assert [len(found.of("test", name)) for name in STUDY_CLASSES] == [24, 32, 20]
    assert [len(found.of("validation", name)) for name in STUDY_CLASSES] == [19, 26, 16]


def test_no_image_of_the_flowers_stands_in_two_splits(flowers: Dataset):
    found = imbalanced(flowers, dataclasses.replace(FLOWERS, factor=0.05), 1)
    ids = {split: {r.id for r in found.of(split)} for split in SPLITS}
    assert not ids["train"] & ids["validation"] and not ids["train"] & ids["test"]
    assert not ids["validation"] & ids["test"]
    official = {r.id: r.class_id for r in flowers.records}
    assert all(official[r.id] == r.class_id for r in found.records)
    assert np.array_equal(sorted(Counter(r.class_id for r in found.of("test"))), np.arange(102))
