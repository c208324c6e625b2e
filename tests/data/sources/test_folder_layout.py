"""Image folders as people lay them out: the images of each class and split, what is told, and what is refused."""

from pathlib import Path

import pytest
from noise_folder import config_of, save_noise

from flowerti.data.access import list_records
from flowerti.data.dataset import SPLITS, Dataset, count_by_split


def draw(root: Path, counts: dict[str, int], suffix: str = ".png") -> Path:
    """Noise images: so many in each folder."""
    for seed, (folder, count) in enumerate(counts.items()):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            save_noise(root / folder / f"{index}{suffix}", 100 * seed + index)
    return root


def counts(dataset: Dataset) -> dict[str, tuple[int, ...]]:
    """Training, validation and test images by class."""
    found = count_by_split(dataset)
    return {name: tuple(found[i, split] for split in SPLITS) for i, name in enumerate(dataset.class_names)}


def listed(root: Path, **changes: object) -> Dataset:
    return list_records(config_of(root, **changes), 0)


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("TRAIN", "VALID", "TEST"),
        ("training_set", "dev", "test_set"),
        ("train2017", "val2017", "test2017"),
        ("trainset", "valid-images", "evaluation"),
        ("train", "eval", "test"),
        ("train", "val", "eval"),
    ],
)
def test_splits_are_known_by_their_usual_names(tmp_path: Path, train: str, validation: str, test: str):
    folders = {train: 3, validation: 2, test: 1}
    root = draw(tmp_path, {f"{split}/{name}": num for split, num in folders.items() for name in ("rose", "lily")})
    dataset = listed(root)
    assert counts(dataset) == {"lily": (3, 2, 1), "rose": (3, 2, 1)}
    assert dataset.missing == ()
    assert dataset.notes == (f"splits by folder: train is {train}, validation is {validation}, test is {test}",)
    assert dataset.records[0].id == f"{train}/lily/0.png"


def test_folders_of_classes_alone_have_no_splits(tmp_path: Path):
    dataset = listed(draw(tmp_path, {"rose": 5, "lily": 3}))
    assert counts(dataset) == {"lily": (3, 0, 0), "rose": (5, 0, 0)}
    assert dataset.missing == ("validation", "test")
    assert dataset.notes == ()


def test_a_class_may_be_called_train(tmp_path: Path):
    dataset = listed(draw(tmp_path, {"bus": 3, "car": 3, "train": 3}))
    assert dataset.class_names == ("bus", "car", "train")


def test_images_of_nested_folders_and_mixed_formats_are_all_the_classs(tmp_path: Path):
    root = draw(tmp_path, {"train/rose": 1, "train/rose/2021": 2, "train/lily/a/b": 3, "val/rose": 1, "val/lily": 1})
    draw(root, {"train/rose/2021/spring": 2}, ".TIF")
    draw(root, {"train/rose": 2}, ".gif")
    draw(root, {"train/lily": 1}, ".jfif")
    draw(root, {"val/lily": 1}, ".ppm")
    (root / "val/rose/0.png").rename(root / "val/rose/without_suffix")
    dataset = listed(root)
    assert counts(dataset) == {"lily": (4, 2, 0), "rose": (7, 1, 0)}
    assert dataset.missing == ("test",)
    assert [record.id for record in dataset.of("train", "rose")][-4:] == [
        "train/rose/2021/0.png", "train/rose/2021/1.png",
        "train/rose/2021/spring/0.TIF", "train/rose/2021/spring/1.TIF",
    ]  # fmt: skip
    assert dataset.notes == (
        "splits by folder: train is train, validation is val",
        "7 images in folders within that of a class, counted as the class's: for innermost folders as classes set "
        "data.class_level inner (train/lily/a/b/0.png, ...)",
    )


def test_innermost_folders_are_classes_where_that_is_asked(tmp_path: Path):
    root = draw(tmp_path, {"train/animals/dog": 2, "train/animals/cat": 3, "train/plants/rose": 4})
    assert counts(listed(root)) == {"animals": (5, 0, 0), "plants": (4, 0, 0)}
    inner = listed(root, class_level="inner")
    assert counts(inner) == {"cat": (3, 0, 0), "dog": (2, 0, 0), "rose": (4, 0, 0)}
    assert inner.notes == ()


def test_folders_that_hold_one_folder_only_are_stepped_into(tmp_path: Path):
    root = draw(tmp_path, {"flowers-v2/jpg/train/images/rose": 2, "flowers-v2/jpg/train/images/lily": 2})
    dataset = listed(root)
    assert counts(dataset) == {"lily": (2, 0, 0), "rose": (2, 0, 0)}
    assert dataset.notes == (
        "splits by folder: train is flowers-v2/jpg/train",
        "classes are the folders in flowers-v2/jpg/train/images",
    )


def test_splits_may_lie_in_the_folders_of_classes(tmp_path: Path):
    root = draw(
        tmp_path, {f"{name}/{split}": num for name in ("rose", "lily") for split, num in (("Train", 3), ("val", 2))}
    )
    dataset = listed(root)
    assert counts(dataset) == {"lily": (3, 2, 0), "rose": (3, 2, 0)}
    assert dataset.missing == ("test",)
    assert dataset.notes == ("the folder of each class has folders of splits",)


def test_hidden_and_system_folders_are_no_classes_and_are_told(tmp_path: Path):
    root = draw(tmp_path, {"rose": 2, "lily": 2, ".ipynb_checkpoints": 3, "rose/.thumbs": 1, "__MACOSX/rose": 2})
    (root / "rose" / "._0.png").write_bytes(b"\0\5\26\7")
    (root / "lily" / "Thumbs.db").write_bytes(b"x")
    (root / "lily" / "labels.csv").write_text("a,b")
    (root / "notes").mkdir()
    dataset = listed(root)
    assert counts(dataset) == {"lily": (2, 0, 0), "rose": (2, 0, 0)}
    assert dataset.notes == (
        "left out: 1 .csv file, no image (lily/labels.csv)",
        "left out: 1 folder without images (notes)",
        "left out: 2 hidden or system files (lily/Thumbs.db, ...)",
        "left out: 3 hidden or system folders (.ipynb_checkpoints, ...)",
    )


def test_formats_that_cannot_be_opened_and_loose_images_are_told(tmp_path: Path):
    root = draw(tmp_path, {"rose": 2, "lily": 2})
    for name in ("a.heic", "b.HEIC", "c.nef"):
        (root / "rose" / name).write_bytes(b"x")
    save_noise(root / "cover.png", 7)
    assert listed(root).notes == (
        "left out: 2 .heic files, which cannot be opened: convert to JPEG or PNG (rose/a.heic, ...)",
        "left out: 1 .nef file, which cannot be opened: convert to JPEG or PNG (rose/c.nef)",
        "left out: 1 image outside the folders of classes (cover.png)",
    )


def test_folders_beside_complete_splits_are_told(tmp_path: Path):
    folders = [f"{split}/{name}" for split in (*SPLITS, "extra") for name in ("rose", "lily")]
    dataset = listed(draw(tmp_path, dict.fromkeys(folders, 2)))
    assert counts(dataset) == {"lily": (2, 2, 2), "rose": (2, 2, 2)}
    assert dataset.notes == ("left out: 4 images in a folder beside the splits (extra/lily/0.png, ...)",)


def test_links_are_followed_and_those_in_a_circle_are_told(tmp_path: Path):
    elsewhere = draw(tmp_path / "elsewhere", {"rose": 3})
    root = draw(tmp_path / "root", {"lily": 2})
    (root / "rose").symlink_to(elsewhere / "rose")
    (root / "lily" / "again").symlink_to(root)
    dataset = listed(root)
    assert counts(dataset) == {"lily": (2, 0, 0), "rose": (3, 0, 0)}
    assert dataset.notes == ("left out: 1 link to a folder above it (lily/again)",)


def test_the_users_own_folder_may_be_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    draw(tmp_path / "images", {"rose": 2, "lily": 2})
    assert listed(Path("~/images")).class_names == ("lily", "rose")


REFUSED = {
    "nothing": ({}, "{root} holds no images \\(it is empty\\): name the folder"),
    "loose images": ({".": 3}, "{root} holds 3 images and no folder of a class: put the images"),
    "one class": ({"rose": 3}, "{root} holds 3 images|1 classes found: at least 2"),
    "splits of images without classes": ({"train": 3, "test": 3}, "{root}/test holds 3 images of no class: sort"),
    "a test split without classes": ({"train/a": 3, "train/b": 3, "test": 2}, "{root}/test holds 2 images of no class"),
    "two training folders": ({"train/a": 3, "train/b": 3, "Training/a": 2}, "{root}/Training and {root}/train are b"),
    "a folder that may be a split": (
        {"train/a": 3, "train/b": 3, "holdout/a": 2, "holdout/b": 2},
        "{root}/holdout is beside {root}/train and may be .*: rename it to validation or test, or move",
    ),
    "classes with splits beside some without": (
        {"rose/train": 2, "rose/val": 2, "lily": 3}, "{root}/rose has folders of splits and {root}/lily has none",
    ),
    "no training images": ({"val/a": 2, "val/b": 2}, "{root} has no training images"),
    "a class missing in a split": (
        {"train/a": 2, "train/b": 2, "val/a": 2}, "{root}: class 'b' has no images in the validation split",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_may_mean_several_things_is_refused_by_name(tmp_path: Path, name: str):
    folders, reason = REFUSED[name]
    root = draw(tmp_path, folders)
    with pytest.raises(ValueError, match=reason.replace("{root}", str(root))) as caught:
        listed(root)
    assert str(caught.value).startswith("data")
    assert "\n" not in str(caught.value)


def test_a_class_of_which_nothing_can_be_opened_is_refused(tmp_path: Path):
    root = draw(tmp_path, {"rose": 2, "lily": 2, "iris": 0})
    (root / "iris" / "1.heic").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"iris holds 1 file that cannot be opened \(1\.heic\): convert to"):
        listed(root)


def test_a_folder_of_parquet_files_says_so(tmp_path: Path):
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"holds no images \(left out: 1 \.parquet file.*set data\.kind to parquet"):
        listed(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=rf"^data\.root: {tmp_path}/gone is missing, or no folder"):
        listed(tmp_path / "gone")
