"""F1 against counts by hand, and intervals against their equation."""

import numpy as np
import pytest

from flowerti.metrics.classification import f1_scores, wilson_interval


def _loop_f1(true_ids, predicted_ids, class_id):
    pairs = list(zip(true_ids, predicted_ids, strict=True))
    hits = sum(t == class_id == p for t, p in pairs)
    wrong = sum((t == class_id) != (p == class_id) for t, p in pairs)
    return 0.0 if hits == wrong == 0 else hits / (hits + wrong / 2)


def test_f1_is_the_hand_count_for_every_trial():
    rng = np.random.default_rng(15)
    true_ids = rng.integers(0, 4, size=30)
    predicted = np.where(rng.random((2, 3, 30)) < 0.5, true_ids, rng.integers(0, 4, (2, 3, 30)))
    scores = f1_scores(true_ids, predicted, 6)  # classes 4 and 5 occur nowhere
    assert scores.shape == (2, 3, 6)
    for index in np.ndindex(scores.shape):
        expected = _loop_f1(true_ids.tolist(), predicted[index[:2]].tolist(), index[2])
        assert scores[index] == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(f1_scores(true_ids, predicted[1, 2], 6), scores[1, 2])


@pytest.mark.parametrize("bad_id", [-1, 3])
def test_f1_refuses_class_ids_out_of_range(bad_id):
    ids = np.array([0, 1, 2])
    with pytest.raises(ValueError, match=r"^predicted_ids: "):
        f1_scores(ids, np.array([0, bad_id, 2]), 3)
    with pytest.raises(ValueError, match=r"^true_ids: "):
        f1_scores(np.array([0, bad_id, 2]), ids, 3)


@pytest.mark.parametrize(("hits", "num"), [(0, 10), (8, 10), (10, 10), (250, 400)])
def test_wilsons_interval_solves_its_equation(hits: int, num: int):
    for end in wilson_interval(hits, num):
        if 1e-12 < end < 1 - 1e-12:
            assert abs(hits / num - end) == pytest.approx(1.959963985 * np.sqrt(end * (1 - end) / num), rel=1e-6)


def test_wilsons_interval_refuses_what_is_no_share():
    for hits, num in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="num_hits"):
            wilson_interval(hits, num)
