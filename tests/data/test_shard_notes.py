"""What notes say of shards is what the shards say, and a shard that is noted is not opened again."""

from pathlib import Path

import numpy as np
import pytest
from test_shards import row

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.data import shard_notes
from flowerti.data.shard_notes import ShardNotes
from flowerti.data.shards import read_weights, shard_keys, write_shard

FILES = ["synthetic/rose.token.000000.parquet", "synthetic/rose.token.000002.parquet"]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(str(tmp_path / "run"))
    write_shard(run, FILES[0], [row(0), row(1)], "k0")
    write_shard(run, FILES[1], [row(2, weight=0.5)], "k2")
    return run


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Shards that are opened, as they come."""
    names: list[str] = []

    def of_keys(run: RunDirectory, files: list[str]) -> dict[str, str]:
        found = shard_keys(run, files)
        names.extend(found)
        return found

    def of_weights(run: RunDirectory, files: list[str]) -> np.ndarray:
        names.extend(files)
        return read_weights(run, files)

    monkeypatch.setattr(shard_notes, "shard_keys", of_keys)
    monkeypatch.setattr(shard_notes, "read_weights", of_weights)
    return names


@pytest.fixture
def as_in_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is taken for an object store."""
    monkeypatch.setattr(shard_notes, "stamps_suffice", lambda run: True)


@pytest.mark.usefixtures("as_in_a_store")
def test_each_shard_is_opened_once_for_its_key_and_once_for_its_weights(run: RunDirectory, opened: list[str]):
    missing = "synthetic/lily.token.000000.parquet"
    for _ in range(2):
        notes = ShardNotes(run)
        assert notes.keys([*FILES, missing]) == dict(zip([*FILES, missing], ["k0", "k2", None], strict=True))
        (weights,) = notes.weights([(FILES, 3)])
        assert weights.tolist() == [1.0, 1.0, 0.5] and weights.dtype == np.float64
    assert sorted(opened) == sorted(FILES * 2)


def test_on_a_disk_each_shard_is_checked_at_each_start(run: RunDirectory, opened: list[str]):
    for _ in range(2):
        assert ShardNotes(run).keys(FILES) == dict(zip(FILES, ["k0", "k2"], strict=True))
    assert opened == FILES * 2


@pytest.mark.usefixtures("as_in_a_store")
def test_a_shard_that_was_just_drawn_is_not_opened(run: RunDirectory, opened: list[str]):
    notes = ShardNotes(run)
    write_shard(run, "synthetic/lily.token.000000.parquet", [row(0)], "k")
    notes.drawn({"synthetic/lily.token.000000.parquet": "k"})
    again = ShardNotes(run)
    assert again.keys(["synthetic/lily.token.000000.parquet"]) == {"synthetic/lily.token.000000.parquet": "k"}
    assert again.weights([(["synthetic/lily.token.000000.parquet"], 1)])[0].tolist() == [1.0]
    assert not opened


@pytest.mark.usefixtures("as_in_a_store")
def test_a_shard_that_was_changed_is_opened_again(run: RunDirectory, opened: list[str]):
    ShardNotes(run).keys(FILES)
    ShardNotes(run).weights([(FILES, 3)])
    opened.clear()
    write_shard(run, FILES[0], [row(0, weight=0.25), row(1)], "other")
    assert ShardNotes(run).keys(FILES) == {FILES[0]: "other", FILES[1]: "k2"}
    assert ShardNotes(run).weights([(FILES, 3)])[0].tolist() == [0.25, 1.0, 0.5]
    assert opened == [FILES[0]] * 2


def test_a_damaged_shard_is_told_and_is_none(run: RunDirectory, caplog: pytest.LogCaptureFixture):
    run.write_bytes(FILES[0], b"no parquet")
    assert ShardNotes(run).keys(FILES) == {FILES[0]: None, FILES[1]: "k2"}
    assert "rose.token.000000.parquet is damaged" in caplog.text


def test_a_missing_shard_is_named(run: RunDirectory):
    run.delete(FILES[0])
    with pytest.raises(FileNotFoundError, match=r"rose\.token\.000000\.parquet"):
        ShardNotes(run).weights([(FILES, 3)])
