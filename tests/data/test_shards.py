"""Synthetic images on disk: what is read is what was written, by this project and by Hugging Face `datasets`."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flowerti.artifacts.identity import seed_for, slug
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.data.shards import (
    addresses_of,
    first_images,
    has_shard,
    read_labels,
    read_rows,
    read_synthetic,
    read_weights,
    shard_keys,
    synthetic_address,
    write_shard,
)

NAME = "synthetic/sword_lily-token-0.parquet"


def image(index: int, size_px: int = 16) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8)


def row(index: int, **more: Any) -> dict[str, Any]:
    stream = io.BytesIO()
    Image.fromarray(image(index)).save(stream, "PNG")
    return {
        "image": {"bytes": stream.getvalue(), "path": f"{index}.png"},
        "class_name": "sword lily",
        "source": "token",
        "learning": 1,
        "prompt": 'Photo of a "<sword_lily>"',
        "index": index,
        "seed": seed_for(0, "sword lily", "token", index),
        **more,
    }


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(str(tmp_path / "run"))


def test_images_and_columns_come_back(run: RunDirectory):
    write_shard(run, NAME, [row(i) for i in range(3)], "k")
    rows = read_rows(run, NAME)
    assert [r["index"] for r in rows] == [0, 1, 2]
    for i, found in enumerate(rows):
        assert {name: found[name] for name in row(i)} == row(i)
        assert [found[name] for name in ("source_image", "strength", "verdict")] == [None, None, None]
        assert found["weight"] == 1.0
        assert np.array_equal(read_synthetic(run, synthetic_address(NAME, i), 16), image(i))


def test_addresses_name_every_image_in_the_order_of_the_shards(run: RunDirectory):
    files = ["synthetic/rose.token.000000.parquet", "synthetic/rose.token.000002.parquet"]
    write_shard(run, files[0], [row(0), row(1)], "k")
    write_shard(run, files[1], [row(2)], "k")
    found = addresses_of(files, 3)
    assert found == [f"synthetic:{files[0]}#0", f"synthetic:{files[0]}#1", f"synthetic:{files[1]}#0"]
    assert [np.array_equal(read_synthetic(run, a, 16), image(i)) for i, a in enumerate(found)] == [True] * 3


def test_the_first_images_are_read_from_the_shards_that_hold_them(run: RunDirectory):
    files = [f"synthetic/rose.token.{begin:06d}.parquet" for begin in (0, 2, 4)]
    for begin, file in zip((0, 2, 4), files, strict=True):
        write_shard(run, file, [row(begin), row(begin + 1)], "k")
    expected = np.stack([image(i) for i in range(6)])
    assert np.array_equal(first_images(run, files, 9, 16), expected), "as many as there are"
    run.write_bytes(files[2], b"no parquet")
    assert np.array_equal(first_images(run, files, 3, 16), expected[:3])
    with pytest.raises(ValueError, match=r"rose\.token\.000004\.parquet is damaged"):
        first_images(run, files, 5, 16)


def test_columns_that_a_row_has_are_kept(run: RunDirectory):
    given = {"source_image": "train/1.png", "strength": 0.5, "verdict": "kept", "weight": 0.25}
    write_shard(run, NAME, [row(0, **given), row(1)], "k")
    rows = read_rows(run, NAME)
    assert {name: rows[0][name] for name in given} == given
    assert rows[1]["weight"] == 1.0


def test_weights_come_in_the_order_of_the_shards(run: RunDirectory):
    write_shard(run, "synthetic/a.parquet", [row(0, weight=0.5), row(1), row(2, weight=0.0)], "k")
    write_shard(run, "synthetic/b.parquet", [row(3, weight=None)], "k")
    assert read_weights(run, ["synthetic/b.parquet", "synthetic/a.parquet"]).tolist() == [1.0, 0.5, 1.0, 0.0]
    run.write_bytes("synthetic/a.parquet", b"no parquet")
    with pytest.raises(ValueError, match=r"synthetic/a\.parquet is damaged"):
        read_weights(run, ["synthetic/a.parquet"])


def test_labels_come_with_the_class_that_has_the_rest(run: RunDirectory):
    given = [{"label_share": 0.25, "source_class": "rose"}, {"source_class": "lily"}, {"label_share": 0.0}]
    write_shard(run, "synthetic/a.parquet", [row(0, **given[0]), row(1, **given[1])], "k")
    write_shard(run, "synthetic/b.parquet", [row(2, **given[0])], "k")
    share, classes = read_labels(run, ["synthetic/b.parquet", "synthetic/a.parquet"])
    assert share.tolist() == [0.25, 0.25, 1.0]
    assert classes == ["rose", "rose", "lily"]
    write_shard(run, "synthetic/c.parquet", [row(3, **given[2])], "k")
    with pytest.raises(ValueError, match=r"synthetic/c\.parquet: its images are drawn from no other class"):
        read_labels(run, ["synthetic/c.parquet"])


def test_the_largest_seed_fits(run: RunDirectory):
    write_shard(run, NAME, [row(0, seed=2**63 - 1)], "k")
    assert read_rows(run, NAME)[0]["seed"] == 2**63 - 1


def test_a_synthetic_image_is_scaled_as_asked(run: RunDirectory):
    write_shard(run, NAME, [row(0)], "k")
    found = read_synthetic(run, synthetic_address(NAME, 0), 8)
    expected = Image.fromarray(image(0)).resize((8, 8), Image.Resampling.BICUBIC)
    assert np.array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("class_name", ["a#1", "#", "../x", "a/b", "é 50%"])
def test_an_address_survives_odd_class_names(run: RunDirectory, class_name: str):
    name = f"synthetic/{slug(class_name)}/token-0.parquet"
    write_shard(run, name, [row(0, class_name=class_name), row(1, class_name=class_name)], "k")
    assert read_rows(run, name)[1]["class_name"] == class_name
    assert np.array_equal(read_synthetic(run, synthetic_address(name, 1), 16), image(1))


def test_a_shard_tells_its_key(run: RunDirectory):
    assert shard_keys(run, [NAME]) == {}
    assert not has_shard(run, NAME, "the key")
    write_shard(run, NAME, [row(0)], "the key")
    assert shard_keys(run, [NAME, "synthetic/none.parquet"]) == {NAME: "the key"}
    assert has_shard(run, NAME, "the key")
    assert not has_shard(run, NAME, "another key")


def test_a_parquet_file_of_someone_else_is_none_of_a_run_s_shards(run: RunDirectory):
    write_shard(run, NAME, [row(0)], "k")
    copied = io.BytesIO()
    pq.write_table(pq.read_table(run.path(NAME)), copied)  # with the key, and without the checksum
    run.write_bytes(NAME, copied.getvalue())
    assert shard_keys(run, [NAME]) == {}
    assert read_rows(run, NAME)[0]["index"] == 0, "it may be looked at, as one of an earlier version"


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_damaged_shard_is_told_and_not_there_for_a_run(
    run: RunDirectory, keep: int, caplog: pytest.LogCaptureFixture
):
    write_shard(run, NAME, [row(0)], "k")
    run.write_bytes(NAME, run.read_bytes(NAME)[:keep])
    assert shard_keys(run, [NAME]) == {}
    assert not has_shard(run, NAME, "k")
    (told,) = caplog.messages
    assert told.startswith(f"{NAME} is damaged (it is cut off"), "and told once"
    with pytest.raises(ValueError, match=r"is damaged.*delete it") as caught:
        read_rows(run, NAME)
    assert f"{run.uri}/{NAME}" in str(caught.value)


def test_a_shard_that_was_written_again_is_read_again(run: RunDirectory):
    for index in range(5):
        write_shard(run, NAME, [row(index)], "k")
        assert read_rows(run, NAME)[0]["index"] == index
        assert np.array_equal(read_synthetic(run, synthetic_address(NAME, 0), 16), image(index))


def test_the_same_rows_make_the_same_bytes(run: RunDirectory):
    written = []
    for _ in range(2):
        write_shard(run, NAME, [row(i) for i in range(3)], "k")
        written.append(run.read_bytes(NAME))
    assert written[0] == written[1]


def test_huggingface_opens_it_as_an_image_data_set(run: RunDirectory, tmp_path: Path):
    from datasets import Dataset
    from datasets import Image as ImageFeature

    write_shard(run, NAME, [row(i) for i in range(3)], "k")
    opened = Dataset.from_parquet(run.path(NAME), cache_dir=str(tmp_path / "cache"))
    assert isinstance(opened, Dataset)
    assert isinstance(opened.features["image"], ImageFeature)
    assert opened.features["seed"].dtype == "int64"
    assert opened["class_name"][:] == ["sword lily"] * 3
    for i, found in enumerate(opened):
        assert np.array_equal(np.asarray(found["image"]), image(i))  # pyright: ignore[reportArgumentType, reportCallIssue]
