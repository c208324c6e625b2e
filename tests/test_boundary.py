"""What a person can do wrong at the command line: one line on stderr, the code, no traceback, no secret.

The input is wrong in the way of files, bytes, JSON, Parquet and addresses; options have their own table.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flowerti import cli
from flowerti.boundary import guarded
from flowerti.config.experiment import to_json
from flowerti.config.presets import demo

ROOT = Path(__file__).parents[1]
SECRET = "wJalrXUtnFEMI/K7MDENGbPxRfiCYEXAMPLEKEY"


def said(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """The line of a refused command, without its line break."""
    assert cli.main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"flowerti: [^\n]+\n", err) and len(err) <= 301
    assert "Traceback" not in err
    return err.rstrip("\n")


CONFIGS: dict[str, bytes] = {
    "empty": b"",
    "half": b'{"name": "x"',
    "no UTF-8": b'{"name": "\xff"}',
    "deep": b"[" * 100_000,
    "a list": b"[1]",
    "a text": b'"x"',
    "null": b"null",
    "unknown field": b'{"name": "x", "colour": 1}',
    "techniques are a text": b'{"name": "x", "techniques": "lora"}',
    "techniques are a list": b'{"name": "x", "techniques": [1]}',
    "an unknown technique": b'{"name": "x", "techniques": {"magic": {}}}',
    "a technique is a text": b'{"name": "x", "techniques": {"lora": "x"}}',
    "a stage is a text": b'{"name": "x", "data": "x"}',
    "a stage is null": b'{"name": "x", "sweep": null}',
    "half a sign": b'{"name": "\\ud800"}',
    "plugins are a number": b'{"name": "x", "plugins": 3}',
    "a plugin that is missing": b'{"name": "x", "plugins": ["no_module:x"]}',
    "huge number": b'{"name": "x", "seed": 1' + b"0" * 5000 + b"}",
    "not a number": b'{"name": "x", "seed": NaN}',
}


@pytest.mark.parametrize("kind", list(CONFIGS))
@pytest.mark.parametrize("place", ["--config", "run directory", "status"])
def test_a_config_that_is_none_is_named(kind: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "config.json"
    file.write_bytes(CONFIGS[kind])
    arguments = {
        "--config": ["run", "--config", str(file)],
        "run directory": ["run", "--run-dir", str(tmp_path)],
        "status": ["status", str(tmp_path)],
    }
    line = said(arguments[place], capsys)
    # a number out of range names its field
    assert str(file) in line or "seed" in line or "name" in line
    assert sorted(os.listdir(tmp_path)) == ["config.json"]


@pytest.mark.parametrize("kind", ["missing", "a folder", "a long name", "below a file", "a circle", "no UTF-8"])
@pytest.mark.parametrize("option", ["--config", "--run-dir", "status", "report"])
def test_a_path_that_cannot_be_used_is_named(
    kind: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").write_text("x")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    path = {
        "missing": tmp_path / "missing",
        "a folder": tmp_path,
        "a long name": tmp_path / ("x" * 300),
        "below a file": tmp_path / "file" / "below",
        "a circle": tmp_path / "circle",
        "no UTF-8": tmp_path / "\udcff",
    }[kind]
    if option == "--run-dir" and kind in ("missing", "a folder"):
        return  # it is made
    arguments = ["run", option, str(path)] if option.startswith("--") else [option, str(path)]
    if option == "--run-dir":
        arguments += ["--until", "classify", "--preset", "demo"]
    line = said(arguments, capsys)
    assert {"a long name": "xxx", "no UTF-8": "udcff"}.get(kind, path.name) in line


@pytest.mark.parametrize("name", ["config.json", "result.json", "summary.json", "report.html"])
def test_a_folder_in_a_files_place_is_refused_before_anything_is_done(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / name).mkdir()
    line = said(["run", "--preset", "demo", "--run-dir", str(tmp_path)], capsys)
    assert f"{tmp_path / name} is a folder" in line
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["concepts", "sweep", "lock", "features"])
def test_a_file_in_a_folders_place_is_refused_before_anything_is_done(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / name).write_text("x")
    line = said(["run", "--preset", "demo", "--run-dir", str(tmp_path)], capsys)
    assert f"{tmp_path / name} is a file" in line
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b"null", b'{"a": 1}'])
def test_a_damaged_result_is_named_by_status(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "config.json").write_text(to_json(demo()))
    (tmp_path / "result.json").write_bytes(content)
    if content != b'{"a": 1}':  # which says nothing that could be wrong
        assert "result.json" in said(["status", str(tmp_path)], capsys)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b"null", b'{"a": 1}'])
def test_a_damaged_artifact_is_told_by_status_and_counts_as_missing(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    (tmp_path / "config.json").write_text(to_json(demo()))
    (tmp_path / "selection.json").write_bytes(content)
    assert cli.main(["status", str(tmp_path)]) == 0
    assert "selection.json is damaged" in caplog.text
    assert re.search(r"waiting +select", capsys.readouterr().out)


def _images(root: Path, class_names: list[str]) -> None:
    for split in ("train", "validation", "test"):
        for class_name in class_names:
            folder = root / split / class_name
            folder.mkdir(parents=True)
            (folder / "1.png").write_bytes(b"x")


def _odd_class(root: Path) -> None:
    _images(root, ["azalea", "ros\udce9"])


def _odd_file(root: Path) -> None:
    _images(root, ["azalea", "rose"])
    (root / "test" / "rose" / "\udcff.png").write_bytes(b"x")


def _bad_parquet(root: Path) -> None:
    for split in ("train", "validation", "test"):
        (root / f"{split}.parquet").write_bytes(b"PAR1 and then nothing PAR1")


def _cut_parquet(root: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for split in ("train", "validation", "test"):
        rows = [{"image": {"bytes": b"x", "path": ""}, "label": name} for name in ("azalea", "rose")]
        pq.write_table(pa.Table.from_pylist(rows), root / f"{split}.parquet")
        content = (root / f"{split}.parquet").read_bytes()
        footer = 8 + int.from_bytes(content[-8:-4], "little")
        # what the footer says is in order, and nothing that it leads to is
        (root / f"{split}.parquet").write_bytes(b"\xff" * (len(content) - footer) + content[-footer:])


DATA: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "class folder": ("image_folder", _odd_class, "udce9"),
    "image file": ("image_folder", _odd_file, "udcff"),
    "no Parquet": ("parquet", _bad_parquet, "train.parquet"),
    "damaged Parquet": ("parquet", _cut_parquet, "train.parquet"),
    "empty folder": ("image_folder", lambda root: None, "holds no images"),
    "no files": ("parquet", lambda root: None, "no Parquet file"),
}


@pytest.mark.parametrize("kind", list(DATA))
def test_data_that_cannot_be_used_is_named(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source, make, named = DATA[kind]
    root = tmp_path / "images"
    root.mkdir()
    make(root)
    asked = [
        "run",
        "--preset",
        "demo",
        "--run-dir",
        str(tmp_path / "run"),
        "--data.kind",
        source,
        "--data.root",
        str(root),
    ]
    assert named in said(asked, capsys)
    assert not (tmp_path / "run").exists(), "a refused run leaves nothing"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("name", ["model_index.json", "vae/config.json"])
def test_a_base_with_a_damaged_file_is_named(
    name: str, content: bytes, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    (base / name).write_bytes(content)
    line = said(["run", "--preset", "demo", "--run-dir", str(tmp_path / "run"), "--base.path", str(base)], capsys)
    assert str(base / name) in line


@pytest.mark.parametrize(
    "address",
    [
        f"s3://AKIAIOSFODNN7:{SECRET}@bucket/run",
        f"s3://AKIAIOSFODNN7:{SECRET.replace('/', '')}@bucket/run",
        f"gs://{SECRET.replace('/', '')}@bucket/run",
        f"s3://bucket/run?secret_key={SECRET}",
        f"nope://user:{SECRET}@host/run",
        f"hdfs://user:{SECRET}@",
    ],
)
@pytest.mark.parametrize("command", ["run", "status", "report", "debug"])
def test_a_secret_in_an_address_is_not_printed(
    address: str, command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    arguments = {"run": ["run", "--run-dir", address], "debug": ["run", "--debug", "--run-dir", address]}
    assert cli.main(arguments.get(command, [command, address])) in (2, 3)
    told = "".join(capsys.readouterr())
    assert told and SECRET not in told and SECRET.replace("/", "") not in told
    assert SECRET[-10:] not in told and SECRET[:10] not in told
    assert list(tmp_path.iterdir()) == []


def test_a_secret_in_a_setting_is_refused_before_it_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    asked = [
        "run",
        "--preset",
        "demo",
        "--run-dir",
        str(tmp_path / "run"),
        "--cluster.address",
        f"ray://user:{SECRET}@host:10001",
    ]
    line = said(asked, capsys)
    assert "cluster.address" in line and "environment" in line and SECRET not in line
    assert list(tmp_path.iterdir()) == []


def test_a_refused_run_leaves_what_the_last_one_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "result.json").write_text('{"state": "done", "stage": "report", "reason": ""}')
    said(["run", "--preset", "demo", "--run-dir", str(tmp_path), "--base.path", str(tmp_path / "none")], capsys)
    assert json.loads((tmp_path / "result.json").read_text())["state"] == "done"
    assert os.listdir(tmp_path) == ["result.json"]


def processed(arguments: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flowerti", *arguments]
    return subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False, **options)  # pyright: ignore


def test_output_that_cannot_be_written_is_one_line():
    with open("/dev/full", "w") as full:
        found = processed(["presets"], stdout=full)
    assert (found.returncode, found.stderr.count("\n")) == (3, 1)
    assert "output" in found.stderr and "no space" in found.stderr


def test_a_reader_that_has_ended_is_one_line():
    read_end, write_end = os.pipe()
    os.close(read_end)
    found = processed(["presets"], stdout=write_end)
    os.close(write_end)
    assert (found.returncode, found.stderr.count("\n")) == (3, 1)


@pytest.mark.parametrize(
    ("script", "options", "word"),
    [
        ("pipeline.py", ["--preset", "demo", "--nope", "3"], "--nope"),
        ("pipeline.py", [], "--preset demo"),
        ("pipeline.py", ["--config", "missing.json"], "missing.json"),
        ("classify.py", ["\udcff"], "udcff"),
        ("sweep.py", ["--run-dir", "s3://key:secret@bucket/x"], "***@bucket"),
        ("pretrain.py", ["--output-dir", "never-made", "--nope", "3"], "--nope"),
        ("pretrain.py", ["\udcff"], "udcff"),
    ],
)
def test_entry_points_of_jobs_refuse_in_one_line(script: str, options: list[str], word: str):
    command = [sys.executable, f"ray_jobs/{script}", *options]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (2, "")
    assert re.fullmatch(r"(flowerti|pretrain): [^\n]{1,290}\n", found.stderr)
    assert word in found.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["plan", "--help"]])
def test_help_tells_the_exit_codes(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert not caught.value.code
    told = " ".join(capsys.readouterr().out.split())
    for code in ("0 done", "2 bad input", "3 failed", "130", "143", "--debug"):
        assert code in told


def test_debug_is_taken_wherever_it_stands_and_shows_the_traceback(capsys: pytest.CaptureFixture[str]):
    for arguments in (
        ["--debug", "status", "no-run"],
        ["status", "--debug", "no-run"],
        ["status", "no-run", "--debug"],
    ):
        assert cli.main(arguments) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[0].startswith("Traceback") and lines[-1].startswith("flowerti: no-run/config.json is missing")


def test_a_code_of_the_command_comes_back(capsys: pytest.CaptureFixture[str]):
    assert guarded("x", lambda given: len(given), ["a", "--debug", "b"]) == 2
    assert capsys.readouterr() == ("", "")
