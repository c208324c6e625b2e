"""The script that the engine is compared with, and the rungs between them, must do the same work on the same draws."""

import random

import numpy as np
import pytest
import torch
from scipy import stats

from benchmarks.inversion import memory, several_concepts
from benchmarks.inversion_baseline import ExampleScript, ScriptFlags
from benchmarks.inversion_race import Race
from benchmarks.inversion_steps import (
    SWITCHES,
    TOKEN,
    as_jpeg,
    engine_steps,
    random_images,
    script_steps,
    switched_steps,
)
from benchmarks.inversion_to_target import Pair, _distances, _first_at, _ratios
from flowerti.artifacts.records import LossPoint
from flowerti.prompts import TEMPLATES


def test_a_step_of_the_script_moves_its_rows_and_nothing_else(base):
    script = ExampleScript(base, TOKEN, 2, "flower", ScriptFlags(learning_rate=0.01))
    before = script.rows
    pixels, ids = script.load_batch(as_jpeg(random_images(3, 32)), list(TEMPLATES), 4, 32, random.Random(0))
    assert pixels.shape == (4, 3, 32, 32) and -1 <= pixels.min() < pixels.max() <= 1
    assert ((ids >= base.vocabulary_size).sum(dim=1) == 2).all()
    torch.manual_seed(0)
    assert script.step(pixels, ids) > 0
    assert (script.rows - before).abs().min() > 1e-3
    assert torch.equal(script.table[:-2], script.table_before[:-2])
    assert base.text_encoder.get_input_embeddings().num_embeddings == len(script.table) - 2


def test_the_script_s_own_precision_is_bfloat16_with_a_float32_table(base):
    script = ExampleScript(base, TOKEN, 1, "flower", ScriptFlags(autocast_dtype=torch.bfloat16))
    assert script.unet.dtype == script.vae.dtype == torch.bfloat16
    assert script.table.dtype == torch.float32
    pixels, ids = script.load_batch(as_jpeg(random_images(3, 32)), list(TEMPLATES), 2, 32, random.Random(0))
    assert np.isfinite(script.step(pixels, ids))
    assert base.unet.dtype == torch.float32


def test_every_rung_of_the_ladder_takes_steps(base):
    images = random_images(3, 32)
    for num in range(len(SWITCHES) + 1):
        switched_steps(base, images, 2, 1, frozenset(SWITCHES[:num]))()
    for step in (
        engine_steps(base, images, 2, 1, 3),
        script_steps(base, images, 2, 1, best_flags=True),
        script_steps(base, images, 2, 1, best_flags=False),
    ):
        step()
    with pytest.raises(ValueError, match="no such switches: faster"):
        switched_steps(base, images, 2, 1, frozenset({"faster"}))


def test_rungs_with_the_same_latents_have_the_same_losses(base, monkeypatch):
    """Rows only and the whole table, on draws that are the same in both."""
    losses = {}
    for switches in (frozenset(SWITCHES[:2]), frozenset(SWITCHES[:3])):
        seen = losses.setdefault(len(switches), [])
        real = torch.nn.functional.mse_loss
        with monkeypatch.context() as patch:

            def keep(*args, real=real, seen=seen):
                loss = real(*args)
                seen.append(loss.item())
                return loss

            patch.setattr(torch.nn.functional, "mse_loss", keep)
            step = switched_steps(base, random_images(3, 32), 2, 1, switches)
            for _ in range(3):
                step()
    assert losses[2] == pytest.approx(losses[3], rel=1e-5)
    assert len(set(losses[2])) == 3


def test_several_concepts_and_memory_are_reported(base):
    ratios, _ = several_concepts(base, random_images(3, 32), 2, 3)
    assert set(ratios) == {"3_concepts_together_batch_1", "3_concepts_together_batch_4"}
    sizes = memory(base, random_images(3, 32))
    assert sizes["engine_rows_and_moments"] == 3 * 16 * 4
    assert sizes["script_table_state"] == 4 * (base.vocabulary_size + 1) * 16 * 4
    assert sizes["engine_activations_batch_4"] > 4 * 8 * 8 * 8 * 4


def _pair(
    script_reached_at: int, engine_reached_at: int, script_distance: float = 0.0, engine_distance: float = 0.0
) -> Pair:
    return Pair(
        class_name="rose",
        seed=0,
        learning_rate=1e-4,
        target=1.0,
        script_reached_at=script_reached_at,
        engine_reached_at=engine_reached_at,
        engine_final=1.0,
        script_distance=script_distance,
        engine_distance=engine_distance,
    )


def test_a_race_s_ratio_counts_every_cost_of_the_engine():
    costs = {"engine_s": 1.0, "engine_together_s": 0.5, "engine_evaluation_s": 3.0, "engine_encoding_s": 4.0}
    options = Race(num_steps=1000, engine_eval_every_steps=25)
    pairs = [_pair(500, 50), _pair(800, -1), _pair(0, 0)]
    found = _ratios(pairs, costs, 2.0, 100, options)
    # 50 steps, 3 evaluations and the encoding: 63; never there: 100 + 5 * 3 + 4 = 119; there from the start: left out
    expected = {
        "time_to_target": np.sqrt(2000 / 63 * 2000 / 119),
        "time_to_target_from_first_reach": np.sqrt(1000 / 63 * 1600 / 119),
        "time_to_target_together": np.sqrt(2000 / 38 * 2000 / 69),
        "whole_run": 2000 / 119,
        "whole_run_together": 2000 / 69,
    }
    assert {name: ratio["value"] for name, ratio in found.items()} == pytest.approx(expected)
    assert {ratio["pairs"] for ratio in found.values()} == {2}
    assert _ratios(pairs[1:], costs, 2.0, 100, options) == {}


def test_image_distances_are_compared_seed_by_seed():
    script, engine = np.array([0.5, 0.7, 0.6]), np.array([0.4, 0.7, 0.65])
    pairs = [_pair(1, 1, *both) for both in zip(script.tolist(), engine.tolist(), strict=True)]
    (found,) = _distances(pairs, Race(class_names=("rose",), learning_rates=(1e-4,), engine_steps=(400,)))
    assert (found["script_mean"], found["engine_mean"]) == pytest.approx((script.mean(), engine.mean()))
    assert found["script_deviation"] == pytest.approx(np.std(script, ddof=1))
    interval = stats.ttest_rel(engine, script).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))


def test_a_target_is_reached_at_the_first_point_below_it():
    curve = [LossPoint(step=step, loss=loss) for step, loss in ((0, 3.0), (10, 2.0), (20, 1.0), (30, 2.0))]
    assert [_first_at(curve, target) for target in (5.0, 2.0, 1.5, 0.5)] == [0, 10, 20, -1]


def test_one_seed_has_no_spread():
    with pytest.raises(ValueError, match=r"race\.num_seeds is 1"):
        Race(num_seeds=1)


def test_each_rate_has_its_plan():
    with pytest.raises(
        ValueError, match=r"race\.engine_steps is \(400, 1200\): must be one number for each of 1 rates"
    ):
        Race(learning_rates=(1e-4,))
