"""`flowerti.run`: its parameters are the options of `flowerti run`."""

from pathlib import Path
from typing import Any

import pytest

import flowerti
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import write_config
from flowerti.config.experiment import Experiment
from flowerti.config.presets import demo
from flowerti.starting import options_of


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Experiment, str, str]]:
    """Experiment, run directory and last stage of every run that would be started."""
    asked: list[tuple[Experiment, str, str]] = []

    def run_experiment(
        experiment: Experiment, run: RunDirectory, listeners: Any, until: str, *, take_over: bool
    ) -> str:
        asked.append((experiment, run.uri, until))
        write_config(run, experiment)
        return "sample"

    monkeypatch.setattr("flowerti.pipeline.run_experiment", run_experiment)
    monkeypatch.chdir(tmp_path)
    return asked


def test_settings_are_options():
    settings = {
        "seed": 3,
        "data.show_images": False,
        "data.skip_unreadable": True,
        "sampling.sources": ["raw", "token"],
    }
    expected = ["--seed", "3", "--data.no-show-images", "--data.skip-unreadable", "--sampling.sources", "raw", "token"]
    assert options_of(settings) == expected


def test_a_preset_is_run_with_changed_settings(started: list[tuple[Experiment, str, str]], tmp_path: Path):
    settings = {"seed": 3, "data.show_images": False, "sweep.ratios": (1.0, 2.5), "lora.rank": 2}
    run = flowerti.run(preset="demo", run_dir=tmp_path / "mine", until="sample", settings=settings)
    ((experiment, uri, until),) = started
    assert (uri, until) == (str(tmp_path / "mine"), "sample")
    assert (experiment.seed, experiment.data.show_images, experiment.sweep.ratios) == (3, False, (1.0, 2.5))
    assert experiment.techniques["lora"].rank == 2
    assert experiment.classifier == demo().classifier
    assert isinstance(run, flowerti.Run) and run.settings == experiment


def test_a_run_directory_alone_goes_on(started: list[tuple[Experiment, str, str]]):
    first = flowerti.run(preset="demo", settings={"seed": 4})
    again = flowerti.run(run_dir=first.uri)
    assert first.uri == again.uri == "runs/demo"
    assert [(one.seed, until) for one, _, until in started] == [(4, "report")] * 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nothing to run"),
        ({"preset": "nope"}, "'nope'"),
        ({"preset": "demo", "settings": {"seed": -1}}, "seed"),
        ({"preset": "demo", "settings": {"sedd": 1}}, "--sedd"),
        ({"folder": "images", "preset": "demo"}, "two experiments"),
    ],
)
def test_wrong_input_is_a_value_error(given: dict[str, Any], message: str, started: list[Any]):
    with pytest.raises(ValueError, match=message):
        flowerti.run(**given)
    assert started == []
