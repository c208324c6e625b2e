"""What is read of the runs beside a run: their logs, as far as they can be read, and nothing else."""

import json
from pathlib import Path

import pytest

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.siblings import sibling_records

FOLDER = "test_openings"


def write(folder: Path, *records: object) -> None:
    (folder / FOLDER).mkdir(parents=True)
    for i, record in enumerate(records):
        (folder / FOLDER / f"{i:04d}.json").write_text(json.dumps({"record": record}))


def test_records_of_all_runs_beside_it_are_found_and_its_own_are_not(tmp_path: Path):
    write(tmp_path / "own", {"key": "own"})
    write(tmp_path / "a", {"key": "1"}, {"key": "2"})
    write(tmp_path / "b c", {"key": "3"})
    write(tmp_path / "a" / "inner", {"key": "too deep"})
    for uri in (str(tmp_path / "own"), f"file://{tmp_path}/own", f"{tmp_path}/own/", f"{tmp_path}/a/../own"):
        found = sibling_records(RunDirectory(uri), FOLDER)
        assert found is not None
        assert sorted(record["key"] for record in found) == ["1", "2", "3"], uri


def test_what_cannot_be_read_says_nothing(tmp_path: Path):
    write(tmp_path / "a", {"key": "1"}, "no object", 3)
    (tmp_path / "a" / FOLDER / "cut.json").write_text('{"record": {"ke')
    (tmp_path / "a" / FOLDER / "bytes.json").write_bytes(b"\xff")
    (tmp_path / "a" / FOLDER / "list.json").write_text("[1]")
    (tmp_path / "a" / FOLDER / "folder.json").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / FOLDER).write_text("a file in place of the folder")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert sibling_records(RunDirectory(str(tmp_path / "own")), FOLDER) == [{"key": "1"}]


def test_nothing_but_the_log_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "a", {"key": "1"})
    (tmp_path / "a" / "summary.json").write_text("{}")
    opened: list[Path] = []
    read = Path.read_bytes

    def note(path: Path) -> bytes:
        opened.append(path)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", note)
    assert sibling_records(RunDirectory(str(tmp_path / "own")), FOLDER) == [{"key": "1"}]
    assert opened == [tmp_path / "a" / FOLDER / "0000.json"]


def test_siblings_of_a_missing_folder_or_on_an_object_store_are_unknown(tmp_path: Path):
    assert sibling_records(RunDirectory(str(tmp_path / "missing" / "own")), FOLDER) is None
    assert sibling_records(RunDirectory("s3://bucket/runs/own"), FOLDER) is None
