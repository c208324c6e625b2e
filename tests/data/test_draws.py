"""Other draws of training images: from what the long tail left out, as many as before, the same on every machine."""

from collections import Counter

import numpy as np
import pytest

from flowerti.config.data import ImbalanceConfig
from flowerti.data.dataset import SPLITS, Dataset, Record
from flowerti.data.draws import SpareImages, check_spare, draw_key, drawn_images, spare_records, training_draws
from flowerti.data.imbalance import imbalanced

TAIL = ImbalanceConfig(factor=0.1, minority_classes=("c",))


def listed() -> Dataset:
    records = [
        Record(f"{split}/{name}/{index:02d}", class_id, split, f"memory:{split}/{name}/{index}")
        for class_id, name in enumerate("abc")
        for split in SPLITS
        for index in range(40 if split == "train" else 5)
    ]
    return Dataset(tuple("abc"), tuple(records))


def spare_of(kept: Dataset) -> dict[str, list[Record]]:
    return spare_records(listed(), kept, TAIL, 7, ())


def test_spare_images_are_those_that_the_tail_left_out():
    kept = imbalanced(listed(), TAIL, 7)
    spare = spare_of(kept)
    for name in "abc":
        own = {record.id for record in kept.of("train", name)}
        left_out = {record.id for record in listed().of("train", name)} - own
        assert {record.id for record in spare[name]} == left_out
    assert [len(spare[name]) for name in "abc"] == [0, 40 - 13, 40 - 4]


def test_what_a_number_leaves_out_of_minority_classes_is_spare():
    config = ImbalanceConfig(minority_classes=("b",), minority_images=3)
    spare = spare_records(listed(), imbalanced(listed(), config, 7), config, 7, ())
    assert [len(spare[name]) for name in "abc"] == [0, 37, 0]


def test_a_draw_has_as_many_images_and_the_first_is_the_split_itself():
    kept = imbalanced(listed(), TAIL, 7)
    own, spare = kept.of("train", "c"), spare_of(kept)["c"]
    draws = [drawn_images(own, spare, draw, 7, "c") for draw in range(200)]
    assert draws[0] == own
    assert draws[1] == drawn_images(own, spare[::-1], 1, 7, "c") != draws[2], "whatever the order, and by number"
    everyone = Counter(record.id for draw in draws[1:] for record in draw)
    assert {len(set(draw)) for draw in draws} == {4}
    # each of 40 images is in a draw with probability 1/10: 199 draws, 20 expected, standard deviation 4.2
    assert len(everyone) == 40
    assert all(3 <= count <= 38 for count in everyone.values())


def test_a_class_without_enough_others_is_refused():
    spare = SpareImages(records={"c": listed().of("train", "c")[:3]}, sha256={"c": "s"})
    with pytest.raises(
        ValueError, match=r"^replication\.num_draws: 2 draws of class 'c' need 4 .* leaves out 3: set it"
    ):
        check_spare(spare, 2, {"c": 4})
    check_spare(spare, 2, {"c": 3})
    check_spare(spare, 1, {"c": 4})


def test_the_rows_of_a_draw_are_its_weak_images_and_all_of_the_others():
    kept = imbalanced(listed(), TAIL, 7)
    train, spare = kept.of("train"), spare_of(kept)
    drawn = {
        class_id: [drawn_images(kept.of("train", name), spare[name], draw, 7, name) for draw in range(3)]
        for class_id, name in ((1, "b"), (2, "c"))
    }
    found = training_draws(train, drawn, [*spare["b"], *spare["c"]], "k")
    everyone = [*train, *found.spare]
    assert np.array_equal(found.rows[0], np.arange(len(train)))
    for draw, rows in enumerate(found.rows):
        ids = {everyone[row].id for row in rows}
        assert len(ids) == len(rows) == len(train)
        assert {r.id for r in train if r.class_id == 0} <= ids
        for class_id in (1, 2):
            assert {i for i in ids if everyone_of(everyone, i) == class_id} == {r.id for r in drawn[class_id][draw]}


def everyone_of(records: list[Record], record_id: str) -> int:
    (found,) = (record.class_id for record in records if record.id == record_id)
    return found


def test_a_draw_s_key_tells_images_and_choice_apart():
    own = listed().of("train", "c")
    keys = {draw_key("own", "spare", own[:4]), draw_key("own", "spare", own[1:5])}
    keys |= {draw_key("other", "spare", own[:4]), draw_key("own", "other", own[:4])}
    assert len(keys) == 4
