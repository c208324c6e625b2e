"""A published sweep computed again from its predictions, and one number that was changed by hand."""

import json
from pathlib import Path

import pytest

from flowerti.artifacts import layout
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.report.recompute import main, read_summary

RESULTS = Path(__file__).parents[2] / "results"
PUBLISHED = sorted(path.parents[1].name for path in RESULTS.glob("*/sweep/predictions.parquet"))


def test_the_demo_is_published():
    assert "demo" in PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_number_is_found_again(name: str, capsys: pytest.CaptureFixture[str]):
    assert main([str(RESULTS / name)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["different"] == []
    assert min(len(found[key]) for key in ("sweep", "sweep_classes", "contrasts")) > 0


def test_a_changed_number_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    summary = json.loads((RESULTS / "demo/summary.json").read_text(encoding="utf-8"))
    summary["sweep"][3]["weak_gain_low"] += 0.001
    (tmp_path / "sweep").mkdir()
    (tmp_path / layout.SUMMARY).write_text(json.dumps(summary), encoding="utf-8")
    (tmp_path / layout.SWEEP_PREDICTIONS).write_bytes((RESULTS / "demo" / layout.SWEEP_PREDICTIONS).read_bytes())
    assert main([str(tmp_path)]) == 1
    (told,) = json.loads(capsys.readouterr().out)["different"]
    assert told.startswith("sweep[3].weak_gain_low: ")


def test_a_folder_without_a_run_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(ValueError, match=r"summary\.json is missing"):
        read_summary(RunDirectory(str(tmp_path)))
