"""Recognition by an independent head and training on one source alone, on planted clusters with known answers."""

import numpy as np
import pytest
import torch

from flowerti.classifier.training import Head
from flowerti.metrics.wilson import wilson_interval
from flowerti.scoring.recognition import num_head_steps, recognise, train_independent_head, train_on_source

NAMES = ("rose", "lily", "iris")
CENTRES = 3 * np.eye(3, 8)


def _features(num, class_id, seed, spread=0.5):
    rng = np.random.default_rng(seed)
    return (CENTRES[class_id] + rng.normal(0, spread, (num, 8))).astype(np.float32)


def _axis_head():
    """Predicts the class of the largest of the first three features."""
    return Head(torch.eye(3, 8), torch.zeros(3))


def test_recognised_images_are_counted_and_the_commonest_mistake_is_named():
    features = np.concatenate([_features(n, i, i, 0.1) for i, n in ((1, 6), (0, 3), (2, 1))])
    (found,) = recognise(_axis_head(), NAMES, {("lily", "token"): features})
    assert (found.num_images, found.num_recognised, found.share) == (10, 6, 0.6)
    assert found.mistaken_for == "rose"
    assert (found.low, found.high) == wilson_interval(6, 10)
    # Wilson 1927 for 6 of 10 at 95 %
    assert (found.low, found.high) == pytest.approx((0.3127, 0.8318), abs=1e-4)
    (all_right,) = recognise(_axis_head(), NAMES, {("iris", "real"): _features(5, 2, 9, 0.1)})
    assert (all_right.num_recognised, all_right.mistaken_for) == (5, "")


def test_independent_head_learns_rare_classes_as_well():
    sizes = (200, 200, 4)
    features = np.concatenate([_features(n, i, i, 1.5) for i, n in enumerate(sizes)])[:, None]
    class_ids = np.repeat(np.arange(3), sizes)
    head = train_independent_head(features, class_ids, 3, seed=0)
    test = {(name, "real"): _features(300, i, 50 + i, 1.5) for i, name in enumerate(NAMES)}
    shares = [found.share for found in recognise(head, NAMES, test)]
    assert min(shares) > 0.6
    again = train_independent_head(features, class_ids, 3, seed=0)
    assert torch.equal(head.weight, again.weight)
    assert not torch.equal(head.weight, train_independent_head(features, class_ids, 3, seed=1).weight)


def test_steps_are_passes_over_the_images_with_a_least_number():
    assert num_head_steps(1020) == 30 * 32
    assert num_head_steps(20) == 300


def test_independent_head_needs_every_class():
    with pytest.raises(ValueError, match="class 1 has no real training image"):
        train_independent_head(_features(4, 0, 0)[:, None], np.array([0, 0, 2, 2]), 3, seed=0)


@pytest.mark.parametrize(
    ("key", "features", "message"),
    [
        (("fern", "raw"), _features(3, 0, 0), "the head does not know the class"),
        (("lily", "raw"), _features(0, 0, 0), "no images"),
        (("lily", "raw"), _features(3, 0, 0)[:, :5], "width 5"),
        (("lily", "raw"), _features(3, 0, 0) * np.float32("nan"), "NaN"),
    ],
)
def test_errors_of_recognition_name_class_and_source(key, features, message):
    with pytest.raises(ValueError, match=f"^class {key[0]!r}, source {key[1]!r}: .*{message}"):
        recognise(_axis_head(), NAMES, {key: features})


def _train(sources, num=12):
    return {
        (name, source): _features(num + i, class_id, 100 * i + class_id)[:, None]
        for i, (source, ids) in enumerate(sources.items())
        for name, class_id in zip(NAMES, ids, strict=True)
    }


HELD_OUT = {name: _features(30, i, 70 + i) for i, name in enumerate(NAMES)}


def test_a_good_source_is_worth_as_much_as_real_images_and_a_muddled_one_is_not():
    # "raw" shows the lily for the rose and the rose for the lily, and the iris as it is
    train = _train({"real": (0, 1, 2), "token": (0, 1, 2), "raw": (1, 0, 2)})
    records, notes = train_on_source(train, HELD_OUT, seed=0, num_seeds=3)
    assert notes == []
    by_source = {record.source: record for record in records}
    assert {(r.num_per_class, r.num_seeds, tuple(r.class_names)) for r in records} == {(12, 3, NAMES)}
    assert by_source["real"].accuracy > 0.97
    assert by_source["token"].accuracy > 0.97
    assert by_source["raw"].accuracy == pytest.approx(1 / 3, abs=0.03)
    for record in records:
        assert 0 <= record.low <= record.accuracy <= record.high <= 1


def _pair_of_classes(num_train, num_test, num_seeds):
    """Accuracy and interval on two classes that overlap, and the binomial standard error of the images alone."""
    names = NAMES[:2]
    train = {(name, "real"): _features(num_train, i, 10 + i, 3)[:, None] for i, name in enumerate(names)}
    held_out = {name: _features(num_test, i, 20 + i, 3) for i, name in enumerate(names)}
    (found,), _ = train_on_source(train, held_out, seed=0, num_seeds=num_seeds)
    return found, np.sqrt(found.accuracy * (1 - found.accuracy) / (2 * num_test))


def test_interval_of_one_seed_is_the_binomial_one():
    found, error = _pair_of_classes(100, 400, num_seeds=1)
    assert 0.6 < found.accuracy < 0.95
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert (found.low + found.high) / 2 == pytest.approx(found.accuracy, abs=0.2 * error)


def test_interval_of_several_seeds_holds_their_spread():
    train = {(name, "real"): _features(40, i, 10 + i, 3)[:, None] for i, name in enumerate(NAMES[:2])}
    # one source has two images, so that each seed draws two of the other's forty
    train |= {(name, "raw"): _features(2, i, 10 + i, 3)[:, None] for i, name in enumerate(NAMES[:2])}
    held_out = {name: _features(4000, i, 20 + i, 3) for i, name in enumerate(NAMES[:2])}
    records, _ = train_on_source(train, held_out, seed=0, num_seeds=6)
    real = next(record for record in records if record.source == "real")
    assert real.num_per_class == 2
    assert real.high - real.low > 3 * 2 * 1.96 * np.sqrt(0.25 / 8000)


def test_all_sources_get_the_number_of_the_smallest_set():
    train = _train({"real": (0, 1, 2), "token": (0, 1, 2)})
    train["iris", "token"] = train["iris", "token"][:4]
    records, _ = train_on_source(train, HELD_OUT, seed=0, num_seeds=1)
    assert [record.num_per_class for record in records] == [4, 4]


def test_a_source_that_lacks_a_class_is_left_out_with_a_note():
    train = _train({"real": (0, 1, 2), "alternative_name": (0, 1, 2)})
    del train["lily", "alternative_name"]
    records, notes = train_on_source(train, HELD_OUT, seed=0, num_seeds=1)
    assert [record.source for record in records] == ["real"]
    assert notes == ["No classifier from source alternative_name alone: it has no images of lily."]


def test_one_class_is_too_few():
    records, notes = train_on_source(_train({"real": (0, 1, 2)}), {"rose": HELD_OUT["rose"]}, seed=0)
    assert records == []
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((0, 1, 8), np.float32), "no images"),
        (np.ones((4, 1, 5), np.float32), "width 5"),
        (np.full((4, 1, 8), np.nan, np.float32), "NaN"),
    ],
)
def test_errors_of_training_name_class_and_source(features, message):
    train = _train({"real": (0, 1, 2)}) | {("lily", "real"): features}
    with pytest.raises(ValueError, match=f"^class 'lily', source 'real': .*{message}"):
        train_on_source(train, HELD_OUT, seed=0)
