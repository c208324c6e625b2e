"""Ranges and types of all settings: what is out of range or of another type is refused by its field's name."""

import dataclasses
import math
from typing import Any

import pytest
from settings_of_users import STAGES, all_fields, with_value

OUT_OF_RANGE: dict[str, list[Any]] = {
    "name": ["", "  ", "../elsewhere", "a/b", ".hidden"],
    "seed": [-1, 2**31],
    "data.kind": ["zip", ""],
    "data.class_level": ["middle", ""],
    "data.image_size_px": [7, 0, -64],
    "data.num_train_common": [1, 0],
    "data.num_train_rare": [1],
    "data.num_validation": [1],
    "data.num_test": [1],
    "imbalance.factor": [0.0, -0.1, 1.1, math.nan],
    "imbalance.minority_classes": [("rose",), ("rose", "rose")],
    "imbalance.minority_images": [-1, 3],
    "imbalance.validation_share": [0.0, 1.0, math.nan],
    "imbalance.test_share": [0.0, 1.0, 0.8],
    "imbalance.positive_classes": [("rose", "rose")],
    "base.path": [""],
    "base.dtype": ["float64", "int8"],
    "classifier.input_size_px": [0],
    "classifier.mode": ["all"],
    "classifier.num_epochs": [0],
    "classifier.batch_size": [0],
    "classifier.learning_rate": [0.0, -1.0, math.nan, math.inf],
    "classifier.weight_decay": [-1e-9, math.nan, math.inf],
    "classifier.label_smoothing": [-0.1, 1.0, math.nan],
    "classifier.num_views": [0],
    "classifier.batch_mixing": ["blend"],
    "selection.rule": ["worst"],
    "selection.num_classes": [0],
    "selection.class_names": [("rose",)],
    "textual_inversion.num_vectors": [0],
    "textual_inversion.initializer_token": ["", "  "],
    "textual_inversion.start": ["flower", ""],
    "lora.rank": [0],
    "text_lora.rank": [0],
    "shared_lora.rank": [0],
    "dreambooth.prior.noun": [" "],
    **{
        f"{technique}.prior.{name}": values
        for technique in ("cross_attention", "dreambooth", "text_lora")
        for name, values in {
            "weight": [0.0, -1.0, math.nan],
            "num_images": [0],
            "num_inference_steps": [0],
            "guidance_scale": [0.5, math.inf],
        }.items()
    },
    **{
        f"{technique}.{name}": values
        for technique in ("textual_inversion", "lora", "cross_attention", "dreambooth", "text_lora", "shared_lora")
        for name, values in {
            "num_steps": [0],
            "batch_size": [0],
            "learning_rate": [0.0, math.nan, math.inf],
            "weight_decay": [-1.0],
            "eval_every_steps": [0],
            "num_eval_latents": [0],
            "patience_evals": [-1],
            "checkpoint_every_steps": [0],
        }.items()
    },
    "sampling.num_per_class": [1, 0],
    "sampling.sources": [(), ("raw",), ("token", "token"), ("lora",), ("token", "hypernetwork")],
    "sampling.prompt": ["a flower", "{} {}", "{{}}", "a {} {0}", "a {} {", "}{ {}"],
    "sampling.num_inference_steps": [0],
    "sampling.guidance_scale": [0.5, math.inf, math.nan],
    "sampling.batch_size": [0],
    "sampling.guidance_interval": [
        (0.0, 1.1),
        (-0.1, 1.0),
        (0.5, 0.5),
        (0.8, 0.2),
        (0.0,),
        (0.0, 0.5, 1.0),
        (math.nan, 1.0),
        (0.11, 0.19),
    ],
    "sampling.negative": ["rose", "Confusable"],
    "sampling.strengths": [(), (0.0,), (1.1,), (-0.5, 0.5), (0.5, 0.5), (math.nan,)],
    "sampling.label_exponent": [0.0, -1.0, math.nan],
    "sampling.token_noise": [-0.1, math.nan, math.inf],
    "sampling.contexts": [(), ("a flower",), ("a {}", "{} {}"), ("a {} {",)],
    "filters.keep": [("top_share", "top_share"), ("hard",), ("clip",), ("top_share", "hard_share")],
    "filters.share": [0.0, 1.0, math.nan],
    "filters.top_k": [0],
    "filters.num_folds": [1],
    "filters.far_share": [0.0, 1.0, math.nan],
    "scoring.extractors": [(), ("clip", "clip")],
    "scoring.weights": [("a.pth", "b.pth")],
    "scoring.input_sizes_px": [(0,), (), (64, 128)],
    "scoring.num_neighbours": [0],
    "scoring.num_closest_pairs": [0],
    "scoring.num_permutations": [98],
    "scoring.num_floor_splits": [0],
    "sweep.ratios": [(), (0.0,), (-1.0, 1.0), (1.0, 1.0), (1.0, math.nan), (math.inf,)],
    "sweep.free_arms": [(), ("balanced",), ("real", "mixup")],
    "sweep.extra_arms": [("mixup",), ("real", "real")],
    "sweep.mixing": [(), ("fixed", "fixed"), ("both",)],
    "sweep.learning_rate_factors": [(), (0.0,), (1.0, 1.0)],
    "replication.num_draws": [0],
    "replication.num_learnings": [0],
    "replication.num_pools": [0],
    "replication.num_seeds": [0],
    "sweep.num_bootstrap": [99],
    "sweep.max_rest_drop": [-0.1, 1.1, math.nan],
    "sweep.equivalence_margin": [0.0, 1.0, math.nan],
    "sweep.max_concurrent_trials": [-1],
    "sweep.replace_probabilities": [(0.0,), (1.1,), (0.3, 0.3), (math.nan,)],
    "sweep.refit_epochs": [-1],
    "sweep.synthetic_weight": [0.0, -1.0, math.nan],
    "sweep.synthetic_smoothing": [-0.1, 1.0, math.nan],
    "plugins": [("nothing",), ("no_such_module:register",), ("json:register",), ("os:abort",)],
    "data.left_out_classes": [("a", "a")],
    "imbalance.min_held_out": [0],
    "ceiling.num_classes": [-1],
    "ceiling.class_names": [("a", "a")],
    "ceiling.num_draws": [1],
    "ceiling.num_more": [(), (0,), (2, 1), (1, 1)],
    "ceiling.round_trip_probability": [0.0, 1.1, math.nan],
    "cluster.num_workers": [0],
    "cluster.num_cpus_per_worker": [0.0, math.nan, math.inf],
    "cluster.num_gpus_per_worker": [-0.5, 1.5, math.inf],
    "cluster.device": ["gpu"],
    "cluster.num_threads_per_worker": [0],
    "cluster.classes_per_actor": [0],
    "cluster.num_workers_per_classifier": [0, 99],
    "cluster.max_retries_per_class": [-1],
}


def test_every_field_with_a_range_is_in_the_table():
    free = {"str", "bool"}
    ranged = {name for name, f in all_fields().items() if getattr(f.type, "__name__", "") not in free}
    assert ranged <= set(OUT_OF_RANGE)
    assert set(OUT_OF_RANGE) <= set(all_fields())
    assert len(STAGES) == 12


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in OUT_OF_RANGE.items() for v in values])
def test_a_value_out_of_range_is_refused_by_its_field_name(name: str, value: Any):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the message is looked at below
        with_value(name, value)
    assert str(caught.value).startswith(f"{name} ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list(all_fields()))
def test_a_value_of_another_type_is_refused_by_its_field_name(name: str):
    for value in (None, b"bytes", {"a": 1}, object):
        with pytest.raises(ValueError, match=rf"^{name} must be "):
            with_value(name, value)


@pytest.mark.parametrize(("name", "field"), list(all_fields().items()))
def test_truth_values_text_and_fractions_are_no_numbers(name: str, field: dataclasses.Field):
    bad = {int: [True, "3", 3.0], float: [True, "0.5"], bool: [1, "yes"], str: [3, True]}.get(field.type, [3, True])
    for value in bad:
        with pytest.raises(ValueError, match=rf"^{name} must be "):
            with_value(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data.image_size_px", 8),
        ("data.num_test", 2),
        ("classifier.label_smoothing", 0.0),
        ("selection.num_classes", 1),
        ("sampling.guidance_scale", 1.0),
        ("sampling.num_per_class", 2),
        ("scoring.num_permutations", 99),
        ("sweep.max_rest_drop", 1.0),
        ("cluster.num_gpus_per_worker", 0.25),
        ("cluster.num_gpus_per_worker", 2.0),
        ("seed", 2**31 - 1),
    ],
)
def test_the_edge_of_a_range_is_accepted(name: str, value: Any):
    stage, _, field = name.rpartition(".")
    experiment = with_value(name, value)
    assert getattr(getattr(experiment, stage) if stage else experiment, field) == value
