"""What each arm trains on, counted by hand from marked arrays."""

import numpy as np
import pytest
from trial_arrays import BALANCED_TOKEN, EVERY_ARM, POOLS, data_of, marked

from flowerti.config.experiment import SweepConfig
from flowerti.sweep.mixing import Mixture, mix
from flowerti.sweep.repetitions import Repetition
from flowerti.sweep.rounds import TrialPlan
from flowerti.sweep.trial_data import PoolKey, TrialData
from flowerti.tables.arms import Arm


def mixed(
    arm: str | Arm,
    ratio: float,
    repetition: int = 0,
    data: TrialData | None = None,
    weight: float = 1.0,
    smoothing: float = 0.0,
) -> Mixture:
    plan = TrialPlan(
        arm=EVERY_ARM[arm] if isinstance(arm, str) else arm,
        ratio=ratio,
        repetition=Repetition(index=repetition),
        split="validation",
    )
    return mix(data or data_of(), plan, SweepConfig(synthetic_weight=weight, synthetic_smoothing=smoothing), 5)


def added(arm: str, ratio: float, repetition: int = 0, data: TrialData | None = None, weight: float = 1.0):
    """Marks, classes and weights of the synthetic images of an arm."""
    found = mixed(arm, ratio, repetition, data, weight)
    weights = None if found.weights is None else found.weights[found.num_real :]
    return found.inputs[found.num_real :, 0, 0].astype(int), found.class_ids[found.num_real :], weights


@pytest.mark.parametrize("arm", ["real", "balanced", "balanced_softmax"])
def test_free_arms_see_the_real_images(arm: str):
    found = mixed(arm, 0.0, weight=0.5)
    assert np.array_equal(found.inputs, marked(0, 12))
    assert np.array_equal(found.class_ids, data_of().train_ids)
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
    assert added("token", 2.0, repetition=1)[0].tolist() != many.tolist()
    assert added("token", 2.0)[0].tolist() == many.tolist()


def test_the_negative_control_labels_one_tokens_images_as_the_other_class():
    marks, classes, _ = added("shuffled_token", 1.0)
    assert classes.tolist() == [1] * 4 + [2] * 2
    assert ((marks[classes == 1] >= 200) & (marks[classes == 1] < 210)).all()
    assert ((marks[classes == 2] >= 100) & (marks[classes == 2] < 110)).all()


def test_an_arm_on_top_of_a_control_has_that_controls_images_and_the_tokens():
    found = mixed("augmented+token", 1.0)
    assert found.inputs.shape == (12 + 6, 4, 3), "two views of a synthetic image are shown twice"
    assert np.array_equal(found.inputs[:12], marked(1000, 12, 4))
    assert np.array_equal(mixed(BALANCED_TOKEN, 1.0).inputs, mixed("token", 1.0).inputs)


def test_flags_of_an_arm_can_be_combined():
    """None of these has a row in the package."""
    again = Arm(name="a", label="", repeats="raw", level="ratio", is_augmented=True)
    found = mixed(again, 1.0)
    assert np.isin(found.inputs[12:, 0, 0], 1000 + np.arange(12)).all(), "augmented views of real images"
    swapped = Arm(name="b", label="", source="raw", level="probability", replaces=True, donor="next")
    found = mixed(swapped, 0.4)
    assert ((found.inputs[12:, 0, 0] >= 400) == (found.class_ids[12:] == 1)).all(), "class 1 gets what class 2 has"
    assert len(found.class_ids) == 12 + 20


def test_augmented_features_that_are_missing_are_asked_for():
    with pytest.raises(ValueError, match="arm augmented: features of augmented training images are missing"):
        mixed("augmented", 0.0, data=data_of(augmented=None))
    photos = np.zeros((12, 4, 4, 3), np.uint8)
    found = mixed("augmented", 0.0, data=data_of(train=photos, augmented=None))
    assert found.inputs is photos or np.array_equal(found.inputs, photos), "images are augmented as they are trained on"


def test_the_replacing_arm_brings_whole_pools():
    found = mixed("token_replace", 0.3)
    assert found.num_real == 12
    assert sorted(found.inputs[12:, 0, 0].astype(int)) == [*range(100, 110), *range(200, 210)]


@pytest.mark.parametrize("arm", ["augmented+token", "augmented+token_replace"])
def test_where_real_images_are_augmented_synthetic_ones_are_too(arm: str):
    views = {pool: marked(begin + 5000, 10, num_views=4) for pool, begin in POOLS.items()}
    for synthetic, first in ((views, 5000), ({}, 0)):
        found = mixed(arm, 1.0, data=data_of(augmented_synthetic=synthetic))
        marks = found.inputs[:, 0, 0].astype(int)
        assert sorted(marks[:12]) == [*range(1000, 1012)]
        assert {mark - first for mark in marks[12:].tolist()} <= {*range(100, 110), *range(200, 210)}
        assert found.inputs.shape[1] == 4
    plain = mixed("token_replace", 1.0, data=data_of(augmented_synthetic=views))
    assert plain.inputs[12:, 0, 0].max() < 1000, "no arm that does not augment"


def test_the_repeated_arm_shows_real_images_again_each_before_one_comes_twice():
    found = mixed("repeated", 1.5, weight=0.5)
    marks, classes = found.inputs[12:, 0, 0].astype(int), found.class_ids[12:]
    assert classes.tolist() == [1] * 6 + [2] * 3 == data_of().train_ids[marks].tolist()
    assert sorted(marks[:4]) == [6, 7, 8, 9]
    assert found.weights is None
    token = mixed("token", 1.5)
    assert np.array_equal(found.class_ids, token.class_ids), "only the images differ"


def test_weights_of_curation_and_of_the_arm_multiply_and_nought_leaves_out():
    weights = {PoolKey(1, "token"): np.array([0.0, 1, 0.5, 1, 1, 1, 1, 1, 1, 0.25])}
    marks, classes, found = added("token", 2.0, data=data_of(weights=weights), weight=0.2)
    expected = [0.2 * weights[PoolKey(1, "token")][mark - 100] if mark < 200 else 0.2 for mark in marks]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert 100 not in marks
    assert (classes == 1).sum() == 8


@pytest.mark.parametrize("arm", ["token", "raw", "shuffled_token", "token_replace", "balanced+token"])
def test_targets_of_synthetic_images_alone_are_softened(arm: str):
    found = mixed(arm, 0.5, smoothing=0.3)
    assert found.smoothing is not None
    assert (found.smoothing[: found.num_real] == 0).all()
    assert len(found.smoothing) == len(found.class_ids) > found.num_real
    assert (found.smoothing[found.num_real :] == np.float32(0.3)).all()


@pytest.mark.parametrize(("arm", "smoothing"), [("token", 0.0), ("repeated", 0.3), ("real", 0.3), ("augmented", 0.3)])
def test_real_images_keep_their_targets(arm: str, smoothing: float):
    assert mixed(arm, 1.0, smoothing=smoothing).smoothing is None
