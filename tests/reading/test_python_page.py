"""The lines of Python in docs/python.md run as they stand there, one block after the other, on a run made by hand."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from drawn_folders import draw_classes
from finished_run import classifier, run
from small_export import NAMES, WEAK, make_run

from flowerti.artifacts import layout
from flowerti.artifacts.image_scores import ImageScore, ImageScores
from flowerti.artifacts.records import SelectedClass, Selection
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import write_config
from flowerti.config.experiment import Experiment
from flowerti.report import Findings, build_summary

PAGE = Path(__file__).parents[2] / "docs/python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
PROBABILITY = {"token": 0.25, "raw": 0.75}


def finish(directory: RunDirectory) -> None:
    """Results beside the tokens and images: a classifier, scores of some images, and the sweep."""
    parts = run(NAMES, num_weak=len(WEAK))
    directory.save(layout.CLASSIFIER_REPORT, classifier(NAMES), "k")
    directory.save(layout.SWEEP_TABLE, parts["sweep"], "k")
    scores = [
        ImageScore(image=f"synthetic:{layout.shard('café', s, 0)}#1", probability=p, similarity=0.5, train_id="x")
        for s, p in PROBABILITY.items()
    ]
    directory.save(layout.IMAGE_SCORES, ImageScores(extractor="net", images=scores), "k")
    directory.write_bytes(layout.SUMMARY, json.dumps(build_summary(Findings(**parts))).encode())


@pytest.fixture
def runs(tmp_path: Path, tiny_base: Path, base: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the page expects it: two finished runs, and images of one's own."""
    directory = make_run(tmp_path, tiny_base, base)
    finish(directory)
    shutil.copytree(directory.uri, tmp_path / "runs/demo")
    shutil.copytree(directory.uri, tmp_path / "runs/mine")
    draw_classes(tmp_path / "images", {"rose": 14, "lily": 12})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def selecting(asked: list[Experiment]) -> Any:
    """In place of a run: what it leaves behind once the weak classes are selected."""

    def run_experiment(
        experiment: Experiment, directory: RunDirectory, listeners: Any, until: str, *, take_over: bool
    ) -> str:
        assert (until, take_over) == ("select", False)
        asked.append(experiment)
        write_config(directory, experiment)
        chosen = [SelectedClass(class_name="rose", num_train=3, f1_validation=0.5, reason="few")]
        directory.save(layout.SELECTION, Selection(selected=chosen, by_evidence=[]), "k")
        return until

    return run_experiment


def test_every_block_runs(runs: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    asked: list[Experiment] = []
    monkeypatch.setattr("flowerti.pipeline.run_experiment", selecting(asked))
    shown: dict[str, Any] = {"__name__": "__main__"}
    for block in BLOCKS:
        exec(block.replace("path/to/stable-diffusion-v1-5", str(tiny_base)), shown)  # our own text
    assert len(BLOCKS) == 6
    assert (shown["unlike"]["source"], shown["unlike"]["probability"]) == ("token", PROBABILITY["token"])
    assert (runs / "unlike.png").is_file()
    assert len(shown["data"]) == len(NAMES) * 3 + len(WEAK) * 3
    assert shown["found"].weak_classes == ("rose",)
    assert (asked[0].techniques["textual_inversion"].num_steps, asked[0].seed) == (500, 1)
    assert asked[0].sampling.sources == ("raw", "token")
    out = capsys.readouterr().out
    assert "('rose',)" in out and "learned_embeds.safetensors" in out
