"""How often each image is drawn, and the loss against its formula."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from flowerti.classifier.batches import BatchLoss, Treatment, check_training_set, draw, mix_batch, replace_draws

LONG_TAIL = np.repeat(np.arange(4), [60, 3, 10, 1])


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


def test_balanced_softmax_is_the_formula() -> None:
    """Ren et al. 2020, eq. 4: -log(n_y exp(z_y) / sum_j n_j exp(z_j))."""
    logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    image_ids = np.array([0, 61, 65, 73, 30])
    loss = BatchLoss(LONG_TAIL, 4, 0.0, Treatment(balanced_softmax=True), torch.device("cpu"))
    counts, true_ids = np.array([60, 3, 10, 1]), LONG_TAIL[image_ids]
    likelihood = counts * np.exp(logits.astype(float))
    expected = -np.log(likelihood[np.arange(5), true_ids] / likelihood.sum(axis=1)).mean()
    assert float(loss(torch.from_numpy(logits), torch.from_numpy(image_ids))) == pytest.approx(expected, rel=1e-5)


def test_smoothing_and_weights_are_the_formula() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    image_ids = np.array([0, 61, 73])
    weights = np.random.default_rng(1).uniform(0.1, 3, len(LONG_TAIL)).astype(np.float32)
    loss = BatchLoss(LONG_TAIL, 4, 0.2, Treatment(weights=weights), torch.device("cpu"))
    target = 0.8 * np.eye(4)[LONG_TAIL[image_ids]] + 0.2 / 4
    losses = -(target * special.log_softmax(logits.astype(float), axis=1)).sum(axis=1)
    expected = (losses * weights[image_ids] / weights.mean()).mean()
    assert float(loss(torch.from_numpy(logits), torch.from_numpy(image_ids))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_soft_targets_are_the_formula(label_smoothing: float) -> None:
    """Target of image i: (1 - s_i) on its class and s_i spread over all; the config's smoothing on top of that."""
    logits = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    image_ids = np.array([0, 61, 73])
    smoothing = np.random.default_rng(1).uniform(0, 0.9, len(LONG_TAIL)).astype(np.float32)
    loss = BatchLoss(LONG_TAIL, 4, label_smoothing, Treatment(smoothing=smoothing), torch.device("cpu"))
    own = smoothing[image_ids, None].astype(float)
    target = (1 - own) * np.eye(4)[LONG_TAIL[image_ids]] + own / 4
    np.testing.assert_allclose(loss.targets(torch.from_numpy(image_ids)).numpy(), target, atol=1e-6)
    target = (1 - label_smoothing) * target + label_smoothing / 4
    expected = -(target * special.log_softmax(logits.astype(float), axis=1)).sum(axis=1).mean()
    assert float(loss(torch.from_numpy(logits), torch.from_numpy(image_ids))) == pytest.approx(expected, rel=1e-5)


def test_soft_targets_are_mixed_like_hard_ones() -> None:
    """Mixing is linear: softening before it is softening after it, with the shares of both images."""
    smoothing = np.array([0.0, 0.6, 0.2, 0.0], np.float32)
    soft = BatchLoss(np.arange(4), 4, 0.0, Treatment(smoothing=smoothing), torch.device("cpu"))
    inputs = torch.zeros(4, 3, 6, 6)
    _, mixed = mix_batch(inputs, soft.targets(torch.arange(4)), 4, "mixup", 5)
    _, hard = mix_batch(inputs, torch.arange(4), 4, "mixup", 5)
    share = float(hard[0, 0])
    spread = share * smoothing + (1 - share) * np.roll(smoothing, 1)
    expected = hard.numpy() * (1 - smoothing) + spread[:, None] / 4
    np.testing.assert_allclose(mixed.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("smoothing", [[0.0], [0.0, 1.0], [0.0, -0.1], [0.0, float("nan")]])
def test_unfit_smoothing_is_refused(smoothing: list[float]) -> None:
    with pytest.raises(ValueError, match=r"smoothing must be 2 numbers in \[0, 1\)"):
        check_training_set(2, np.array([0, 1]), 4, Treatment(smoothing=np.array(smoothing, np.float32)))


def test_balanced_softmax_refuses_a_class_without_images() -> None:
    with pytest.raises(ValueError, match="class 2 has no training image"):
        BatchLoss(np.array([0, 1, 3]), 4, 0.0, Treatment(balanced_softmax=True), torch.device("cpu"))


@pytest.mark.parametrize(
    ("num", "class_ids", "weights", "message"),
    [
        (0, [], None, "0 entries for 0 training images"),
        (3, [0, 1], None, "2 entries for 3 training images"),
        (2, [0, 4], None, r"must lie in \[0, 4\), but span 0 to 4"),
        (2, [-1, 3], None, "span -1 to 3"),
        (2, [0, 1], [1.0], "weights must be 2 positive"),
        (2, [0, 1], [1.0, 0.0], "weights must be 2 positive"),
        (2, [0, 1], [1.0, float("nan")], "weights must be 2 positive"),
    ],
)
def test_misfits_are_refused(num: int, class_ids: list[int], weights: list[float] | None, message: str) -> None:
    array = None if weights is None else np.array(weights, np.float32)
    with pytest.raises(ValueError, match=message):
        check_training_set(num, np.array(class_ids, np.int64), 4, Treatment(weights=array))


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


def test_the_loss_of_a_mixed_target_is_the_mixture_of_losses() -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32))
    loss = BatchLoss(LONG_TAIL, 4, 0.0, Treatment(balanced_softmax=True), torch.device("cpu"))
    ids = torch.tensor([0, 61])
    mixed = torch.tensor([[0.3, 0.7, 0, 0], [0.7, 0.3, 0, 0]])
    own, other = loss.of_targets(logits, loss.targets(ids), ids), loss.of_targets(logits, torch.tensor([1, 0]), ids)
    one_by_one = [loss.of_targets(logits[i : i + 1], mixed[i : i + 1], ids[i : i + 1]) for i in range(2)]
    parts = [loss.of_targets(logits[i : i + 1], torch.tensor([t]), ids[i : i + 1]) for i in range(2) for t in (0, 1)]
    assert float(sum(one_by_one)) == pytest.approx(float(0.3 * parts[0] + 0.7 * (parts[1] + parts[2]) + 0.3 * parts[3]))
    assert float(own) != pytest.approx(float(other))
