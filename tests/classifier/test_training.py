"""Head training against a few lines of float64 NumPy: AdamW, its cosine, and every loss."""

import numpy as np
import pytest
import torch
from scipy import special

from flowerti.classifier.batches import LabelledInputs, TrainingRun, Treatment
from flowerti.classifier.training import Head, fit_head, steps_per_epoch
from flowerti.config.experiment import ClassifierConfig

CLASS_IDS = np.array([0] * 7 + [1] * 3 + [2] * 2)


def random_features(num_views: int = 1) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(CLASS_IDS), num_views, 5)).astype(np.float32)


def config_of(**changes: object) -> ClassifierConfig:
    settings = {"batch_size": len(CLASS_IDS), "learning_rate": 0.05, "weight_decay": 0.1, **changes}
    return ClassifierConfig(**settings)  # pyright: ignore[reportArgumentType]


def labelled(features: np.ndarray, class_ids: np.ndarray = CLASS_IDS, num_classes: int = 3) -> LabelledInputs:
    return LabelledInputs(inputs=features, class_ids=class_ids, num_classes=num_classes)


def run_of(config: ClassifierConfig, seed: int, num_steps: int) -> TrainingRun:
    return TrainingRun(config=config, seed=seed, num_steps=num_steps)


def adamw_by_hand(
    features: np.ndarray, num_steps: int, config: ClassifierConfig, prior: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Loshchilov and Hutter 2019, algorithm 2, on [features, 1] with the closed form of the gradient."""
    inputs = np.concatenate([features.astype(float), np.ones((len(features), 1))], axis=1)
    target = (1 - config.label_smoothing) * np.eye(3)[CLASS_IDS] + config.label_smoothing / 3
    parameters, first, second = (np.zeros((3, inputs.shape[1])) for _ in range(3))
    for step in range(1, num_steps + 1):
        rate = config.learning_rate * 0.5 * (1 + np.cos(np.pi * (step - 1) / num_steps))
        error = special.softmax(inputs @ parameters.T + prior, axis=1) - target
        gradient = (error * weights[:, None]).T @ inputs / len(inputs)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        unbiased = np.sqrt(second / (1 - 0.999**step)) + 1e-8
        parameters = parameters * (1 - rate * config.weight_decay) - rate * first / (1 - 0.9**step) / unbiased
    return parameters


# Balanced Softmax alone is left out: from a head of zeros the exact gradient of its bias is 0, and Adam, which divides
# a gradient by its own size, blows the rounding of that 0 up to a whole step.
@pytest.mark.parametrize(
    ("label_smoothing", "balanced_softmax", "weighted"),
    [
        (0.0, False, False),
        (0.3, False, False),
        (0.0, False, True),
        (0.3, False, True),
        (0.3, True, False),
        (0.0, True, True),
        (0.3, True, True),
    ],
)
def test_full_batch_training_is_adamw_by_hand(label_smoothing: float, balanced_softmax: bool, weighted: bool) -> None:
    """With as many images as a batch holds, every batch is all of them, so the seed does not matter."""
    config = config_of(label_smoothing=label_smoothing)
    weights = np.random.default_rng(1).uniform(0.2, 5, len(CLASS_IDS)).astype(np.float32) if weighted else None
    features = random_features()
    head = fit_head(
        labelled(features), run_of(config, 7, 12), Treatment(balanced_softmax=balanced_softmax, weights=weights)
    )
    expected = adamw_by_hand(
        features[:, 0],
        12,
        config,
        prior=np.log([7, 3, 2]) if balanced_softmax else np.zeros(3),
        weights=np.ones(len(CLASS_IDS)) if weights is None else weights / weights.mean(),
    )
    np.testing.assert_allclose(head.weight.numpy(), expected[:, :-1], atol=1e-5)
    np.testing.assert_allclose(head.bias.numpy(), expected[:, -1], atol=1e-5)
    logits = features[:, 0].astype(float) @ expected[:, :-1].T + expected[:, -1]
    np.testing.assert_allclose(head.logits(features[:, 0]), logits, atol=1e-4)


def test_soft_targets_are_learnt_by_a_head() -> None:
    """With constant features the bias learns the mean target: what is spread goes to all classes alike."""
    features, config = np.zeros((12, 1, 2), np.float32), config_of(learning_rate=0.05, weight_decay=0.0)
    smoothing = np.where(CLASS_IDS == 2, 0.6, 0.0).astype(np.float32)
    bias = fit_head(labelled(features), run_of(config, 0, 400), Treatment(smoothing=smoothing)).bias.numpy()
    target = (1 - smoothing[:, None]) * np.eye(3)[CLASS_IDS] + smoothing[:, None] / 3
    np.testing.assert_allclose(special.softmax(bias), target.mean(axis=0), atol=0.005)


def test_balanced_sampling_sees_each_class_equally_often() -> None:
    """With constant features only the bias can learn, and it learns the frequencies of the classes in the batches."""
    features = np.zeros((12, 1, 2), np.float32)
    config = config_of(batch_size=100, learning_rate=0.05, weight_decay=0.0)
    fitted = [
        special.softmax(fit_head(labelled(features), run_of(config, 0, 400), Treatment(balanced=balanced)).bias.numpy())
        for balanced in (False, True)
    ]
    np.testing.assert_allclose(fitted[0], np.array([7, 3, 2]) / 12, atol=0.02)
    np.testing.assert_allclose(fitted[1], np.full(3, 1 / 3), atol=0.02)


def test_balanced_softmax_leaves_no_prior_in_the_logits() -> None:
    features = np.zeros((12, 1, 2), np.float32)
    config = config_of(learning_rate=0.05, weight_decay=0.0)
    bias = fit_head(labelled(features), run_of(config, 0, 400), Treatment(balanced_softmax=True)).bias.numpy()
    np.testing.assert_allclose(special.softmax(bias), np.full(3, 1 / 3), atol=0.01)


def test_seed_decides_and_nothing_else() -> None:
    features, config = random_features(3), config_of(batch_size=5)
    state = torch.random.get_rng_state()
    first = fit_head(labelled(features), run_of(config, 2**63 - 1, 20))
    torch.rand(3)
    again = fit_head(labelled(features), run_of(config, 2**63 - 1, 20))
    other = fit_head(labelled(features), run_of(config, 1, 20))
    assert torch.equal(first.weight, again.weight)
    assert torch.equal(first.bias, again.bias)
    assert not torch.equal(first.weight, other.weight)
    torch.random.set_rng_state(state)
    fit_head(labelled(features), run_of(config, 1, 3))
    assert torch.equal(state, torch.random.get_rng_state())


def test_every_view_is_drawn() -> None:
    """View v is a one-hot vector at v, so columns of views that were never drawn would stay zero."""
    features = np.tile(np.eye(4, dtype=np.float32), (len(CLASS_IDS), 1, 1))
    weight = fit_head(labelled(features), run_of(config_of(batch_size=4), 0, 60)).weight
    assert (weight.abs().sum(dim=0) > 0.01).all()


def test_equal_views_are_one_view() -> None:
    features, config = random_features(), config_of(batch_size=5)
    one = fit_head(labelled(features), run_of(config, 0, 9))
    three = fit_head(labelled(np.repeat(features, 3, axis=1)), run_of(config, 0, 9))
    assert torch.equal(one.weight, three.weight)


def test_epochs_are_reported_without_changing_the_training() -> None:
    features, config = random_features(), config_of(batch_size=5)
    seen: list[tuple[int, Head]] = []
    head = fit_head(labelled(features), run_of(config, 0, 9), on_epoch=lambda epoch, h: seen.append((epoch, h)))
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert torch.equal(seen[-1][1].weight, head.weight)
    assert not torch.equal(seen[0][1].weight, head.weight)
    assert torch.equal(fit_head(labelled(features), run_of(config, 0, 9)).weight, head.weight)
    seen.clear()
    fit_head(labelled(features), run_of(config, 0, 8), on_epoch=lambda epoch, h: seen.append((epoch, h)))
    assert [epoch for epoch, _ in seen] == [1, 2], "the third pass was not completed"


def test_no_steps_give_zeros() -> None:
    head = fit_head(labelled(random_features()), run_of(config_of(), 0, 0))
    assert not head.weight.any()
    assert not head.weight.requires_grad


@pytest.mark.parametrize(("num", "batch", "expected"), [(1, 32, 1), (32, 32, 1), (33, 32, 2), (1020, 32, 32)])
def test_steps_per_epoch(num: int, batch: int, expected: int) -> None:
    assert steps_per_epoch(num, batch) == expected


def test_broken_inputs_are_refused() -> None:
    features = random_features()
    features[3, 0, 1] = np.nan
    with pytest.raises(ValueError, match="features hold NaN"):
        fit_head(labelled(features), run_of(config_of(), 0, 1))
    with pytest.raises(ValueError, match=r"must lie in \[0, 2\), but span 0 to 2"):
        fit_head(labelled(random_features(), CLASS_IDS, 2), run_of(config_of(), 0, 1))
    with pytest.raises(ValueError, match="class 3 has no training image"):
        fit_head(labelled(random_features(), CLASS_IDS, 4), run_of(config_of(), 0, 1), Treatment(balanced_softmax=True))


def test_a_head_can_go_on_from_another() -> None:
    features, config = random_features(), config_of(batch_size=5)
    first = fit_head(labelled(features), run_of(config, 0, 9))
    before = first.weight.clone()
    more = fit_head(labelled(features), run_of(config, 1, 9), start=first)
    assert torch.equal(first.weight, before)
    assert torch.equal(fit_head(labelled(features), run_of(config, 1, 0), start=first).weight, first.weight)
    assert not torch.equal(more.weight, fit_head(labelled(features), run_of(config, 1, 9)).weight)


def test_images_that_only_replace_are_not_drawn_without_a_probability() -> None:
    features, config = random_features(), config_of(batch_size=5)
    fewer = fit_head(labelled(features[:8], CLASS_IDS[:8]), run_of(config, 0, 9))
    kept = fit_head(labelled(features), run_of(config, 0, 9), Treatment(num_drawn=8))
    replaced = fit_head(labelled(features), run_of(config, 0, 9), Treatment(num_drawn=8, replace_probability=0.5))
    assert torch.equal(kept.weight, fewer.weight)
    assert not torch.equal(replaced.weight, fewer.weight)
