"""How often each image is drawn, replaced and mixed, and what does not fit together."""

import numpy as np
import pytest
import torch
from scipy import stats

from flowerti.classifier.batches import (
    Draws,
    LabelledInputs,
    TrainingRun,
    Treatment,
    begin_balanced,
    draw_batches,
    mix_batch,
    replace_draws,
)
from flowerti.config.experiment import ClassifierConfig

LONG_TAIL = np.repeat(np.arange(4), [60, 3, 10, 1])


def draw(class_ids: np.ndarray, batch_size: int, num_steps: int, num_views: int, *, balanced: bool, seed: int) -> Draws:
    num_classes = int(class_ids.max()) + 1
    train = LabelledInputs(
        inputs=np.zeros((len(class_ids), num_views, 2), np.float32), class_ids=class_ids, num_classes=num_classes
    )
    run = TrainingRun(config=ClassifierConfig(batch_size=batch_size), seed=seed, num_steps=num_steps)
    return draw_batches(train, run, Treatment(balanced=balanced))


def test_uniform_draws_are_whole_orders() -> None:
    draws = draw(np.zeros(10, np.int64), 4, 15, 1, balanced=False, seed=2**63 - 1)
    orders = draws.images.flatten().reshape(6, 10)
    for order in orders:
        assert sorted(order.tolist()) == list(range(10))
    assert len(np.unique(orders.numpy(), axis=0)) > 1


def test_balanced_draws_take_classes_and_their_images_equally_often() -> None:
    shuffled = np.random.default_rng(0).permutation(LONG_TAIL)
    drawn = draw(shuffled, 50, 200, 1, balanced=True, seed=1).images.flatten().numpy()
    assert stats.chisquare(np.bincount(shuffled[drawn], minlength=4)).pvalue > 0.001
    for class_id in range(3):
        of_class = np.bincount(drawn, minlength=len(shuffled))[shuffled == class_id]
        assert stats.chisquare(of_class).pvalue > 0.001


def test_balanced_draws_leave_out_classes_without_images() -> None:
    class_ids = np.array([0, 0, 3])
    drawn = draw(class_ids, 20, 20, 1, balanced=True, seed=0).images.flatten().numpy()
    assert stats.binomtest(int((drawn == 2).sum()), 400, 0.5).pvalue > 0.001


def test_views_and_flips_are_uniform() -> None:
    draws = draw(LONG_TAIL, 50, 100, 3, balanced=False, seed=0)
    assert stats.chisquare(np.bincount(draws.views.flatten(), minlength=3)).pvalue > 0.001
    assert stats.chisquare(np.bincount(draws.flips.flatten(), minlength=2)).pvalue > 0.001


def test_number_of_views_does_not_change_the_images() -> None:
    one, four = (draw(LONG_TAIL, 8, 30, num_views, balanced=False, seed=5) for num_views in (1, 4))
    assert torch.equal(one.images, four.images)


def test_seed_decides() -> None:
    first, again, other = (draw(LONG_TAIL, 8, 30, 2, balanced=True, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.views, again.views)
    assert not torch.equal(first.images, other.images)


@pytest.mark.parametrize("smoothing", [[0.0], [0.0, 1.0], [0.0, -0.1], [0.0, float("nan")]])
def test_unfit_smoothing_is_refused(smoothing: list[float]) -> None:
    with pytest.raises(ValueError, match=r"smoothing must be 2 numbers in \[0, 1\)"):
        Treatment(smoothing=np.array(smoothing, np.float32)).check(2)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, float("nan")]])
def test_unfit_weights_are_refused(weights: list[float]) -> None:
    treatment = Treatment(weights=np.array(weights, np.float32))
    train = LabelledInputs(inputs=np.zeros((2, 1, 3), np.float32), class_ids=np.array([0, 1]), num_classes=2)
    with pytest.raises(ValueError, match="weights must be 2 positive"):
        draw_batches(train, TrainingRun(config=ClassifierConfig(), seed=0, num_steps=1), treatment)


@pytest.mark.parametrize(
    ("num", "class_ids", "message"),
    [
        (0, [], "0 entries for 0 images"),
        (3, [0, 1], "2 entries for 3 images"),
        (2, [0, 4], r"must lie in \[0, 4\), but span 0 to 4"),
        (2, [-1, 3], "span -1 to 3"),
    ],
)
def test_inputs_and_classes_that_do_not_fit_are_refused(num: int, class_ids: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelledInputs(inputs=np.zeros((num, 1, 3)), class_ids=np.array(class_ids, np.int64), num_classes=4)


def test_replaced_draws_keep_their_class_and_come_as_often_as_asked() -> None:
    class_ids = np.array([0] * 6 + [1] * 4 + [1] * 5 + [0] * 0)  # the last five can only replace class 1
    drawn = draw(class_ids[:10], 50, 200, 1, balanced=False, seed=0).images
    replaced = replace_draws(drawn, class_ids, 10, 0.3, 7)
    before, after = class_ids[drawn.numpy()], class_ids[replaced.numpy()]
    assert (before == after).all()
    changed = (replaced != drawn).numpy()
    assert not changed[before == 0].any(), "a class without replacements keeps its images"
    num, of_class = int(changed[before == 1].sum()), int((before == 1).sum())
    assert stats.binomtest(num, of_class, 0.3).pvalue > 0.001
    assert stats.chisquare(np.bincount(replaced[replaced >= 10].numpy())[10:]).pvalue > 0.001
    assert torch.equal(replace_draws(drawn, class_ids, 10, 0.3, 7), replaced)
    assert not torch.equal(replace_draws(drawn, class_ids, 10, 0.3, 8), replaced)
    assert (replace_draws(drawn, class_ids, 10, 1.0, 7)[torch.from_numpy(before == 1)] >= 10).all()
    assert torch.equal(replace_draws(drawn, class_ids, None, 0.3, 7), drawn)


def test_a_larger_probability_replaces_more_of_the_same() -> None:
    class_ids = np.zeros(20, np.int64)
    drawn = draw(class_ids[:10], 20, 20, 1, balanced=False, seed=0).images
    few, many = (replace_draws(drawn, class_ids, 10, p, 3) for p in (0.2, 0.6))
    assert torch.equal(few[few >= 10], many[few >= 10])
    assert (many >= 10).sum() > (few >= 10).sum()


@pytest.mark.parametrize("how", ["mixup", "cutmix"])
def test_targets_are_mixed_in_the_shares_of_the_pixels(how: str) -> None:
    inputs = torch.arange(4.0)[:, None, None, None].expand(4, 3, 6, 6).contiguous()
    mixed, targets = mix_batch(inputs, torch.arange(4), 4, how, 5)
    expected = (targets * torch.arange(4.0)).sum(dim=1)
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(4))
    assert ((targets > 0).sum(dim=1) == 2).all()


def test_the_first_steps_draw_classes_equally_and_prefer_what_is_beyond_the_real_ones() -> None:
    """Class 2 has four images beyond the first 74; the others have none."""
    class_ids = np.concatenate([np.repeat(np.arange(3), [60, 12, 2]), np.full(4, 2)])
    before = torch.from_numpy(np.random.default_rng(0).integers(74, size=(50, 60)))
    found = begin_balanced(before, class_ids, 74, 0.4, 9)
    assert torch.equal(found[20:], before[20:]), "what comes after is the control's"
    first = found[:20].flatten().numpy()
    shares = np.bincount(class_ids[first]) / len(first)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.05)
    assert set(first[class_ids[first] == 2].tolist()) == {74, 75, 76, 77}
    assert set(first[class_ids[first] == 1].tolist()) == set(range(60, 72))
    assert torch.equal(found, begin_balanced(before, class_ids, 74, 0.4, 9))
    assert not torch.equal(found, begin_balanced(before, class_ids, 74, 0.4, 8))


@pytest.mark.parametrize(("share", "num_changed"), [(0.0, 0), (0.5, 5), (1.0, 10), (0.04, 0)])
def test_a_share_of_the_steps_comes_first(share: float, num_changed: int) -> None:
    class_ids, before = np.repeat(np.arange(2), [30, 10]), torch.zeros((10, 40), dtype=torch.int64)
    found = begin_balanced(before, class_ids, None, share, 0)
    assert (found != 0).any(dim=1).tolist() == [True] * num_changed + [False] * (10 - num_changed)
    treatment = Treatment(first_share=share)
    train = LabelledInputs(inputs=np.zeros((40, 1, 2), np.float32), class_ids=class_ids, num_classes=2)
    run = TrainingRun(config=ClassifierConfig(batch_size=40), seed=0, num_steps=10)
    plain, staged = draw_batches(train, run, Treatment()), draw_batches(train, run, treatment)
    differs = (plain.images != staged.images).any(dim=1)
    assert differs.tolist() == [True] * num_changed + [False] * (10 - num_changed)
    assert torch.equal(plain.views, staged.views) and torch.equal(plain.flips, staged.flips)
