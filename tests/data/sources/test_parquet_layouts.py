"""Parquet files as they lie on the Hugging Face Hub: splits by name, columns by name and type, and what is refused."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flowerti.config.experiment import DataConfig
from flowerti.data.access import list_records, read_image, reader_of
from flowerti.data.dataset import SPLITS, Dataset
from flowerti.data.sources.files import stamp_of_file


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (10, 10, 3), dtype=np.uint8)


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image(seed)).save(stream, "PNG")
    return stream.getvalue()


def write(file: Path, labels: list, *, image: str = "image", label: str = "label", **options: object) -> None:
    """Images with seeds 0, 1, ..., as structs, or as plain bytes; `names` are declared as `datasets` does it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    contents = [png(seed) for seed in range(len(labels))]
    column = contents if options.get("plain") else [{"bytes": one, "path": ""} for one in contents]
    table = pa.table({image: column, label: labels, **options.get("more", {})})
    if names := options.get("names"):
        features = {name: {"names": of_name, "_type": "ClassLabel"} for name, of_name in names.items()}
        features[image] = {"_type": "Image"}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, file)


def listed(root: Path, **changes: str) -> Dataset:
    return list_records(DataConfig(kind="parquet", root=str(root), image_size_px=10, **changes), 0)


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00001", "data/validation-00000-of-00001", "data/test-00000-of-00001"),
        ("default/train/0000", "default/validation/0000", "default/test/0000"),
        ("flowers-train-0", "flowers-dev-0", "flowers-testing-0"),
        ("plain_text/partial-train/0", "plain_text/partial-eval/0", "plain_text/partial-test/0"),
        ("Train", "VAL", "Test"),
    ],
)
def test_splits_are_known_by_words_in_paths(tmp_path: Path, names: tuple[str, ...]):
    for name, labels in zip(names, (["a", "b", "a"], ["a", "b"], ["b", "a"]), strict=True):
        write(tmp_path / f"{name}.parquet", labels)
    dataset = listed(tmp_path)
    assert [len(dataset.of(split)) for split in SPLITS] == [3, 2, 2]
    assert dataset.missing == ()
    assert np.array_equal(read_image(dataset.of("train")[2].address, 10), image(2))


def test_files_without_a_split_and_missing_splits(tmp_path: Path):
    write(tmp_path / "0000.parquet", ["a", "b"])
    write(tmp_path / "0001.parquet", ["a", "b"])
    assert listed(tmp_path).missing == ("validation", "test")
    assert len(listed(tmp_path).of("train")) == 4
    (tmp_path / "0001.parquet").rename(tmp_path / "test.parquet")
    with pytest.raises(ValueError, match=r"0000\.parquet is named after no split: rename it, such as to train-0"):
        listed(tmp_path)
    (tmp_path / "0000.parquet").rename(tmp_path / "training.parquet")
    dataset = listed(tmp_path)
    assert dataset.missing == ("validation",)
    assert dataset.notes == ("splits by name: train is training",)


@pytest.mark.parametrize(
    ("image_name", "label_name"), [("img", "label"), ("image", "labels"), ("img", "fine_label"), ("photo", "species")]
)
@pytest.mark.parametrize("plain", [False, True])
def test_columns_are_known_by_name_metadata_and_type(tmp_path: Path, image_name: str, label_name: str, plain: bool):
    names = {label_name: ["zinnia", "azalea"]}
    write(tmp_path / "train.parquet", [1, 0, 1], image=image_name, label=label_name, names=names, plain=plain)
    dataset = listed(tmp_path)
    assert dataset.class_names == ("zinnia", "azalea")
    assert [record.class_id for record in dataset.records] == [1, 0, 1]
    assert dataset.notes == (f"columns: images in {image_name}, classes in {label_name}",)
    for seed, record in enumerate(dataset.records):
        assert np.array_equal(read_image(record.address, 10), image(seed))
        assert reader_of(record.address).stamp_of(record.address) == stamp_of_file(str(tmp_path / "train.parquet"))


def test_the_fine_label_is_read_and_another_where_it_is_named(tmp_path: Path):
    names = {"fine_label": ["rose", "tulip", "oak"], "coarse_label": ["flower", "tree"]}
    more = {"coarse_label": [0, 0, 1]}
    write(tmp_path / "train.parquet", [0, 1, 2], image="img", label="fine_label", names=names, more=more)
    assert listed(tmp_path).class_names == ("rose", "tulip", "oak")
    coarse = listed(tmp_path, label_column="coarse_label")
    assert [record.class_id for record in coarse.records] == [0, 0, 1]
    assert coarse.class_names == ("flower", "tree")


def test_columns_that_nobody_knows_are_asked_for(tmp_path: Path):
    write(tmp_path / "train.parquet", ["a", "b"], image="left", label="what", more={"right": [png(8), png(9)]})
    with pytest.raises(
        ValueError, match=r"several columns hold images \(left, right\): name one by data\.image_column"
    ):
        listed(tmp_path)
    with pytest.raises(ValueError, match=r"no column 'label': it has left, what, right: name one by data\.label"):
        listed(tmp_path, image_column="right")
    dataset = listed(tmp_path, image_column="right", label_column="what")
    assert np.array_equal(read_image(dataset.records[1].address, 10), image(9))
    with pytest.raises(ValueError, match=r"^data\.image_column: .* has no column 'rigth': it has left, what, right"):
        listed(tmp_path, image_column="rigth", label_column="what")
    with pytest.raises(ValueError, match=r"column 'what' holds string, not encoded images: name another by"):
        listed(tmp_path, image_column="what", label_column="what")


def test_numbers_without_names_are_classes_in_their_order_and_are_told(tmp_path: Path):
    write(tmp_path / "train.parquet", [10, 2, 10, 0])
    dataset = listed(tmp_path)
    assert dataset.class_names == ("0", "2", "10")
    assert [record.class_id for record in dataset.records] == [2, 1, 2, 0]
    assert "sampling.alternative_names_file" in dataset.notes[0]


@pytest.mark.parametrize(
    ("label", "advice"),
    [
        (-1, "unknown class: leave such rows out, or move"),
        (None, "unknown class: leave such rows out, or move"),
        (7, "correct it, or name another column"),
    ],
)
def test_a_row_without_a_class_is_named_with_what_to_do(tmp_path: Path, label: object, advice: str):
    write(tmp_path / "train.parquet", [0, label, 1], names={"label": ["a", "b"]})
    with pytest.raises(ValueError, match=rf"train\.parquet, row 1: label {label} has no class name: .*{advice}"):
        listed(tmp_path)


def test_several_classes_of_an_image_are_refused(tmp_path: Path):
    write(tmp_path / "train.parquet", [["a", "b"], ["a"]])
    with pytest.raises(ValueError, match=r"row 0: label \['a', 'b'\] has no class name: an image has one class"):
        listed(tmp_path)


def test_other_files_are_told(tmp_path: Path):
    for split in SPLITS:
        write(tmp_path / "data" / f"{split}-0.parquet", ["a", "b"])
    write(tmp_path / "data" / "unlabelled.parquet", ["a", "b"])
    (tmp_path / "README.md").write_text("x")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "train.parquet").write_bytes(b"x")
    dataset = listed(tmp_path)
    assert len(dataset.records) == 6
    assert dataset.notes == (
        "left out: 1 .md file, no Parquet (README.md)",
        "left out: 1 .parquet file, named after no split (data/unlabelled.parquet)",
        "left out: 1 hidden or system file (.cache/train.parquet)",
    )


REFUSED = {
    "two data sets": (["fine/train-0", "coarse/train-0"], r"coarse/train... and .*fine/train... both are named after"),
    "two names of a split": (["train-0", "valid-0", "dev-0"], r"dev... and .*valid... both .* validation split"),
    "several splits in a name": (["train-test"], r"'train-test\.parquet' is named after several splits"),
    "nothing": ([], r"no Parquet file in .* \(it is empty\): name the folder"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_may_mean_several_things_is_refused(tmp_path: Path, name: str):
    files, reason = REFUSED[name]
    for file in files:
        write(tmp_path / f"{file}.parquet", ["a", "b"])
    with pytest.raises(ValueError, match=reason) as caught:
        listed(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("data.root: ")
