"""What is refused about the shared arrays, and which pool a class gets."""

import numpy as np
import pytest
from trial_arrays import EVERY_ARM, data_of, marked

from flowerti.config.experiment import SweepConfig
from flowerti.sweep.mixing import mix
from flowerti.sweep.repetitions import Repetition
from flowerti.sweep.rounds import TrialPlan
from flowerti.sweep.trial_data import PoolKey, check_ratios, check_trial_data

FIRST = Repetition(index=0)


def plans(*pairs: tuple[str, float], repetition: Repetition = FIRST) -> list[TrialPlan]:
    return [
        TrialPlan(arm=EVERY_ARM[name], ratio=ratio, repetition=repetition, split="validation") for name, ratio in pairs
    ]


def test_which_pool_a_class_gets():
    data = data_of(
        synthetic={PoolKey(c, s): marked(0, 1) for c in (10, 9, 2) for s in ("raw", "token")}, num_classes=11
    )
    own = [(c, PoolKey(c, "token")) for c in (2, 9, 10)]
    assert data.pools_of(EVERY_ARM["token"], 0) == own, "in the order of the ids, not of their digits"
    assert data.pools_of(EVERY_ARM["repeated"], 0) == own
    assert data.pools_of(EVERY_ARM["shuffled_token"], 0) == [(2, own[1][1]), (9, own[2][1]), (10, own[0][1])]
    assert data.pools_of(EVERY_ARM["balanced"], 0) == []


@pytest.mark.parametrize(
    ("arm", "weights", "message"),
    [
        (
            "token",
            {},
            r"ratio 3 asks for 12 synthetic images of class 1, 10 were made: .*num_per_class to at least 12",
        ),
        ("shuffled_token", {}, r"ratio 3 asks for 12 synthetic images of class 1"),
        ("balanced+token", {}, r"ratio 3 asks for 12 synthetic images of class 1"),
        (
            "token",
            {PoolKey(1, "token"): np.array([0.0] * 3 + [1.0] * 7)},
            r"10 were made and 7 of them kept: .* at least 15",
        ),
    ],
)
def test_a_ratio_beyond_the_pool_says_how_many_to_draw(arm: str, weights: dict, message: str):
    data = data_of(weights=weights)
    with pytest.raises(ValueError, match=message):
        check_ratios(data, plans(("real", 0.0), (arm, 3.0)))
    (plan,) = plans((arm, 3.0))
    with pytest.raises(ValueError, match=message):
        mix(data, plan, SweepConfig(), 5)
    check_ratios(data, plans(("real", 0.0), (arm, 1.0), ("token_replace", 3.0), ("repeated", 3.0)))


def broken(num: int, value: float) -> np.ndarray:
    features = marked(0, num)
    features[-1, 0, 1] = value
    return features


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 4}, "training split: class 3 has no image"),
        ({"train": broken(12, np.nan)}, "images 'training': features hold NaN"),
        ({"evaluation": broken(3, np.inf)}, "images 'evaluation': features hold NaN"),
        ({"augmented": broken(12, np.nan)}, "images 'augmented': features hold NaN"),
        ({"synthetic": {PoolKey(1, "token"): broken(4, np.nan)}}, "images 'token of class 1': features hold NaN"),
        ({"synthetic": {PoolKey(1, "token"): marked(0, 0)}}, "images 'token of class 1': there are none"),
        ({"weights": {PoolKey(1, "token"): np.ones(9)}}, "weights of 'token of class 1'"),
        ({"weights": {PoolKey(1, "token"): np.full(10, np.nan)}}, "weights of 'token of class 1'"),
        ({"weights": {PoolKey(1, "token"): np.full(10, -1.0)}}, "weights of 'token of class 1'"),
    ],
)
def test_unfit_arrays_are_refused_before_a_trial(changes: dict, message: str):
    check_trial_data(data_of())
    with pytest.raises(ValueError, match=message):
        check_trial_data(data_of(**changes))


def test_a_repetition_gets_the_images_of_its_learning_and_its_part_of_them():
    pools = {PoolKey(c, "token", learning): marked(100 * learning, 7) for c in (1, 2) for learning in (0, 1)}
    pools |= {PoolKey(c, "raw"): marked(900, 7) for c in (1, 2)}
    data = data_of(synthetic=pools, num_parts=2)
    for learning, part, expected in ((0, 0, [0, 1, 2]), (0, 1, [3, 4, 5, 6]), (1, 1, [103, 104, 105, 106])):
        repetition = Repetition(index=0, learning=learning, pool=part)
        for arm, marks in (("token", expected), ("raw", [900 + mark % 100 for mark in expected])):
            (plan,) = plans((arm, 0.5), repetition=repetition)
            found = mix(data, plan, SweepConfig(), 5)
            added = found.inputs[found.num_real :, 0, 0].astype(int)
            assert set(added) <= set(marks), "a source that needs nothing learnt has one pool for all learnings"
            assert len(added) == 2 + 1
    with pytest.raises(ValueError, match=r"trial validation\.token\.0\.5\.0: no class has images of learning 2: draw"):
        check_ratios(data, plans(("token", 0.5), repetition=Repetition(index=0, learning=2)))
    with pytest.raises(ValueError, match=r"4 synthetic images of class 1, 7 were made in 2 parts: .* at least 8"):
        check_ratios(data, plans(("token", 1.0), repetition=Repetition(index=0, pool=0)))


def test_parts_are_a_partition_and_leave_out_what_curation_did():
    weights = {PoolKey(1, "token"): np.array([1.0, 1, 0, 1, 1, 1, 1, 1, 0, 1])}
    data = data_of(num_parts=3, weights=weights)
    parts = [data.kept(PoolKey(1, "token"), part).tolist() for part in range(3)]
    assert parts == [[0, 1], [3, 4, 5], [6, 7, 9]]


def test_a_draw_has_its_own_training_images_under_every_arm():
    """Rows 12 and 13 are spare images of class 2, which has rows 10 and 11."""
    data = data_of(
        train=marked(0, 14),
        train_ids=np.array([0] * 6 + [1] * 4 + [2] * 4),
        augmented=marked(1000, 14, num_views=4),
        draws=(np.arange(12), np.array([*range(10), 11, 13])),
    )
    for draw, members in ((0, {10, 11}), (1, {11, 13})):
        repetition = Repetition(index=0, draw=draw)
        for arm in ("real", "augmented"):
            (plan,) = plans((arm, 0.0), repetition=repetition)
            found = mix(data, plan, SweepConfig(), 5)
            assert found.num_real == len(found.inputs) == 12
            assert set(found.inputs[found.class_ids == 2][:, 0, 0].astype(int) % 1000) == members
        (plan,) = plans(("repeated", 2.0), repetition=repetition)
        found = mix(data, plan, SweepConfig(), 5)
        assert set(found.inputs[found.class_ids == 2][:, 0, 0].astype(int)) == members
        assert (found.class_ids == 2).sum() == 2 + 4, "as many as the class has in the draw, twice"
