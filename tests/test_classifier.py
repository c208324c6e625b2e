"""Training against a few lines of float64 NumPy (AdamW, cosine, every loss), and against plain torch for networks."""

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn

from flowerti.classifier import FineTuned, Head, fine_tune, fit_head, steps_per_epoch
from flowerti.config import ClassifierConfig
from flowerti.features import Backbone, preprocess

CLASS_IDS = np.array([0] * 7 + [1] * 3 + [2] * 2)
SEEN: list[torch.Tensor] = []


def random_features(num_views: int = 1) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(CLASS_IDS), num_views, 5)).astype(np.float32)


def config_of(**changes: object) -> ClassifierConfig:
    settings = {"batch_size": len(CLASS_IDS), "learning_rate": 0.05, "weight_decay": 0.1, **changes}
    return ClassifierConfig(**settings)  # pyright: ignore[reportArgumentType]


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
    """With as many pictures as a batch holds, every batch is all of them, so the seed does not matter."""
    config = config_of(label_smoothing=label_smoothing)
    weights = np.random.default_rng(1).uniform(0.2, 5, len(CLASS_IDS)).astype(np.float32) if weighted else None
    features = random_features()
    head = fit_head(features, CLASS_IDS, 3, config, 7, 12, balanced_softmax=balanced_softmax, weights=weights)
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


def test_balanced_sampling_sees_each_class_equally_often() -> None:
    """With constant features only the bias can learn, and it learns the frequencies of the classes in the batches."""
    features, class_ids = np.zeros((12, 1, 2), np.float32), CLASS_IDS
    config = config_of(batch_size=100, learning_rate=0.05, weight_decay=0.0)
    fitted = [
        special.softmax(fit_head(features, class_ids, 3, config, 0, 400, balanced=balanced).bias.numpy())
        for balanced in (False, True)
    ]
    np.testing.assert_allclose(fitted[0], np.array([7, 3, 2]) / 12, atol=0.02)
    np.testing.assert_allclose(fitted[1], np.full(3, 1 / 3), atol=0.02)


def test_balanced_softmax_leaves_no_prior_in_the_logits() -> None:
    features = np.zeros((12, 1, 2), np.float32)
    config = config_of(learning_rate=0.05, weight_decay=0.0)
    bias = fit_head(features, CLASS_IDS, 3, config, 0, 400, balanced_softmax=True).bias.numpy()
    np.testing.assert_allclose(special.softmax(bias), np.full(3, 1 / 3), atol=0.01)


def test_seed_decides_and_nothing_else() -> None:
    features, config = random_features(3), config_of(batch_size=5)
    state = torch.random.get_rng_state()
    first = fit_head(features, CLASS_IDS, 3, config, 2**63 - 1, 20)
    torch.rand(3)
    again = fit_head(features, CLASS_IDS, 3, config, 2**63 - 1, 20)
    other = fit_head(features, CLASS_IDS, 3, config, 1, 20)
    assert torch.equal(first.weight, again.weight)
    assert torch.equal(first.bias, again.bias)
    assert not torch.equal(first.weight, other.weight)
    torch.random.set_rng_state(state)
    fit_head(features, CLASS_IDS, 3, config, 1, 3)
    assert torch.equal(state, torch.random.get_rng_state())


def test_every_view_is_drawn() -> None:
    """View v is a one-hot vector at v, so columns of views that were never drawn would stay zero."""
    features = np.tile(np.eye(4, dtype=np.float32), (len(CLASS_IDS), 1, 1))
    weight = fit_head(features, CLASS_IDS, 3, config_of(batch_size=4), 0, 60).weight
    assert (weight.abs().sum(dim=0) > 0.01).all()


def test_equal_views_are_one_view() -> None:
    features, config = random_features(), config_of(batch_size=5)
    one = fit_head(features, CLASS_IDS, 3, config, 0, 9)
    three = fit_head(np.repeat(features, 3, axis=1), CLASS_IDS, 3, config, 0, 9)
    assert torch.equal(one.weight, three.weight)


def test_epochs_are_reported_without_changing_the_training() -> None:
    features, config = random_features(), config_of(batch_size=5)
    seen: list[tuple[int, Head]] = []
    head = fit_head(features, CLASS_IDS, 3, config, 0, 9, on_epoch=lambda epoch, h: seen.append((epoch, h)))
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert torch.equal(seen[-1][1].weight, head.weight)
    assert not torch.equal(seen[0][1].weight, head.weight)
    assert torch.equal(fit_head(features, CLASS_IDS, 3, config, 0, 9).weight, head.weight)
    seen.clear()
    fit_head(features, CLASS_IDS, 3, config, 0, 9, on_epoch=lambda epoch, h: seen.append((epoch, h)), epoch_steps=4)
    assert [epoch for epoch, _ in seen] == [1, 2]


def test_no_steps_give_zeros() -> None:
    head = fit_head(random_features(), CLASS_IDS, 3, config_of(), 0, 0)
    assert not head.weight.any()
    assert not head.weight.requires_grad


@pytest.mark.parametrize(("num", "batch", "expected"), [(1, 32, 1), (32, 32, 1), (33, 32, 2), (1020, 32, 32)])
def test_steps_per_epoch(num: int, batch: int, expected: int) -> None:
    assert steps_per_epoch(num, batch) == expected


def test_broken_inputs_are_refused() -> None:
    features = random_features()
    features[3, 0, 1] = np.nan
    with pytest.raises(ValueError, match="features hold NaN"):
        fit_head(features, CLASS_IDS, 3, config_of(), 0, 1)
    with pytest.raises(ValueError, match=r"must lie in \[0, 2\), but span 0 to 2"):
        fit_head(random_features(), CLASS_IDS, 2, config_of(), 0, 1)
    with pytest.raises(ValueError, match="class 3 has no training picture"):
        fit_head(random_features(), CLASS_IDS, 4, config_of(), 0, 1, balanced_softmax=True)


class Tiny(nn.Module):
    """A convolution with batch norm and dropout; notes what it sees."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.convolution = nn.Conv2d(3, 4, 3)
        nn.init.normal_(self.convolution.weight, std=0.3, generator=generator)
        nn.init.zeros_(self.convolution.bias)
        self.norm = nn.BatchNorm2d(4)
        nn.init.uniform_(self.norm.running_var, 0.5, 2, generator=generator)
        self.dropout = nn.Dropout(0.5)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        SEEN.append(pictures.detach())
        return self.dropout(torch.relu(self.norm(self.convolution(pictures)))).mean(dim=(2, 3))


@pytest.fixture
def tiny() -> Backbone:
    SEEN.clear()
    module = Tiny().eval().requires_grad_(False)
    return Backbone("tiny", module, 4, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "", 8)


def pictures_of(num_views: int = 0) -> np.ndarray:
    shape = (len(CLASS_IDS), num_views, 8, 8, 3) if num_views else (len(CLASS_IDS), 8, 8, 3)
    return np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)


def symmetric_pictures() -> np.ndarray:
    pictures = pictures_of()
    pictures[:, :, 4:] = pictures[:, :, 3::-1]
    return pictures


def test_fine_tuning_is_plain_torch(tiny: Backbone) -> None:
    """Pictures that are their own mirror images make flips invisible, full batches the order."""
    config, num_steps = config_of(learning_rate=0.01, label_smoothing=0.1), 6
    pictures = symmetric_pictures()
    model = fine_tune(tiny, pictures, CLASS_IDS, 3, config, 0, num_steps, balanced_softmax=True)
    module, linear = Tiny().eval(), nn.Linear(4, 3)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    parameters = [*module.parameters(), *linear.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=0.01, weight_decay=config.weight_decay, foreach=False)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    inputs = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1
    for _ in range(num_steps):
        optimizer.zero_grad()
        logits = linear(module(inputs)) + torch.tensor([7.0, 3.0, 2.0]).log()
        nn.functional.cross_entropy(logits, torch.from_numpy(CLASS_IDS), label_smoothing=0.1).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        expected = linear(module(inputs)).numpy()
    np.testing.assert_allclose(model.logits(pictures), expected, atol=1e-4)
    trained = model.backbone.module
    assert isinstance(trained, Tiny)
    torch.testing.assert_close(trained.convolution.weight, module.convolution.weight.detach(), atol=1e-5, rtol=1e-4)


def test_fine_tuning_leaves_the_backbone_and_the_statistics_alone(tiny: Backbone) -> None:
    before = {name: value.clone() for name, value in tiny.module.state_dict().items()}
    model = fine_tune(tiny, pictures_of(), CLASS_IDS, 3, config_of(batch_size=5), 0, 4)
    after, trained = tiny.module.state_dict(), model.backbone.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(parameter.requires_grad for parameter in tiny.module.parameters())
    assert not torch.equal(before["convolution.weight"], trained["convolution.weight"])
    assert torch.equal(before["norm.running_mean"], trained["norm.running_mean"])
    assert torch.equal(before["norm.running_var"], trained["norm.running_var"])


def test_fine_tuning_flips_half_of_the_pictures_sideways(tiny: Backbone) -> None:
    pictures = pictures_of()
    plain = preprocess(tiny, pictures)
    fine_tune(tiny, pictures, CLASS_IDS, 3, config_of(batch_size=6), 0, 40)
    seen = torch.cat(SEEN)
    is_plain = (seen[:, None] == plain).flatten(2).all(dim=2).any(dim=1)
    is_mirrored = (seen[:, None] == plain.flip(3)).flatten(2).all(dim=2).any(dim=1)
    assert (is_plain ^ is_mirrored).all()
    assert 80 < int(is_mirrored.sum()) < 160


def test_fine_tuning_draws_views(tiny: Backbone) -> None:
    views = pictures_of(num_views=3)
    fine_tune(tiny, views, CLASS_IDS, 3, config_of(batch_size=6), 0, 40)
    seen = torch.cat([torch.cat(SEEN), torch.cat(SEEN).flip(3)])
    for view in range(3):
        plain = preprocess(tiny, views[:, view])
        assert (seen[:, None] == plain).flatten(2).all(dim=2).any(dim=0).sum() > 6


def test_fine_tuning_repeats_itself_and_reports_epochs(tiny: Backbone) -> None:
    seen: list[int] = []

    def look(epoch: int, model: FineTuned) -> None:
        seen.append(epoch)

    config = config_of(batch_size=5)
    first, again, other = (
        fine_tune(tiny, pictures_of(), CLASS_IDS, 3, config, seed, 6, balanced=True, on_epoch=look).logits(
            pictures_of()
        )
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert seen == [1, 2] * 3


def test_logits_do_not_depend_on_how_batches_are_cut(tiny: Backbone) -> None:
    model = fine_tune(tiny, pictures_of(), CLASS_IDS, 3, config_of(batch_size=5), 0, 4)
    single = np.concatenate([model.logits(picture[None]) for picture in pictures_of()])
    np.testing.assert_allclose(model.logits(pictures_of()), single, atol=1e-5)
    assert model.logits(pictures_of()[:0]).shape == (0, 3)


def test_fine_tuning_refuses_misfits(tiny: Backbone) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 2\), but span 0 to 2"):
        fine_tune(tiny, pictures_of(), CLASS_IDS, 2, config_of(), 0, 1)
