"""The plan of a run: closed forms, refusals, and a row for each stage and technique."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from flowerti.config.experiment import Experiment, ReplicationConfig
from flowerti.config.presets import demo, flowers102
from flowerti.plan import Request, StagePlan, StepTimes, estimate, num_trials, schedule

TIMES = StepTimes(
    learning_step={"textual_inversion": 0.4, "lora": 0.8},
    drawn_image=2.0,
    scored_image=0.1,
    trial=60.0,
    actor_start=10.0,
)
TOKENS, ADAPTERS = "personalize.textual_inversion", "personalize.lora"


def planned(experiment: Experiment, **asked: Any) -> dict[str, StagePlan]:
    given: dict[str, Any] = {"num_classes": 1000, "num_workers": 100} | asked
    return {row.stage: row for row in estimate(Request(experiment=experiment, **given), TIMES)}


def once(experiment: Experiment) -> Experiment:
    """The same with one learning of each class."""
    return replace(experiment, replication=ReplicationConfig(num_learnings=1, num_seeds=5))


def test_equal_tasks_are_shared_evenly():
    planned = schedule([100.0] * 12, num_workers=4, start_s=20.0)
    assert planned.makespan_s == 20.0 + 3 * 100.0, "a worker starts once"
    assert planned.busy == pytest.approx(300 / 320)


def test_the_longest_come_first_and_more_workers_than_tasks_idle():
    assert schedule([1.0, 1.0, 1.0, 3.0], num_workers=2, start_s=0.0).makespan_s == 3.0
    planned = schedule([5.0, 1.0], num_workers=4, start_s=0.0)
    assert (planned.makespan_s, planned.busy) == (5.0, 6 / 20)
    assert schedule([], num_workers=4, start_s=1.0).makespan_s == 0.0


def test_no_schedule_is_worse_than_grahams_bound_on_the_best_one():
    rng = np.random.default_rng(0)
    for _ in range(50):
        tasks = rng.uniform(1, 10, 7)
        best = min(
            max(sum(t for t, worker in zip(tasks, split, strict=True) if worker == w) for w in range(3))
            for split in itertools.product(range(3), repeat=7)
        )
        assert best - 1e-9 <= schedule(list(tasks), 3, 0.0).makespan_s <= (4 / 3 - 1 / 9) * best + 1e-9


def test_there_is_a_row_for_each_stage_and_technique():
    stages = ["classify", "select", "ceiling", TOKENS, "sample", "score", "sweep", "confirm", "report"]
    assert list(planned(flowers102())) == stages
    sampling = replace(flowers102().sampling, sources=("token", "lora"))
    assert list(planned(replace(flowers102(), sampling=sampling))) == [*stages[:4], ADAPTERS, *stages[4:]]


def test_each_stage_costs_what_its_steps_do():
    experiment = once(flowers102())
    rows = planned(experiment, price_per_hour=2.0)
    invert, sample, score, sweep = (rows[name] for name in (TOKENS, "sample", "score", "sweep"))
    assert invert.num_tasks == 1000
    assert invert.wall_hours == pytest.approx((10 + 10 * 2000 * 0.4) / 3600)
    assert invert.worker_hours == pytest.approx(100 * invert.wall_hours)
    assert invert.cost == pytest.approx(2 * invert.worker_hours)
    num_images = 1000 * len(experiment.sampling.sources) * 128
    assert sample.busy * sample.worker_hours == pytest.approx(num_images * 2.0 / 3600)
    assert 0.1 < sample.storage_gb * 1e9 / num_images / (512 * 512 * 3) < 1
    assert score.busy * score.worker_hours == pytest.approx(num_images * 0.1 / 3600)
    assert rows["confirm"].worker_hours == score.worker_hours
    assert sweep.num_tasks == num_trials(experiment, 1000)
    assert sweep.busy * sweep.worker_hours == pytest.approx(sweep.num_tasks * 60 / 3600)


def test_what_does_not_grow_with_the_weak_classes_is_named_and_not_estimated():
    rows = planned(flowers102())
    for name in ("classify", "select", "report"):
        assert (rows[name].num_tasks, rows[name].worker_hours, rows[name].cost) == (0, 0.0, 0.0)
        assert rows[name].what


def test_rows_say_what_they_work_on():
    rows = planned(demo())
    assert rows["sample"].what == "raw, alternative_name, token"
    assert "herbarium" in rows["classify"].what
    assert {"frechet", "kernel"} <= set(rows["score"].what.split(", "))
    assert {"real", "balanced", "<best control>+token_replace", "<best control>+shuffled_token_replace"} <= set(
        rows["sweep"].what.split(", ")
    )


def test_groups_of_classes_share_the_workers_as_single_ones_do():
    sampling = replace(flowers102().sampling, sources=("token", "lora"))
    experiment = once(replace(flowers102(), sampling=sampling))
    packed = replace(experiment, cluster=replace(experiment.cluster, classes_per_actor=5))
    one, five = planned(experiment), planned(packed)
    assert five[TOKENS].num_tasks == 200
    assert five[TOKENS].worker_hours == pytest.approx(one[TOKENS].worker_hours), "200 groups on 100 workers"
    forty = planned(replace(experiment, cluster=replace(experiment.cluster, classes_per_actor=40)))
    assert forty[TOKENS].num_tasks == 100, "no worker is left without a class"
    # an adapter has a U-Net of its own
    assert five[ADAPTERS] == one[ADAPTERS]


def test_what_all_classes_share_is_learnt_once_for_each_learning():
    sampling = replace(flowers102().sampling, sources=("token", "shared_lora"))
    experiment = replace(flowers102(), sampling=sampling, replication=ReplicationConfig(num_learnings=3))
    times = replace(TIMES, learning_step={**TIMES.learning_step, "shared_lora": 0.5})
    rows = {row.stage: row for row in estimate(Request(experiment=experiment, num_classes=10, num_workers=1), times)}
    shared = rows["personalize.shared_lora"]
    assert (rows[TOKENS].num_tasks, shared.num_tasks) == (30, 3)
    assert shared.wall_hours == pytest.approx((10 + 3 * 1200 * 0.5) / 3600)


def test_every_learning_is_learnt_and_drawn_from():
    sampling = replace(flowers102().sampling, sources=("raw", "token", "lora"))
    single = once(replace(flowers102(), sampling=sampling))
    packed = replace(single, cluster=replace(single.cluster, classes_per_actor=7))
    thrice = ReplicationConfig(num_learnings=3)
    one, three = planned(single, num_classes=10), planned(replace(single, replication=thrice), num_classes=10)
    assert [one[name].num_tasks for name in (TOKENS, ADAPTERS)] == [10, 10]
    assert [three[name].num_tasks for name in (TOKENS, ADAPTERS)] == [30, 30]
    assert planned(replace(packed, replication=thrice), num_classes=10, num_workers=2)[TOKENS].num_tasks == 5, (
        "30 in groups of 7"
    )
    shards = -(-sampling.num_per_class // sampling.batch_size)
    assert (one["sample"].num_tasks, three["sample"].num_tasks) == (10 * 3 * shards, 10 * (1 + 3 + 3) * shards)
    assert three["sample"].storage_gb == pytest.approx(one["sample"].storage_gb * 7 / 3)
    assert [three[name] for name in ("score", "confirm")] == [one[name] for name in ("score", "confirm")]
    twice_two = replace(single, replication=ReplicationConfig(num_draws=2, num_learnings=2))
    assert planned(twice_two, num_classes=10)[TOKENS].num_tasks == 40


@pytest.mark.parametrize("wrong", [{"num_classes": 0}, {"num_workers": 0}, {"price_per_hour": -1.0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="at least"):
        planned(demo(), **wrong)


def test_a_time_that_is_not_known_is_asked_for_by_its_option():
    asked = Request(experiment=demo(), num_classes=3, num_workers=2)
    with pytest.raises(ValueError, match="--seconds-per-textual-inversion-step, --seconds-per-drawn-image") as caught:
        estimate(asked, StepTimes(trial=1.0))
    assert "lora" not in str(caught.value), "no source of the demo needs it"
    assert "--seconds-per-trial" not in str(caught.value)
