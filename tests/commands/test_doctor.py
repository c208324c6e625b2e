"""`flowerti doctor` and `flowerti open`: what they print, and when they refuse."""

from importlib import metadata
from pathlib import Path

import pytest

from flowerti import cli
from flowerti.choosing.machine import Gpu, Machine


def test_the_doctor_tells_versions_and_what_there_is(capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    gpu = Gpu(index="0", uuid="x", name="H100", used_mb=0, memory_mb=81920)
    machine = Machine(num_cpus=7, memory_gb=12.5, gpus=(gpu,), torch_has_cuda=False)
    monkeypatch.setattr("flowerti.choosing.machine.find_machine", lambda: machine)
    monkeypatch.setattr("flowerti.choosing.weights.backbones_here", lambda: ["resnet18"])
    assert cli.main(["doctor"]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["ray"] == metadata.version("ray")
    assert (rows["processors"], rows["memory"], rows["networks"]) == ("7", "12.5 GB", "resnet18")
    assert rows["GPUs"] == "H100, 80 GiB, idle; the installed torch has no CUDA: install one that has"
    assert str(tmp_path) in rows["disk"]


def test_what_keeps_every_run_from_starting_is_a_problem(capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flowerti.choosing.weights.backbones_here", lambda: [])
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert cli.main(["doctor"]) == 2
    out = capsys.readouterr().out
    assert "pip install efficientnet-lite-pytorch" in out and "cannot be written" in out


def test_open_prints_the_report_and_shows_it(capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: asked.append(address) or True)
    page = tmp_path / "my run" / "report.html"
    page.parent.mkdir()
    page.write_text("x")
    assert cli.main(["open", str(page.parent)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert asked == [page.as_uri()]
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    assert cli.main(["open", str(page.parent)]) == 0
    assert "no browser" in capsys.readouterr().out


def test_a_run_without_a_report_is_told_how_far_it_is(capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    assert cli.main(["open", str(tmp_path)]) == 2
    assert f"flowerti status {tmp_path}" in capsys.readouterr().err
