"""A table of paths as a data set: columns, splits, and refusals in one line."""

from pathlib import Path

import pytest

from flowerti.config.experiment import DataConfig
from flowerti.data.access import list_records, read_image
from flowerti.data.sources.path_table import PATH_TABLE


def table(path: Path, text: str, **changes: str) -> DataConfig:
    path.write_text(text, encoding="utf-8-sig")
    return DataConfig(kind="csv", root=str(path), **changes)


def test_paths_are_relative_to_the_table_and_splits_are_known_by_their_usual_names(tmp_path: Path):
    from PIL import Image

    (tmp_path / "a").mkdir()
    Image.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / "a" / "0.png")
    rows = [
        f"a/{i}.png;rose, red;{split}\n{tmp_path}/b/{i}.png;lily;{split}\n"
        for i, split in enumerate(("Train", "val", "test"))
    ]
    found = list_records(table(tmp_path / "list.csv", "File;Class;Split\n" + "".join(rows)), 0)
    assert found.class_names == ("lily", "rose, red")
    assert found.missing == ()
    assert [(r.id, r.class_id, r.split) for r in found.records[::2]] == [
        ("a/0.png", 1, "train"),
        ("a/1.png", 1, "validation"),
        ("a/2.png", 1, "test"),
    ]
    assert found.records[1].address == str(tmp_path / "b" / "0.png")
    assert read_image(found.records[0].address, 8)[0, 0].tolist() == [1, 2, 3]
    assert found.notes == ("splits by name: train is Train, validation is val",)


def test_without_a_column_of_splits_all_images_are_for_training(tmp_path: Path):
    found = PATH_TABLE.list_records(
        table(tmp_path / "x.csv", "kind,where\na,1.png\nb,2.png\n", image_column="where", label_column="kind"), 0
    )
    assert (found.class_names, found.missing) == (("a", "b"), ("validation", "test"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no image"),
        ("path,label\n", "lists no image"),
        ("path,kind\na,b\n", "no column of classes"),
        ("where,label\na,b\n", "no column of paths"),
        ("path,label\na\n", "line 2: another number of columns"),
        ("path,label\na,b,c\n", "line 2: another number of columns"),
        ("path,label,split\na,b,upper\n", "'upper' names no split"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(text: str, words: str, tmp_path: Path):
    with pytest.raises(ValueError, match=words) as caught:
        PATH_TABLE.list_records(table(tmp_path / "x.csv", text), 0)
    assert str(caught.value).startswith("data.root: ") and "\n" not in str(caught.value)


def test_a_missing_table_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"^data\.root: .*none\.csv cannot be read"):
        PATH_TABLE.list_records(DataConfig(kind="csv", root=str(tmp_path / "none.csv")), 0)
