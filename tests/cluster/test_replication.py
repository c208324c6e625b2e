"""A run in which every step is repeated: draws of training images, learnings, pools, seeds and learning rates."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_run import tiny_experiment, without_times

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import ImbalanceConfig, ReplicationConfig, SelectionConfig
from flowerti.data.sources.herbarium.species import SPECIES
from flowerti.pipeline import run_experiment
from flowerti.report.recompute import differences, read_summary, recompute

pytestmark = pytest.mark.ray
WEAK = tuple(species.name for species in SPECIES if species.rare)[:2]


def test_every_step_is_repeated_and_told(tiny_base: Path, tmp_path: Path):
    tiny = tiny_experiment(tiny_base)
    experiment = replace(
        tiny,
        data=replace(tiny.data, num_train_common=8, num_train_rare=8),
        imbalance=ImbalanceConfig(factor=0.25, minority_classes=WEAK),
        selection=SelectionConfig(rule="fixed", class_names=WEAK),
        sampling=replace(tiny.sampling, sources=("raw", "token")),
        replication=ReplicationConfig(num_draws=2, num_learnings=1, num_pools=2, num_seeds=1),
        sweep=replace(
            tiny.sweep,
            ratios=(1.0,),
            free_arms=("real", "augmented"),
            learning_rate_factors=(1.0, 3.0),
            negative_control=False,
        ),
    )
    run = RunDirectory(str(tmp_path / "run"))
    run_experiment(experiment, run)
    summary = read_summary(run)

    told = summary["replication"]
    assert (told["outermost_step"], told["num_units"], told["conditional_on"]) == ("draw of training images", 2, [])
    assert [row["level"] for row in told["components"]] == [
        "draw of training images, learning", "pool of images, classifier seed"
    ]  # fmt: skip
    assert {row["num_repetitions"] for row in summary["sweep"]} == {4}
    assert set(summary["learning_rate_factors"]) == {row["arm"] for row in summary["sweep"]}
    assert summary["failures"] == []

    for name in WEAK:
        folder = tmp_path / "run" / "concepts" / name
        tokens = [folder, folder / "learning-1"]
        assert len({(place / "learned_embeds.safetensors").read_bytes() for place in tokens}) == 2
    assert len(list((tmp_path / "run" / "sweep" / "trials").glob("test.token.1.*.json"))) == 4
    assert "Intervals rest on 2 draws of training images." in (tmp_path / "run" / "report.html").read_text()

    assert differences(summary, recompute(run, summary)) == []
    before = without_times(summary)
    heard: list[object] = []
    run_experiment(experiment, run, listeners=[heard.append])
    assert without_times(json.loads((tmp_path / "run" / "summary.json").read_text())) == before
    assert not any("drawing" in str(event) or "trials on" in str(event) for event in heard), "all of it is there"
