"""The full-size preset's code path: ResNet-50, Inception, bfloat16 and a base in Stable Diffusion 1.5's own layout.

The weights are random, because the real ones cannot be had here; images are those at 64 px, scaled down to
the tiny base's 32. So this shows that the path runs from images to report, and nothing about its numbers.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import ReplicationConfig
from flowerti.config.presets import STUDY_CLASSES, flowers102
from flowerti.pipeline import run_experiment

TOKENS = "textual_inversion"
pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def resnet50_file(tmp_path_factory) -> Path:
    from torchvision.models import resnet50

    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(resnet50(weights=None).state_dict(), path)
    return path


def test_the_full_size_preset_runs_on_random_weights(shared_root, tiny_base, resnet50_file, tmp_path):
    preset = flowers102()
    experiment = replace(
        preset,
        data=replace(preset.data, root=str(shared_root / "data" / "flowers102-64"), image_size_px=32, download=False),
        base=replace(preset.base, path=str(tiny_base)),
        classifier=replace(preset.classifier, weights=str(resnet50_file), input_size_px=64, num_epochs=1, num_views=1),
        selection=replace(preset.selection, rule="fixed", class_names=STUDY_CLASSES),
        techniques=preset.techniques
        | {TOKENS: replace(preset.techniques[TOKENS], num_steps=4, batch_size=2, num_eval_latents=4)},
        sampling=replace(preset.sampling, num_per_class=10, num_inference_steps=2),
        scoring=replace(
            preset.scoring,
            extractors=("resnet50",),
            weights=(str(resnet50_file),),
            input_sizes_px=(64,),
            num_permutations=99,
        ),
        replication=ReplicationConfig(num_learnings=1, num_seeds=2),
        sweep=replace(preset.sweep, ratios=(1.0,), num_bootstrap=100, learning_rate_factors=(1.0,)),
    )
    run_experiment(experiment, RunDirectory(str(tmp_path / "run")))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [s["class_name"] for s in summary["selected"]] == list(STUDY_CLASSES)
    assert {d["extractor"] for d in summary["distances"]} == {"resnet50"}
    assert len(summary["by_evidence"]) == 3
