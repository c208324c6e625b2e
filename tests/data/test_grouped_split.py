"""A cut that keeps groups together: cases by hand, random groups, and nothing changed where no group is parted."""

from collections import Counter

import numpy as np
import pytest

from flowerti.data.dataset import Record, Split
from flowerti.data.grouped_split import kept_together


def orders_of(sizes: dict[str, int]) -> list[list[Record]]:
    return [
        [Record(f"{name}{i}", class_id, "train", f"{name}{i}.png") for i in range(size)]
        for class_id, (name, size) in enumerate(sizes.items())
    ]


def cut_of(orders: list[list[Record]], num_test: int, num_validation: int) -> dict[str, Split]:
    """The first of each class to test, the next to validation, the others to training."""
    splits = ["test"] * num_test + ["validation"] * num_validation
    return {r.id: (splits[i] if i < len(splits) else "train") for order in orders for i, r in enumerate(order)}


def counts_of(cut: dict[str, Split]) -> Counter:
    return Counter((name[0], split) for name, split in cut.items())


def straddling(cut: dict[str, Split], groups: list[list[str]]) -> list[list[str]]:
    return [group for group in groups if len({cut[name] for name in group}) > 1]


def test_a_parted_pair_is_joined_by_one_swap():
    orders = orders_of({"a": 10})
    before = cut_of(orders, 2, 2)
    after = kept_together(before, orders, [["a0", "a9"]], 0)
    assert after["a0"] == after["a9"]
    assert counts_of(after) == counts_of(before)
    changed = [name for name in before if before[name] != after[name]]
    assert len(changed) == 2
    assert len({"a0", "a9"} & set(changed)) == 1


def test_a_group_goes_where_most_of_it_is():
    orders = orders_of({"a": 20})
    after = kept_together(cut_of(orders, 4, 4), orders, [["a0", "a5", "a6"]], 0)
    assert {after[name] for name in ("a0", "a5", "a6")} == {"validation"}


def test_nothing_changes_without_a_parted_group():
    orders = orders_of({"a": 10, "b": 10})
    before = cut_of(orders, 2, 2)
    assert kept_together(before, orders, [], 0) == before
    assert kept_together(before, orders, [["a8", "a9", "b8"], ["a0", "b1"]], 0) == before


def test_a_pair_of_two_classes_is_joined_and_both_keep_their_counts():
    orders = orders_of({"a": 10, "b": 10})
    before = cut_of(orders, 2, 2)
    after = kept_together(before, orders, [["a0", "b9"]], 0)
    assert after["a0"] == after["b9"]
    assert counts_of(after) == counts_of(before)


def test_where_a_class_has_nothing_to_swap_its_counts_change_by_as_little_as_possible():
    orders = orders_of({"a": 4})
    groups = [["a0", "a1", "a2", "a3"]]
    after = kept_together(cut_of(orders, 1, 1), orders, groups, 0)
    assert not straddling(after, groups)
    # only training has images that could go where two of the group come from
    orders = orders_of({"a": 5})
    groups = [["a0", "a1", "a4"]]
    after = kept_together(cut_of(orders, 1, 1), orders, groups, 0)
    assert not straddling(after, groups)
    assert counts_of(after) == counts_of(cut_of(orders, 1, 1))


def test_the_seed_decides_between_equals():
    orders = orders_of({"a": 10})
    before = cut_of(orders, 2, 2)
    found = {kept_together(before, orders, [["a0", "a9"]], seed)["a0"] for seed in range(20)}
    assert found == {"test", "train"}
    assert kept_together(before, orders, [["a9", "a0"]], 3) == kept_together(before, orders, [["a0", "a9"]], 3)


@pytest.mark.parametrize("seed", range(5))
def test_random_groups_across_classes_never_straddle_and_every_count_is_kept(seed: int):
    rng = np.random.default_rng(seed)
    orders = orders_of({"a": 60, "b": 40, "c": 30})
    names = rng.permutation([record.id for order in orders for record in order]).tolist()
    groups = [[names.pop() for _ in range(size)] for size in rng.integers(2, 5, 12)]
    before = cut_of(orders, 8, 8)
    assert straddling(before, groups)
    after = kept_together(before, orders, groups, seed)
    assert not straddling(after, groups)
    assert counts_of(after) == counts_of(before)
    assert kept_together(before, orders, groups[::-1], seed) == after
