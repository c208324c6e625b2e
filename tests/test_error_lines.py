"""Each kind of error is one line with the file and what to do, without secrets; tried with real files and libraries."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.error_lines import error_line, shortened

Cause = Callable[[Path], object]


def _circle(folder: Path) -> str:
    (folder / "link").symlink_to(folder / "link")
    return (folder / "link").read_text()


def _file_as_folder(folder: Path) -> None:
    (folder / "file").write_text("")
    (folder / "file" / "x").write_text("")


def _write_to_full_disk(_folder: Path) -> None:
    with open("/dev/full", "w") as file:
        file.write("x" * 100_000)


def _pyarrow_on_full_disk(_folder: Path) -> None:
    with fs.LocalFileSystem().open_output_stream("/dev/full") as stream:
        stream.write(b"x" * 100_000)


def _pyarrow_missing(folder: Path) -> None:
    fs.LocalFileSystem().open_input_file(str(folder / "missing"))


def _run_over_folder(folder: Path) -> None:
    (folder / "config.json").mkdir()
    RunDirectory(str(folder)).write_bytes("config.json", b"")


def _parquet(folder: Path) -> None:
    (folder / "a.parquet").write_bytes(b"PAR1 and then nothing")
    pq.read_table(folder / "a.parquet")


def _deep_json(_folder: Path) -> None:
    json.loads("[" * 200_000)


def _no_memory(_folder: Path) -> None:
    raise MemoryError


KINDS: dict[str, tuple[Cause, int, tuple[str, ...]]] = {
    "missing": (lambda folder: (folder / "missing").read_text(), 2, ("missing", "check the path")),
    "missing, by pyarrow": (_pyarrow_missing, 2, ("missing", "check the path")),
    "folder for a file": (lambda folder: folder.read_text(), 2, ("folder where a file",)),
    "folder for a file of a run": (_run_over_folder, 2, ("config.json", "folder where a file")),
    "file for a folder": (_file_as_folder, 2, ("file/x", "remove or rename")),
    "long name": (lambda folder: (folder / ("x" * 300)).write_text(""), 2, ("shorter",)),
    "circle": (_circle, 2, ("link", "circle")),
    "exists": (lambda folder: folder.mkdir(), 2, ("exists already",)),
    "full disk": (_write_to_full_disk, 3, ("no space is left", "free some")),
    "full disk, by pyarrow": (_pyarrow_on_full_disk, 3, ("no space is left", "free some")),
    "Parquet": (_parquet, 2, ("Parquet",)),
    "deep JSON": (_deep_json, 2, ("nested too deeply",)),
    "no UTF-8": (lambda _folder: "a \udcff b".encode(), 2, ("udcff", "UTF-8", "rename")),
    "memory": (_no_memory, 3, ("memory",)),
    "a mistake": (lambda _folder: {}["x"], 3, ("KeyError", "--debug")),
    "a package": (lambda _folder: __import__("no_such_package"), 3, ("no_such_package", "install")),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_each_kind_is_one_line(kind: str, tmp_path: Path):
    cause, exit_code, words = KINDS[kind]
    with pytest.raises((Exception, MemoryError)) as caught:
        cause(tmp_path)
    line = error_line(caught.value)
    assert line.exit_code == exit_code
    assert 10 < len(line.text) <= 300
    assert line.text.isprintable() and "Traceback" not in line.text and "Detail" not in line.text
    for word in words:
        assert word in line.text
    assert line.is_expected == (kind != "a mistake")


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EDQUOT, errno.EFBIG]
)
def test_what_cannot_be_brought_about_here_names_its_file_as_well(number: int):
    line = error_line(OSError(number, os.strerror(number), "/some/file"))
    assert line.text.startswith("/some/file: ")
    assert len(line.text) > 35
    assert line.exit_code == (2 if number in (errno.EACCES, errno.EPERM, errno.EROFS) else 3)


def test_an_error_of_the_system_without_advice_keeps_its_words():
    line = error_line(OSError("Received invalid number of bytes (corrupt data page?)"))
    assert (line.text, line.exit_code) == ("Received invalid number of bytes (corrupt data page?)", 3)


def test_several_lines_and_signs_of_a_terminal_become_one_plain_line():
    line = error_line(ValueError("a.json:\n  line 1\r\n\tline 2 \x1b[31mred\x1b[0m \u202e\udcff"))
    assert line.text == "a.json: line 1 line 2 [31mred [0m"


def test_a_long_text_keeps_its_beginning_and_its_end():
    text = error_line(ValueError("data.root: " + "x " * 500 + "choose another")).text
    assert len(text) <= 300
    assert text.startswith("data.root: x x") and text.endswith("x choose another")
    assert shortened("short", 300) == "short"


def test_notes_are_told_and_secrets_are_not():
    error = ValueError("s3://key:se/cret@bucket cannot be opened")
    error.add_note("in stage sample")
    assert error_line(error).text == "s3://***@bucket cannot be opened (in stage sample)"


def test_an_error_of_a_ray_worker_is_told_without_the_workers_traceback():
    exceptions = pytest.importorskip("ray.exceptions")
    cause = ValueError("shard x.parquet is damaged: delete it")
    error = exceptions.RayTaskError("draw", "Traceback (most recent call last):\n  File ...\nValueError: x", cause)
    for one in (error, error.as_instanceof_cause()):
        line = error_line(one)
        assert (line.text, line.exit_code) == ("shard x.parquet is damaged: delete it", 2)


def test_pyarrow_without_a_number_is_no_ones_fault_but_the_files():
    assert error_line(pa.ArrowInvalid("Parquet magic bytes not found")).exit_code == 2
