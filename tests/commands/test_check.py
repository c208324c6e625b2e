"""`flowerti check`: all problems at once, as lines and as JSON, without Ray and without torch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from drawn_folders import draw_classes

from flowerti import cli


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw_classes(tmp_path / "images", {"rose": 20, "lily": 16, "rare": 3})


def test_a_good_folder_has_no_problems_and_a_plan(folder: Path, tiny_base: Path, capsys, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", str(folder), "--base", str(tiny_base)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "39 images of 3 classes, shorter sides 40 to 40 px (half of them 40 or less)"
    assert ["rose", "20", "0", "0"] in [line.split() for line in lines]
    assert "chosen: --data.image-size-px 32 (the base draws at 32 px)" in lines
    assert "it learns tokens 8 times with 400 steps each" in lines
    # 2 classes; raw once and token four times, other names are for who has some: 6 sets of 44 images
    assert "it draws 528 images of 32 px: raw, alternative_name, token" in lines
    assert lines[-1] == "no problems"
    assert not (tmp_path / "runs").exists()


def test_all_problems_are_told_at_once(folder: Path, tmp_path: Path, capsys):
    (folder / "rose" / "broken.png").write_bytes(b"no image")
    arguments = [
        "check",
        "--preset",
        "demo",
        "--base",
        str(tmp_path / "no-base"),
        "--run-dir",
        str(folder / "rose" / "0.png"),
    ]
    arguments += ["--data.kind", "image_folder", "--data.root", str(folder), "--classifier.backbone", "nonet"]
    assert cli.main([*arguments, "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["census"]["unreadable"] == ["rose/broken.png"]
    for words in ("1 image(s) cannot be read", "no-base", "is not a writable folder", "'nonet'", "cannot all be weak"):
        assert len([line for line in found["problems"] if words in line]) == 1, words
    assert cli.main(arguments) == 2
    assert capsys.readouterr().out.count("problem: ") == len(found["problems"])


def test_what_a_run_would_stumble_on_late_is_told_early(folder: Path, tiny_base: Path, capsys):
    asked = ["check", str(folder), "--base", str(tiny_base), "--sampling.num-per-class", "10"]
    assert cli.main(asked) == 0, "at fixed mass no ratio is asked for"
    capsys.readouterr()
    asked += ["--sweep.mixing", "added"]
    assert cli.main(asked) == 2
    out = capsys.readouterr().out
    assert "problem: sampling.num_per_class: 10 images are too few for ratio 4 of class 'rose' with 11" in out


def test_a_folder_and_a_base_are_both_told(tmp_path: Path, capsys):
    assert cli.main(["check", str(tmp_path / "none"), "--base", str(tmp_path / "neither")]) == 2
    out = capsys.readouterr().out
    assert "none is missing" in out and "neither is not a folder" in out


def test_without_a_base_the_images_alone_are_looked_at(folder: Path, capsys):
    shutil.copy(folder / "rose" / "0.png", folder / "rose" / "copy.png")
    assert cli.main(["check", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "1 group of the same bytes (rose/0.png = rose/copy.png)" in out
    assert "chosen" not in out


def test_neither_ray_nor_torch_is_imported(folder: Path, tiny_base: Path):
    code = (
        "import sys\nfrom flowerti.cli import main\n"
        f"main(['check', {str(folder)!r}, '--json'])\n"
        "print([name for name in ('torch', 'ray', 'diffusers', 'transformers') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
