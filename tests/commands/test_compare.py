"""`flowerti compare`: its tables and its JSON hold what `reading.comparison` found, and its exit codes are as told."""

import json
import shutil
from pathlib import Path

import pytest

from flowerti import cli

RESULTS = Path(__file__).parents[2] / "results"


def compared(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    assert cli.main(["compare", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_run_beside_its_copy(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    shutil.copytree(RESULTS / "demo", tmp_path / "copy")
    lines = compared(capsys, RESULTS / "demo", tmp_path / "copy")
    assert lines[:2] == [f"A: {RESULTS / 'demo'}", f"B: {tmp_path / 'copy'}"]
    assert "data: no difference" in lines and "settings: no difference" in lines
    summary = json.loads((RESULTS / "demo/summary.json").read_text(encoding="utf-8"))
    (real,) = [row for row in summary["sweep"] if (row["split"], row["arm"]) == ("test", "real")]
    told = f"{real['weak_f1']:.3f} ({real['weak_f1_low']:.3f} to {real['weak_f1_high']:.3f})"
    assert next(line for line in lines if line.startswith("real  ")).split(None, 1)[1] == f"{told}  {told}"
    assert lines[-2] == f"A recommends use_control: {summary['recommendation']}"
    assert [line for line in lines if "each of its own run" in line]
    assert "GPU time" not in [line.split("  ")[0] for line in lines], "no GPU was held"


@pytest.fixture
def other_data(tmp_path: Path) -> Path:
    """The demo with other images."""
    shutil.copytree(RESULTS / "demo", tmp_path / "other")
    file = tmp_path / "other/summary.json"
    summary = json.loads(file.read_text(encoding="utf-8"))
    summary["data_fingerprint"] = "a" * 64
    summary["num_pictures"]["train"] = 4711
    file.write_text(json.dumps(summary), encoding="utf-8")
    return tmp_path / "other"


def test_other_data_are_refused_in_one_line(capsys: pytest.CaptureFixture[str], other_data: Path):
    assert cli.main(["compare", str(RESULTS / "demo"), str(other_data)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "--any-data" in err
    lines = compared(capsys, RESULTS / "demo", other_data, "--any-data")
    assert lines[2] == "the data differ: F1 of A and of B are of different tests, and say nothing about each other"
    assert [line.split()[-1] for line in lines if line.startswith("train images")] == ["4711"]


def test_json_holds_the_same(capsys: pytest.CaptureFixture[str], other_data: Path):
    lines = compared(capsys, RESULTS / "demo", other_data, "--any-data", "--json")
    found = json.loads("\n".join(lines))
    assert found["same_data"] is False
    assert {one["name"]: one["second"] for one in found["data"]} == {"fingerprint": "a" * 64, "train images": 4711}
    assert found["arms"][0]["arm"] == "real" and found["arms"][0]["second"] == found["arms"][0]["first"]
    assert found["costs"][-1]["stage"] == "all"


def test_a_folder_without_a_run_is_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert cli.main(["compare", str(RESULTS / "demo"), str(tmp_path)]) == 2
    assert "no run was started" in capsys.readouterr().err
