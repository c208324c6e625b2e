"""Parquet images: what Hugging Face `datasets` wrote is read back, and what is missing is named."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flowerti.config.experiment import DataConfig
from flowerti.data.access import list_records, read_image
from flowerti.data.census import take_census
from flowerti.data.dataset import SPLITS

COUNTS = {"train": 6, "validation": 4, "test": 4}


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (10, 10, 3), dtype=np.uint8)


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image(seed)).save(stream, "PNG")
    return stream.getvalue()


def write_plain(root: Path, name: str, seeds: list[int], labels: list[str]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": png(seed), "path": f"{seed}.png"} for seed in seeds]
    pq.write_table(pa.table({"image": images, "label": labels}), root / name)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Labels as text; the training split in two files."""
    write_plain(tmp_path, "train-00000-of-00002.parquet", [0, 1, 2], ["rose", "azalea", "rose"])
    write_plain(tmp_path, "train-00001-of-00002.parquet", [3, 4, 5], ["azalea", "rose", "rose"])
    write_plain(tmp_path, "valid.parquet", [6, 7, 8, 9], ["rose", "azalea"] * 2)
    write_plain(tmp_path / "test", "0.parquet", [10, 11, 12, 13], ["azalea", "rose"] * 2)
    return tmp_path


def config_of(root: Path) -> DataConfig:
    return DataConfig(kind="parquet", root=str(root), image_size_px=10)


def test_rows_become_records_in_the_order_of_files_and_rows(texts: Path):
    dataset = list_records(config_of(texts), 0)
    assert dataset.class_names == ("azalea", "rose")
    assert [len(dataset.of(split)) for split in SPLITS] == [6, 4, 4]
    assert [r.class_id for r in dataset.of("train")] == [1, 0, 1, 0, 1, 1]
    assert dataset.of("train")[3].id == "train-00001-of-00002.parquet#0"
    for seed, record in enumerate(dataset.of("train")):
        assert np.array_equal(read_image(record.address, 10), image(seed))


def test_the_census_reads_every_row(texts: Path):
    config = config_of(texts)
    census = take_census(list_records(config, 0), config)
    assert [c.num_train for c in census.counts] == [2, 4]
    assert census.duplicates == []


def test_a_data_set_that_datasets_wrote_keeps_its_own_order_of_classes(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets")
    names = ["zinnia", "azalea", "rose"]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    for split, count in COUNTS.items():
        rows = {
            "image": [{"bytes": png(seed), "path": None} for seed in range(count)],
            "label": [seed % 3 for seed in range(count)],
        }
        datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / f"{split}.parquet"))
    dataset = list_records(config_of(tmp_path), 0)
    assert dataset.class_names == tuple(names)
    assert [r.class_id for r in dataset.of("train")] == [0, 1, 2, 0, 1, 2]
    assert np.array_equal(read_image(dataset.of("test")[2].address, 10), image(2))


def test_a_missing_split_is_listed_as_missing(texts: Path):
    (texts / "valid.parquet").unlink()
    dataset = list_records(config_of(texts), 0)
    assert dataset.missing == ("validation",)
    assert len(dataset.records) == 10


def test_a_missing_column_is_named(texts: Path):
    pq.write_table(pa.table({"label": ["rose"]}), texts / "valid.parquet")
    with pytest.raises(ValueError, match=r"valid\.parquet has no column 'image'"):
        list_records(config_of(texts), 0)


def test_a_number_without_a_name_is_refused(texts: Path):
    images = [{"bytes": png(0), "path": ""}]
    pq.write_table(pa.table({"image": images, "label": [3]}), texts / "valid.parquet")
    with pytest.raises(ValueError, match=r"valid\.parquet, row 0: label 3 has no class name"):
        list_records(config_of(texts), 0)


def test_a_damaged_file_is_named(texts: Path):
    (texts / "valid.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match=r"valid\.parquet cannot be read as Parquet"):
        list_records(config_of(texts), 0)


def test_a_row_without_a_image_is_named(texts: Path):
    write_plain(texts, "valid.parquet", [1, 2], ["rose", "azalea"])
    images = [{"bytes": None, "path": "x"}, {"bytes": png(1), "path": "y"}]
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(
        pa.table({"image": pa.array(images, image_type), "label": ["rose", "azalea"]}), texts / "valid.parquet"
    )
    record = list_records(config_of(texts), 0).of("validation")[0]
    with pytest.raises(ValueError, match=r"valid\.parquet#0 holds no bytes"):
        read_image(record.address, 10)
