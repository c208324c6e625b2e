"""What each arm trains on, counted by hand from marked arrays."""

import dataclasses

import numpy as np
import pytest

from flowerti.config.experiment import SweepConfig
from flowerti.sweep.mixing import (
    TrialData,
    check_ratios,
    check_trial_data,
    control_of,
    planned_arms,
    source_of,
    stacked_arm,
    training_set,
)

TRAIN_IDS = np.array([0] * 6 + [1] * 4 + [2] * 2)
POOLS = {"1/token": 100, "2/token": 200, "1/raw": 300, "2/raw": 400}
"""Pool and the number that its features begin with."""


def marked(begin: int, num: int, num_views: int = 2) -> np.ndarray:
    """Features [num, views, 3] whose first value says which image it is."""
    return np.tile((begin + np.arange(num, dtype=np.float32))[:, None, None], (1, num_views, 3))


def data_of(**changes: object) -> TrialData:
    data = TrialData(
        train=marked(0, len(TRAIN_IDS)),
        train_ids=TRAIN_IDS,
        augmented=marked(1000, len(TRAIN_IDS), num_views=4),
        evaluation=marked(0, 3, num_views=1),
        synthetic={name: marked(begin, 10) for name, begin in POOLS.items()},
        num_classes=3,
    )
    return dataclasses.replace(data, **changes)


def added(arm: str, ratio: float, seed_index: int = 0, data: TrialData | None = None, weight: float = 1.0):
    """Marks, classes and weights of the synthetic images of an arm."""
    found = training_set(data or data_of(), arm, ratio, seed_index, weight, 5)
    weights = None if found.weights is None else found.weights[found.num_real :]
    return found.inputs[found.num_real :, 0, 0].astype(int), found.class_ids[found.num_real :], weights


@pytest.mark.parametrize("arm", ["real", "balanced", "balanced_softmax"])
def test_free_arms_see_the_real_images(arm: str):
    found = training_set(data_of(), arm, 0.0, 0, 0.5, 5)
    assert np.array_equal(found.inputs, marked(0, 12))
    assert np.array_equal(found.class_ids, TRAIN_IDS)
    assert found.weights is None


@pytest.mark.parametrize(("arm", "begins"), [("token", (100, 200)), ("raw", (300, 400))])
def test_a_source_adds_its_share_to_each_weak_class(arm: str, begins: tuple[int, int]):
    marks, classes, _ = added(arm, 1.5)
    assert classes.tolist() == [1] * 6 + [2] * 3
    for class_id, begin in zip((1, 2), begins, strict=True):
        of_class = marks[classes == class_id]
        assert ((of_class >= begin) & (of_class < begin + 10)).all()
        assert len(set(of_class)) == len(of_class)


def test_a_larger_ratio_adds_to_a_smaller_one_and_seeds_differ():
    few, classes, _ = added("token", 0.5)
    many, more_classes, _ = added("token", 2.0)
    for class_id in (1, 2):
        small, large = few[classes == class_id], many[more_classes == class_id]
        assert large[: len(small)].tolist() == small.tolist()
    assert added("token", 2.0, seed_index=1)[0].tolist() != many.tolist()
    assert added("token", 2.0)[0].tolist() == many.tolist()


def test_the_negative_control_labels_one_tokens_images_as_the_other_class():
    marks, classes, _ = added("shuffled_token", 1.0)
    assert classes.tolist() == [1] * 4 + [2] * 2
    assert ((marks[classes == 1] >= 200) & (marks[classes == 1] < 210)).all()
    assert ((marks[classes == 2] >= 100) & (marks[classes == 2] < 110)).all()


def test_an_arm_on_top_of_a_control_has_that_controls_images_and_the_tokens():
    assert (control_of("balanced+token"), source_of("balanced+token")) == ("balanced", "token")
    found = training_set(data_of(), stacked_arm("augmented"), 1.0, 0, 1.0, 5)
    assert found.inputs.shape == (12 + 6, 4, 3), "two views of a synthetic image are shown twice"
    assert np.array_equal(found.inputs[:12], marked(1000, 12, 4))
    plain = training_set(data_of(), stacked_arm("balanced"), 1.0, 0, 1.0, 5)
    assert np.array_equal(plain.inputs, training_set(data_of(), "token", 1.0, 0, 1.0, 5).inputs)


def test_the_replacing_arm_brings_whole_pools():
    found = training_set(data_of(), "token_replace", 0.3, 0, 1.0, 5)
    assert found.num_real == 12
    assert sorted(found.inputs[12:, 0, 0].astype(int)) == [*range(100, 110), *range(200, 210)]


def test_the_repeated_arm_shows_real_images_again_each_before_one_comes_twice():
    found = training_set(data_of(), "repeated", 1.5, 0, 0.5, 5)
    marks, classes = found.inputs[12:, 0, 0].astype(int), found.class_ids[12:]
    assert classes.tolist() == [1] * 6 + [2] * 3 == TRAIN_IDS[marks].tolist()
    assert sorted(marks[:4]) == [6, 7, 8, 9]
    assert found.weights is None
    token = training_set(data_of(), "token", 1.5, 0, 1.0, 5)
    assert np.array_equal(found.class_ids, token.class_ids), "only the images differ"


def test_weights_of_curation_and_of_the_arm_multiply_and_nought_leaves_out():
    weights = {"1/token": np.array([0.0, 1, 0.5, 1, 1, 1, 1, 1, 1, 0.25])}
    marks, classes, found = added("token", 2.0, data=data_of(weights=weights), weight=0.2)
    expected = [0.2 * weights["1/token"][mark - 100] if mark < 200 else 0.2 for mark in marks]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert 100 not in marks
    assert (classes == 1).sum() == 8


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
        ("token", {"1/token": np.array([0.0] * 3 + [1.0] * 7)}, r"10 were made and 7 of them kept: .* at least 15"),
    ],
)
def test_a_ratio_beyond_the_pool_says_how_many_to_draw(arm: str, weights: dict, message: str):
    data = data_of(weights=weights)
    with pytest.raises(ValueError, match=message):
        check_ratios(data, [("real", 0.0), (arm, 3.0)])
    with pytest.raises(ValueError, match=message):
        training_set(data, arm, 3.0, 0, 1.0, 5)
    check_ratios(data, [("real", 0.0), (arm, 1.0), ("token_replace", 3.0), ("repeated", 3.0)])


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
        ({"synthetic": {"1/token": broken(4, np.nan)}}, "images '1/token': features hold NaN"),
        ({"synthetic": {"1/token": marked(0, 0)}}, "images '1/token': there are none"),
        ({"weights": {"1/token": np.ones(9)}}, "weights of '1/token'"),
        ({"weights": {"1/token": np.full(10, np.nan)}}, "weights of '1/token'"),
        ({"weights": {"1/token": np.full(10, -1.0)}}, "weights of '1/token'"),
    ],
)
def test_unfit_arrays_are_refused_before_a_trial(changes: dict, message: str):
    check_trial_data(data_of())
    with pytest.raises(ValueError, match=message):
        check_trial_data(data_of(**changes))


def test_the_planned_arms():
    config = SweepConfig(ratios=(2.0, 1.0), free_arms=("real", "balanced"), replace_probabilities=(0.5, 0.3))
    free = [("real", 0.0), ("balanced", 0.0)]
    assert planned_arms(config, {}) == free
    assert planned_arms(config, {"raw": 3}) == [*free, ("raw", 1.0), ("raw", 2.0)]
    one_token = planned_arms(config, {"token": 1})
    assert ("shuffled_token", 1.0) not in one_token, "one class has nobody to swap with"
    with_adapter = planned_arms(config, {"token": 1, "lora": 1})
    assert [arm for arm in with_adapter if arm not in one_token] == [("lora", 1.0), ("lora", 2.0)]
    both = planned_arms(config, {"token": 2})
    assert both[2:] == [
        ("token", 1.0),
        ("token", 2.0),
        ("repeated", 1.0),
        ("repeated", 2.0),
        ("shuffled_token", 1.0),
        ("shuffled_token", 2.0),
        ("token_replace", 0.3),
        ("token_replace", 0.5),
    ]
    without = dataclasses.replace(config, negative_control=False, replace_probabilities=())
    assert planned_arms(without, {"token": 2}) == both[:6]


@pytest.mark.parametrize("arm", ["token", "raw", "shuffled_token", "token_replace", "balanced+token"])
def test_targets_of_synthetic_images_alone_are_softened(arm: str):
    found = training_set(data_of(), arm, 0.5, 0, 1.0, 5, 0.3)
    assert found.smoothing is not None
    assert (found.smoothing[: found.num_real] == 0).all()
    assert len(found.smoothing) == len(found.class_ids) > found.num_real
    assert (found.smoothing[found.num_real :] == np.float32(0.3)).all()


@pytest.mark.parametrize(("arm", "smoothing"), [("token", 0.0), ("repeated", 0.3), ("real", 0.3), ("augmented", 0.3)])
def test_real_images_keep_their_targets(arm: str, smoothing: float):
    assert training_set(data_of(), arm, 1.0, 0, 1.0, 5, smoothing).smoothing is None
