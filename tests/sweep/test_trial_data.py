"""What is refused about the shared arrays, and which pool a class gets."""

import numpy as np
import pytest
from trial_arrays import EVERY_ARM, data_of, marked

from flowerti.config.experiment import SweepConfig
from flowerti.sweep.mixing import mix
from flowerti.sweep.rounds import Cell, TrialPlan
from flowerti.sweep.trial_data import check_ratios, check_trial_data


def cells(*pairs: tuple[str, float]) -> list[Cell]:
    return [Cell(EVERY_ARM[name], ratio) for name, ratio in pairs]


def test_which_pool_a_class_gets():
    data = data_of(synthetic={(c, s): marked(0, 1) for c in (10, 9, 2) for s in ("raw", "token")}, num_classes=11)
    own = [(c, (c, "token")) for c in (2, 9, 10)]
    assert data.pools_of(EVERY_ARM["token"]) == own, "in the order of the ids, not of their digits"
    assert data.pools_of(EVERY_ARM["repeated"]) == own
    assert data.pools_of(EVERY_ARM["shuffled_token"]) == [(2, (9, "token")), (9, (10, "token")), (10, (2, "token"))]
    assert data.pools_of(EVERY_ARM["balanced"]) == []


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
        ("token", {(1, "token"): np.array([0.0] * 3 + [1.0] * 7)}, r"10 were made and 7 of them kept: .* at least 15"),
    ],
)
def test_a_ratio_beyond_the_pool_says_how_many_to_draw(arm: str, weights: dict, message: str):
    data = data_of(weights=weights)
    with pytest.raises(ValueError, match=message):
        check_ratios(data, cells(("real", 0.0), (arm, 3.0)))
    plan = TrialPlan(arm=EVERY_ARM[arm], ratio=3.0, seed_index=0, split="validation")
    with pytest.raises(ValueError, match=message):
        mix(data, plan, SweepConfig(), 5)
    check_ratios(data, cells(("real", 0.0), (arm, 1.0), ("token_replace", 3.0), ("repeated", 3.0)))


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
        ({"synthetic": {(1, "token"): broken(4, np.nan)}}, "images 'token of class 1': features hold NaN"),
        ({"synthetic": {(1, "token"): marked(0, 0)}}, "images 'token of class 1': there are none"),
        ({"weights": {(1, "token"): np.ones(9)}}, "weights of 'token of class 1'"),
        ({"weights": {(1, "token"): np.full(10, np.nan)}}, "weights of 'token of class 1'"),
        ({"weights": {(1, "token"): np.full(10, -1.0)}}, "weights of 'token of class 1'"),
    ],
)
def test_unfit_arrays_are_refused_before_a_trial(changes: dict, message: str):
    check_trial_data(data_of())
    with pytest.raises(ValueError, match=message):
        check_trial_data(data_of(**changes))
