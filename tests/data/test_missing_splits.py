"""Splits that a data set lacks: cut once by seed out of training images, alike images together, the rest left alone."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from noise_folder import config_of, save_noise
from PIL import Image

from flowerti.artifacts.pending import PendingArtifacts
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.data import ImbalanceConfig
from flowerti.data.access import list_records
from flowerti.data.census import census_sentences
from flowerti.data.dataset import SPLITS, Dataset, Record, count_by_split
from flowerti.data.imbalance import imbalanced, makes_cut
from flowerti.data.inspection import Inspected, Inspection

SHARES = ImbalanceConfig(validation_share=0.2, test_share=0.25)


def pool(sizes: dict[str, int], missing: tuple[str, ...] = ("validation", "test")) -> Dataset:
    """Training images alone, and one of each class in the splits that are there."""
    records = []
    for class_id, (name, size) in enumerate(sizes.items()):
        records += [Record(f"{name}/{i}.png", class_id, "train", f"/{name}/{i}.png") for i in range(size)]
        for split in SPLITS[1:]:
            if split not in missing:
                records.append(Record(f"{split}/{name}/0.png", class_id, split, f"/{split}/{name}/0.png"))
    return Dataset(tuple(sizes), tuple(records), missing=missing)


def counts(dataset: Dataset) -> list[tuple[int, ...]]:
    found = count_by_split(dataset)
    return [tuple(found[i, split] for split in SPLITS) for i in range(len(dataset.class_names))]


def split_of(dataset: Dataset) -> dict[str, str]:
    return {record.id: record.split for record in dataset.records}


def test_each_class_gives_its_share_and_the_smallest_one_image():
    found = imbalanced(pool({"a": 100, "b": 40, "c": 3}), SHARES, 0)
    assert counts(found) == [(55, 20, 25), (22, 8, 10), (1, 1, 1)]
    assert found.missing == ()
    assert found.notes == (
        "there is no validation and test split: 20% for validation and 25% for test are set aside out of each class's "
        "training images, by seed 0",
    )


@pytest.mark.parametrize("resplit", [False, True])
def test_a_cut_holds_out_as_many_as_it_is_told_of_classes_that_have_them(resplit: bool):
    config = ImbalanceConfig(validation_share=0.2, test_share=0.25, min_held_out=4, resplit=resplit)
    found = imbalanced(pool({"a": 40, "b": 16, "c": 12, "d": 11, "e": 3}), config, 0)
    # of 16 a quarter are 4, a fifth 3; of 12 they are 3 and 2; of 11, too few for 4 each, 3 and 2
    assert counts(found) == [(22, 8, 10), (8, 4, 4), (4, 4, 4), (6, 2, 3), (1, 1, 1)]
    if not resplit:
        assert "training images, and at least 4 each where a class has 12, by seed 0" in found.notes[0]


@pytest.mark.parametrize(("missing", "expected"), [("validation", (8, 2, 1)), ("test", (7, 1, 2))])
def test_a_split_that_is_there_stays_as_it_is(missing: str, expected: tuple[int, ...]):
    found = imbalanced(pool({"a": 10, "b": 10} if missing == "validation" else {"a": 9, "b": 9}, (missing,)), SHARES, 0)
    there = "test" if missing == "validation" else "validation"
    assert counts(found) == [expected, expected]
    assert [r.id for r in found.of(there)] == [f"{there}/a/0.png", f"{there}/b/0.png"]
    assert f"there is no {missing} split" in found.notes[0]


def test_the_seed_decides_and_the_order_of_records_does_not():
    dataset = pool({"a": 30, "b": 30})
    turned = Dataset(dataset.class_names, dataset.records[::-1], dataset.missing)
    first = split_of(imbalanced(dataset, SHARES, 0))
    assert split_of(imbalanced(turned, SHARES, 0)) == first
    assert split_of(imbalanced(dataset, SHARES, 1)) != first


def test_more_images_of_a_class_leave_almost_all_others_where_they_were():
    before = split_of(imbalanced(pool({"a": 100, "b": 30}), SHARES, 0))
    after = split_of(imbalanced(pool({"a": 105, "b": 30}), SHARES, 0))
    moved = [name for name, split in before.items() if after[name] != split]
    assert len(moved) <= 4
    assert not [name for name in moved if name.startswith("b/")]


def test_any_image_may_be_held_out():
    held_out = Counter()
    for seed in range(60):
        found = imbalanced(pool({"a": 8, "b": 8}), SHARES, seed)
        held_out.update(record.id for record in found.of("test", "a"))
    assert len(held_out) == 8
    assert max(held_out.values()) < 35, "two of eight are held out each time, 15 of 60 expected of each image"


def test_alike_images_stay_on_one_side_and_images_elsewhere_stay():
    dataset = pool({"a": 40, "b": 40}, ("validation",))
    before = imbalanced(dataset, SHARES, 0)
    group = [before.of("train", "a")[0].id, before.of("validation", "a")[0].id, "test/a/0.png"]
    after = imbalanced(dataset, SHARES, 0, [group])
    assert len({split_of(after)[name] for name in group[:2]}) == 1
    assert split_of(after)["test/a/0.png"] == "test"
    assert counts(after) == counts(before)
    assert after.notes[0].endswith("by seed 0, 1 group(s) of alike images kept together")


def test_groups_never_empty_a_split_where_there_is_another_way():
    groups = [["a/0.png", "a/1.png"], ["a/2.png", "a/3.png"]]
    for seed in range(40):
        found = imbalanced(pool({"a": 5, "b": 5}), SHARES, seed, groups)
        assert all(min(row) >= 1 for row in counts(found))
        assert all(len({split_of(found)[name] for name in group}) == 1 for group in groups)


def test_too_few_images_are_refused_by_class():
    with pytest.raises(ValueError, match=r"^data: class 'b' has 2 training images, too few .*until it has 3"):
        imbalanced(pool({"a": 9, "b": 2}), SHARES, 0)
    with pytest.raises(ValueError, match=r"^data: class 'b' has 1 training image, too few to set test images aside"):
        imbalanced(pool({"a": 9, "b": 1}, ("test",)), SHARES, 0)
    alike = [["b/0.png", "b/1.png"]]
    with pytest.raises(ValueError, match=r"^data: class 'b' has 3 training images, but too many of them are alike"):
        imbalanced(pool({"a": 9, "b": 3}), SHARES, 0, alike)


def test_a_re_split_pools_whatever_splits_there_are():
    whole = imbalanced(pool({"a": 40, "b": 40}), ImbalanceConfig(resplit=True), 0)
    assert (whole.missing, whole.notes) == ((), ())
    assert counts(whole) == [(22, 8, 10)] * 2
    assert makes_cut(pool({"a": 4, "b": 4}), ImbalanceConfig())
    assert not makes_cut(pool({"a": 4, "b": 4}, ()), ImbalanceConfig())


def inspected(folder: Path, run: RunDirectory) -> Inspected:
    config, artifacts = config_of(folder), PendingArtifacts(run)
    listed = list_records(config, 0)
    look = Inspection(data=config, imbalance=ImbalanceConfig(), seed=0, known=None, artifacts=artifacts)
    found = look.of(listed)
    artifacts.save()
    return found


def test_a_run_tells_the_cut_and_finds_it_again(tmp_path: Path):
    root, run = tmp_path / "images", RunDirectory(str(tmp_path / "run"))
    for class_id, (name, num) in enumerate((("rose", 12), ("lily", 12), ("iris", 3))):
        (root / name).mkdir(parents=True)
        for index in range(num):
            save_noise(root / name / f"{index}.png", 100 * class_id + index)
    for index in (1, 2, 3):  # copies without black are alike, and not the same bytes
        levels = np.asarray(Image.open(root / "rose" / f"{index}.png"))
        Image.fromarray(np.maximum(levels, 3)).save(root / "rose" / f"copy{index}.png")
    found = inspected(root, run)
    assert counts(found.dataset) == [(1, 1, 1), (7, 2, 3), (8, 3, 4)]
    place = split_of(found.dataset)
    for index in (1, 2, 3):
        assert place[f"rose/{index}.png"] == place[f"rose/copy{index}.png"]
    (note,) = found.census.notes
    assert "there is no validation and test split" in note
    assert census_sentences(found.census) == ["30 images of 3 classes: 16 train, 6 validation, 8 test", note]
    assert "there is no validation" in run.read_bytes("data.json").decode()
    assert inspected(root, run) == found
