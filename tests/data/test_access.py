"""Addresses: each is read by the data source of its prefix, as a file, or from the run directory."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.data_sources import DATA_SOURCES, DataSource
from flowerti.data.access import read_image, read_images, reader_of
from flowerti.data.dataset import Dataset
from flowerti.data.shards import addresses_of, write_shard
from flowerti.data.sources.files import FILES
from flowerti.data.sources.implementation import ImageReader, Implementation, implementation_of


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def _nothing(_config: object, _seed: int) -> Dataset:
    return Dataset((), ())


GREY = Implementation(
    list_records=_nothing,
    images=ImageReader(
        identify=lambda address: address.encode(),
        stamp_of=len,
        draw=lambda address, size_px: np.full((size_px, size_px, 3), int(address.split(":")[1]), np.uint8),
    ),
)
NO_IMPLEMENTATION = 3


@pytest.fixture
def grey(monkeypatch: pytest.MonkeyPatch) -> DataSource:
    """A row for the test alone."""
    monkeypatch.setattr(DATA_SOURCES, "_rows", dict(DATA_SOURCES._rows))
    row = DataSource(
        name="grey", label="flat", prefix="grey:", needs_root=False, is_drawn=True, implementation=f"{__name__}:GREY"
    )
    return DATA_SOURCES.add(row)


@pytest.mark.usefixtures("grey")
def test_an_address_is_read_by_whom_its_prefix_names(tmp_path: Path):
    file = tmp_path / "a.png"
    file.write_bytes(png(noise(1)))
    run = RunDirectory(str(tmp_path / "run"))
    write_shard(run, "synthetic/a.parquet", [{"image": {"bytes": png(noise(i)), "path": "x"}} for i in (2, 3)], "key")
    addresses = [str(file), "grey:9", *addresses_of(["synthetic/a.parquet"], 2)]
    found = read_images(addresses, 12, run)
    assert np.array_equal(found, np.stack([noise(1), np.full((12, 12, 3), 9), noise(2), noise(3)]))
    assert np.array_equal(read_images(addresses[:2], 12), found[:2])


def test_a_synthetic_image_needs_the_run_directory():
    with pytest.raises(ValueError, match=r"^image synthetic:a\.parquet#0 lies in a run directory"):
        read_image("synthetic:a.parquet#0", 12)


def test_a_path_is_read_as_a_file_whoever_listed_it(tmp_path: Path):
    file = tmp_path / "grey:9"
    file.write_bytes(b"content")
    reader = reader_of(str(file))
    assert reader is FILES
    assert reader.identify(str(file)) == b"content"
    stamp = reader.stamp_of(str(file))
    assert str(stamp).startswith("7 ")
    file.write_bytes(b"changed")
    assert reader.stamp_of(str(file)) != stamp
    assert reader.stamp_of(str(tmp_path / "none")) == ""
    with pytest.raises(ValueError, match="none cannot be read"):
        reader.identify(str(tmp_path / "none"))


def test_an_address_that_two_data_sources_claim_is_refused(grey: DataSource):
    DATA_SOURCES.add(dataclasses.replace(grey, name="light grey", prefix="grey:2:"))
    assert read_image("grey:1", 8).max() == 1
    with pytest.raises(ValueError, match="image grey:2:1 is claimed by the data sources grey and light grey"):
        read_image("grey:2:1", 8)


@pytest.mark.parametrize("prefix", [":", "grey", "gr ey", "a:"])
def test_a_prefix_that_could_be_a_path_is_refused(prefix: str):
    with pytest.raises(ValueError, match=r"^data source 'grey': prefix must be empty or a word and a colon"):
        DataSource(name="grey", label="flat", prefix=prefix, implementation="x:Y")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"implementation": "no.such.module:GREY"}, "cannot be imported"),
        ({"implementation": f"{__name__}:NONE"}, "cannot be imported"),
        ({"implementation": ""}, "cannot be imported"),
        ({"implementation": f"{__name__}:NO_IMPLEMENTATION"}, "must be an Implementation, not 3"),
        ({"is_drawn": False}, "is_drawn must say whether its images have a `draw`"),
    ],
)
def test_a_row_whose_code_does_not_fit_is_refused_by_name(grey: DataSource, changes: dict[str, object], problem: str):
    with pytest.raises(ValueError, match=r"^data source 'grey': ") as caught:
        implementation_of(dataclasses.replace(grey, **changes))
    assert problem in str(caught.value)


@pytest.mark.parametrize("row", list(DATA_SOURCES), ids=lambda row: row.name)
def test_the_code_of_every_row_is_there(row: DataSource):
    assert implementation_of(row).images.stamp_of is not None
    assert reader_of(f"{row.prefix}x") is implementation_of(row).images
