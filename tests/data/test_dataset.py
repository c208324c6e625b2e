"""Records and counts: what a data set must have."""

import pytest

from flowerti.data.dataset import (
    SPLITS,
    Dataset,
    Record,
    check_class_name,
    check_counts,
    count_by_split,
    without,
    without_classes,
)

RECORDS = tuple(
    Record(f"{split}/{name}/{i}", class_id, split, f"{name}-{split}-{i}.png")
    for split in SPLITS
    for class_id, name in enumerate(("azalea", "rose"))
    for i in range(2)
)
DATASET = Dataset(("azalea", "rose"), RECORDS)


def test_records_are_found_by_split_and_class_in_their_order():
    check_counts(DATASET)
    assert [r.id for r in DATASET.of("test", "rose")] == ["test/rose/0", "test/rose/1"]
    assert [r.id for r in DATASET.of("train")] == [f"train/{name}/{i}" for name in ("azalea", "rose") for i in (0, 1)]
    assert count_by_split(DATASET) == {(i, split): 2 for i in (0, 1) for split in SPLITS}


def test_an_id_that_stands_twice_is_named():
    twice = Dataset(DATASET.class_names, (*RECORDS, RECORDS[3]))
    with pytest.raises(ValueError, match=r"^data: image id 'train/rose/1' occurs twice"):
        check_counts(twice)


@pytest.mark.parametrize("split", SPLITS)
def test_a_class_without_images_in_a_split_is_named(split: str):
    left = without(DATASET, [f"{split}/rose/{i}" for i in (0, 1)])
    assert len(left.records) == len(RECORDS) - 2
    with pytest.raises(ValueError, match=f"^data: class 'rose' has no images in the {split} split"):
        check_counts(left)


def test_one_class_is_no_classification():
    with pytest.raises(ValueError, match="1 classes found: at least 2"):
        check_counts(Dataset(("azalea",), tuple(r for r in RECORDS if r.class_id == 0)))


def test_the_name_that_stands_for_all_classes_is_refused():
    with pytest.raises(ValueError, match=r"^data: class '@all' has the name that stands for all classes: rename it"):
        check_counts(Dataset(("azalea", "@all"), RECORDS))


def test_an_unknown_class_is_refused_with_what_is_spelt_like_it():
    check_class_name(DATASET, "x.y", "rose")
    with pytest.raises(ValueError, match=r"^x\.y: unknown class 'roze': did you mean rose\?"):
        check_class_name(DATASET, "x.y", "roze")
    with pytest.raises(ValueError, match="did you mean azalea, rose"):
        check_class_name(DATASET, "x.y", "qqq")


def test_classes_that_are_left_out_are_told_and_the_others_keep_their_images():
    records = [Record(f"{name}/{i}", class_id, "train", "x") for class_id, name in enumerate("abc") for i in range(2)]
    found = without_classes(Dataset(("a", "b", "c"), tuple(records), notes=("note",)), ["b"])
    assert found.class_names == ("a", "c")
    assert [(record.id, record.class_id) for record in found.records] == [
        ("a/0", 0),
        ("a/1", 0),
        ("c/0", 1),
        ("c/1", 1),
    ]
    assert found.notes == ("note", "left out by data.left_out_classes: b (2 images)")
    with pytest.raises(ValueError, match=r"^data\.left_out_classes: unknown class 'd'"):
        without_classes(Dataset(("a", "b", "c"), tuple(records)), ["d"])
