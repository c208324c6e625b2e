"""The run directory: names stay inside, files come back, and artifacts are loaded by their key only."""

import dataclasses
import json
from pathlib import Path

import pytest
from local_files import local_files

from flowerti.artifacts.records import Census, ClassCount, Timing
from flowerti.artifacts.run_directory import RunDirectory

TIMING = Timing(stage="invert", seconds=1.5, gpu_seconds=0.0)


def test_what_was_written_is_read(run: RunDirectory, tmp_path: Path):
    content = bytes(range(256)) * 1000
    run.write_bytes("concepts/rose/learned_embeds.safetensors", content)
    run.write_bytes("empty", b"")
    assert run.read_bytes("concepts/rose/learned_embeds.safetensors") == content
    assert run.read_bytes("empty") == b""
    assert run.read_bytes("concepts/rose/learned_embeds.safetensors", 3) == content[:3]
    on_disk = next(tmp_path.rglob("learned_embeds.safetensors"))
    assert on_disk.read_bytes() == content
    assert len(local_files(tmp_path)) == 2, "no temporary file stays"


def test_names_are_sorted_and_below_the_folder(run: RunDirectory):
    for name in ("synthetic/b.parquet", "synthetic/a.parquet", "synthetic/rose/z", "scores/s.json", "config.json"):
        run.write_bytes(name, b"x")
    assert run.names("synthetic") == ["synthetic/a.parquet", "synthetic/b.parquet", "synthetic/rose/z"]
    assert run.names("") == sorted(["config.json", "scores/s.json", *run.names("synthetic")])
    assert run.names("nothing") == []
    assert run.names("nothing/below") == []


def test_exists_is_about_files(run: RunDirectory):
    assert not run.exists("a/x")
    run.write_bytes("a/x", b"")
    assert run.exists("a/x")
    assert not run.exists("a")
    assert not run.exists("a/y")


def test_delete_takes_a_file_and_minds_none_that_is_missing(run: RunDirectory):
    run.write_bytes("a/x", b"1")
    run.delete("a/x")
    run.delete("a/x")
    run.delete("nothing/at/all")
    assert not run.exists("a/x")


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../../x",
        "a/..",
        "..",
        "/etc/x",
        "//x",
        "a//x",
        "./x",
        "a/./x",
        ".",
        "a/\0x",
        "/",
        "a\nb",
        "\x1b[2J",
        "\x7f",
    ],
)
def test_no_name_leaves_the_folder(name: str, run: RunDirectory, tmp_path: Path):
    for action in (run.path, run.exists, run.names, run.read_bytes, run.delete):
        with pytest.raises(ValueError, match="not a name inside the run directory"):
            action(name)
    with pytest.raises(ValueError, match="not a name inside the run directory"):
        run.write_bytes(name, b"x")
    assert local_files(tmp_path) == []


@pytest.mark.parametrize("name", ["x" * 300, "a/" + "é" * 128, "\udcff" * 100])
def test_a_name_that_no_file_system_holds_is_refused(name: str, run: RunDirectory, tmp_path: Path):
    with pytest.raises(ValueError, match="longer than the 255 bytes"):
        run.write_bytes(name, b"x")
    assert local_files(tmp_path) == []


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "花/🌼", "..a", "a..", "\u202eabc", "a\\..\\b", "%2e%2e"])
def test_odd_names_stay_inside(name: str, run: RunDirectory, tmp_path: Path):
    run.write_bytes(name, b"x")
    assert run.names("") == [name]
    assert len(local_files(tmp_path)) == 1


@pytest.mark.parametrize("name", ["", "a/"])
def test_a_folder_is_no_file_to_write(name: str, run: RunDirectory, tmp_path: Path):
    with pytest.raises(ValueError, match="not the name of a file"):
        run.write_bytes(name, b"x")
    assert local_files(tmp_path) == []


def test_an_artifact_comes_back_under_its_key_only(run: RunDirectory):
    census = Census(
        fingerprint="f" * 64,
        counts=[ClassCount(class_name="é rose", num_train=1, num_validation=2, num_test=3)],
        train_sha256={"é rose": "d" * 64},
        unreadable=[],
        duplicates=[["a", "b"]],
    )
    assert run.load("data.json", Census, "k1") is None
    run.save("data.json", census, "k1")
    assert run.load("data.json", Census, "k1") == census
    assert run.load("data.json", Census) == census
    assert run.load("data.json", Census, "k2") is None
    written = json.loads(run.read_bytes("data.json"))
    assert written.pop("checksum").startswith("flowerti-sha256:")
    assert written == {"key": "k1", **dataclasses.asdict(census)}


def test_a_whole_number_in_a_file_is_read_as_a_float(run: RunDirectory):
    run.write_bytes("t.json", b'{"key": "k", "stage": "x", "seconds": 2, "gpu_seconds": 0}')
    timing = run.load("t.json", Timing)
    assert timing is not None
    assert isinstance(timing.seconds, float)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"key": "k"}',
        b'{"stage": "x", "seconds": 1.0, "gpu_seconds": 0.0}',
        b'{"key": "k", "stage": "x", "seconds": "abc", "gpu_seconds": 0.0}',
        b'{"key": "k", "stage": "x", "seconds": null, "gpu_seconds": 0.0}',
        b'{"key": "k", "stage": 3, "seconds": 1.0, "gpu_seconds": 0.0}',
        b'{"key": "k", "stage": "x", "seconds": 1.0, "gpu_seconds": 0.0, "more": 1}',
        b'{"key": "k", "stage": "x", "seconds": 1.0, "gpu_sec',
    ],
)
@pytest.mark.parametrize("key", ["k", None])
def test_a_damaged_artifact_is_told_in_one_line_and_never_taken(
    run: RunDirectory, content: bytes, key: str | None, caplog: pytest.LogCaptureFixture
):
    run.write_bytes("timings/invert.json", content)
    assert run.load("timings/invert.json", Timing, key) is None
    (told,) = caplog.messages
    assert told.startswith("timings/invert.json is damaged (")
    assert "\n" not in told and len(told) <= 300


def test_what_has_no_checksum_is_looked_at_and_not_built_upon(run: RunDirectory):
    run.write_bytes("t.json", b'{"key": "k", "stage": "invert", "seconds": 1.5, "gpu_seconds": 0.0}')
    assert run.load("t.json", Timing) == TIMING
    assert run.load("t.json", Timing, "k") is None


@pytest.mark.parametrize("key", ["k", None])
def test_an_artifact_under_another_name_or_with_another_number_is_damaged(run: RunDirectory, key: str | None):
    run.save("a.json", TIMING, "k")
    run.write_bytes("b.json", run.read_bytes("a.json"))
    assert run.load("b.json", Timing, key) is None
    run.write_bytes("a.json", run.read_bytes("a.json").replace(b"1.5", b"1.6"))
    assert run.load("a.json", Timing, key) is None


def test_numbers_that_json_cannot_hold_are_not_saved(run: RunDirectory):
    with pytest.raises(ValueError, match="JSON compliant"):
        run.save("t.json", dataclasses.replace(TIMING, seconds=float("nan")), "k")
    assert not run.exists("t.json")


def test_a_relative_path_follows_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        RunDirectory("run").write_bytes("x", name.encode())
    assert (tmp_path / "one/run/x").read_text() == "one"
    assert (tmp_path / "two/run/x").read_text() == "two"


def test_a_path_and_its_file_address_are_the_same_folder(tmp_path: Path):
    by_path, by_address = RunDirectory(str(tmp_path)), RunDirectory(f"file://{tmp_path}")
    by_path.save("t.json", TIMING, "k")
    assert by_address.load("t.json", Timing, "k") == TIMING
    assert by_path.is_local
    assert by_address.is_local


def test_an_object_store_takes_files_without_a_temporary_name():
    run = RunDirectory("mock:///bucket/run")
    assert not run.is_local
    run.filesystem.create_dir("bucket/run", recursive=True)  # pyarrow's stand-in asks for folders, a store does not
    run.save("t.json", TIMING, "k")
    assert run.load("t.json", Timing, "k") == TIMING
    assert run.names("") == ["t.json"]


@pytest.mark.parametrize("uri", ["nope://x/y", "file://host/x"])
def test_an_address_that_cannot_be_opened_is_named(uri: str):
    with pytest.raises(ValueError, match="cannot be opened") as caught:
        RunDirectory(uri).exists("x")
    assert uri in str(caught.value)


def test_a_run_directory_travels_to_a_worker(run: RunDirectory):
    import pickle

    run.write_bytes("x", b"1")
    copy = pickle.loads(pickle.dumps(run))
    assert copy == run
    assert copy.read_bytes("x") == b"1"
