"""The loss of a batch against its formula."""

import numpy as np
import pytest
import torch
from scipy import special

from flowerti.classifier.batch_loss import BatchLoss
from flowerti.classifier.batches import LabelledInputs, Treatment, mix_batch

LONG_TAIL = np.repeat(np.arange(4), [60, 3, 10, 1])


def labelled(class_ids: np.ndarray) -> LabelledInputs:
    return LabelledInputs(inputs=np.zeros((len(class_ids), 1, 2), np.float32), class_ids=class_ids, num_classes=4)


def test_balanced_softmax_is_the_formula() -> None:
    """Ren et al. 2020, eq. 4: -log(n_y exp(z_y) / sum_j n_j exp(z_j))."""
    logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    image_ids = np.array([0, 61, 65, 73, 30])
    loss = BatchLoss(labelled(LONG_TAIL), 0.0, Treatment(balanced_softmax=True), torch.device("cpu"))
    counts, true_ids = np.array([60, 3, 10, 1]), LONG_TAIL[image_ids]
    likelihood = counts * np.exp(logits.astype(float))
    expected = -np.log(likelihood[np.arange(5), true_ids] / likelihood.sum(axis=1)).mean()
    assert float(loss(torch.from_numpy(logits), torch.from_numpy(image_ids))) == pytest.approx(expected, rel=1e-5)


def test_images_beyond_the_counted_ones_do_not_weaken_balanced_softmax() -> None:
    """Ten more images of the rare class in the training set, whose loss is corrected by its one real image."""
    more = np.concatenate([LONG_TAIL, np.full(10, 3)])
    logits, image_ids = torch.zeros(2, 4), torch.tensor([0, len(more) - 1])
    treatment = Treatment(balanced_softmax=True, num_counted=len(LONG_TAIL))
    found = BatchLoss(labelled(more), 0.0, treatment, torch.device("cpu"))(logits, image_ids)
    assert float(found) == pytest.approx(-(np.log(60 / 74) + np.log(1 / 74)) / 2)


def test_smoothing_and_weights_are_the_formula() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    image_ids = np.array([0, 61, 73])
    weights = np.random.default_rng(1).uniform(0.1, 3, len(LONG_TAIL)).astype(np.float32)
    loss = BatchLoss(labelled(LONG_TAIL), 0.2, Treatment(weights=weights), torch.device("cpu"))
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
    loss = BatchLoss(labelled(LONG_TAIL), label_smoothing, Treatment(smoothing=smoothing), torch.device("cpu"))
    own = smoothing[image_ids, None].astype(float)
    target = (1 - own) * np.eye(4)[LONG_TAIL[image_ids]] + own / 4
    np.testing.assert_allclose(loss.targets(torch.from_numpy(image_ids)).numpy(), target, atol=1e-6)
    target = (1 - label_smoothing) * target + label_smoothing / 4
    expected = -(target * special.log_softmax(logits.astype(float), axis=1)).sum(axis=1).mean()
    assert float(loss(torch.from_numpy(logits), torch.from_numpy(image_ids))) == pytest.approx(expected, rel=1e-5)


def test_soft_targets_are_mixed_like_hard_ones() -> None:
    """Mixing is linear: softening before it is softening after it, with the shares of both images."""
    smoothing = np.array([0.0, 0.6, 0.2, 0.0], np.float32)
    soft = BatchLoss(labelled(np.arange(4)), 0.0, Treatment(smoothing=smoothing), torch.device("cpu"))
    inputs = torch.zeros(4, 3, 6, 6)
    _, mixed = mix_batch(inputs, soft.targets(torch.arange(4)), 4, "mixup", 5)
    _, hard = mix_batch(inputs, torch.arange(4), 4, "mixup", 5)
    share = float(hard[0, 0])
    spread = share * smoothing + (1 - share) * np.roll(smoothing, 1)
    expected = hard.numpy() * (1 - smoothing) + spread[:, None] / 4
    np.testing.assert_allclose(mixed.numpy(), expected, atol=1e-6)


def test_balanced_softmax_refuses_a_class_without_images() -> None:
    with pytest.raises(ValueError, match="class 2 has no training image"):
        BatchLoss(labelled(np.array([0, 1, 3])), 0.0, Treatment(balanced_softmax=True), torch.device("cpu"))


def test_the_loss_of_a_mixed_target_is_the_mixture_of_losses() -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32))
    loss = BatchLoss(labelled(LONG_TAIL), 0.0, Treatment(balanced_softmax=True), torch.device("cpu"))
    ids = torch.tensor([0, 61])
    mixed = torch.tensor([[0.3, 0.7, 0, 0], [0.7, 0.3, 0, 0]])
    own, other = loss.of_targets(logits, loss.targets(ids), ids), loss.of_targets(logits, torch.tensor([1, 0]), ids)
    one_by_one = [loss.of_targets(logits[i : i + 1], mixed[i : i + 1], ids[i : i + 1]) for i in range(2)]
    parts = [loss.of_targets(logits[i : i + 1], torch.tensor([t]), ids[i : i + 1]) for i in range(2) for t in (0, 1)]
    assert float(sum(one_by_one)) == pytest.approx(float(0.3 * parts[0] + 0.7 * (parts[1] + parts[2]) + 0.3 * parts[3]))
    assert float(own) != pytest.approx(float(other))


@pytest.mark.parametrize("smoothing", [None, 0.3])
def test_a_shared_label_is_the_sum_of_the_losses_of_both_classes(smoothing: float | None) -> None:
    """Cross-entropy is linear in the target: l CE(own) + (1 - l) CE(other)."""
    rng = np.random.default_rng(4)
    logits, image_ids = (
        torch.from_numpy(rng.normal(size=(6, 4)).astype(np.float32)),
        torch.tensor([0, 61, 73, 65, 2, 70]),
    )
    share = rng.uniform(0, 1, len(LONG_TAIL)).astype(np.float32)
    share[[0, 61]] = 0, 1
    others = (LONG_TAIL + 1 + rng.integers(3, size=len(LONG_TAIL))) % 4
    spread = None if smoothing is None else np.full(len(LONG_TAIL), smoothing, np.float32)
    shared = Treatment(own_share=share, other_ids=others, smoothing=spread, balanced_softmax=True)
    alone = Treatment(smoothing=spread, balanced_softmax=True)
    found = BatchLoss(labelled(LONG_TAIL), 0.1, shared, torch.device("cpu"))
    own = BatchLoss(labelled(LONG_TAIL), 0.1, alone, torch.device("cpu"))
    counts = np.bincount(LONG_TAIL)
    for i, image in enumerate(image_ids.tolist()):
        one, image_id = logits[i : i + 1], image_ids[i : i + 1]
        log_p = special.log_softmax(one.numpy().astype(float) + np.log(counts), axis=1)[0]
        targets = [0.9 * np.eye(4)[c] + 0.1 / 4 for c in (LONG_TAIL[image], others[image])]
        if smoothing is not None:
            targets = [0.9 * (0.7 * np.eye(4)[c] + 0.3 / 4) + 0.1 / 4 for c in (LONG_TAIL[image], others[image])]
        ce = [-(target * log_p).sum() for target in targets]
        assert float(own(one, image_id)) == pytest.approx(ce[0], rel=1e-5)
        assert float(found(one, image_id)) == pytest.approx(share[image] * ce[0] + (1 - share[image]) * ce[1], rel=1e-5)


@pytest.mark.parametrize(
    ("share", "others", "message"),
    [
        (np.full(74, 1.1, np.float32), np.zeros(74, np.int64), "own_share and other_ids must be 74 numbers"),
        (np.ones(73, np.float32), np.zeros(73, np.int64), "own_share and other_ids must be 74 numbers"),
        (np.ones(74, np.float32), None, "own_share and other_ids must be 74 numbers"),
        (None, np.zeros(74, np.int64), "own_share and other_ids must be 74 numbers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(share: np.ndarray, others: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Treatment(own_share=share, other_ids=others).check(74)
    Treatment(own_share=np.ones(74, np.float32), other_ids=np.zeros(74, np.int64)).check(74)


def test_a_label_is_shared_with_a_class_that_is_there() -> None:
    shared = Treatment(own_share=np.ones(74, np.float32), other_ids=np.full(74, 4))
    with pytest.raises(ValueError, match=r"other_ids must lie in \[0, 4\), but span 4 to 4"):
        BatchLoss(labelled(LONG_TAIL), 0.0, shared, torch.device("cpu"))
