"""Fine-tuning against plain torch; what is drawn, flipped and mixed, and what is left alone."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from flowerti.classifier.batch_share import WHOLE_BATCH, BatchShare
from flowerti.classifier.batches import LabelledInputs, TrainingRun, Treatment
from flowerti.classifier.fine_tuning import FineTuned, fine_tune
from flowerti.config.experiment import ClassifierConfig, SweepConfig
from flowerti.features.backbones import Backbone
from flowerti.features.extraction import preprocess
from flowerti.sweep.mixing import TrialData
from flowerti.sweep.repetitions import Repetition
from flowerti.sweep.trial import TrialPlan, run_trial
from flowerti.tables.arms import ARMS

CLASS_IDS = np.array([0] * 7 + [1] * 3 + [2] * 2)
SEEN: list[torch.Tensor] = []


def config_of(**changes: object) -> ClassifierConfig:
    settings = {"mode": "full", "batch_size": len(CLASS_IDS), "learning_rate": 0.05, "weight_decay": 0.1, **changes}
    return ClassifierConfig(**settings)  # pyright: ignore[reportArgumentType]


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

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        SEEN.append(images.detach())
        return self.dropout(torch.relu(self.norm(self.convolution(images)))).mean(dim=(2, 3))


@pytest.fixture
def tiny() -> Backbone:
    SEEN.clear()
    module = Tiny().eval().requires_grad_(False)
    return Backbone("tiny", module, 4, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "", 8)


def images_of(num_views: int = 0) -> np.ndarray:
    shape = (len(CLASS_IDS), num_views, 8, 8, 3) if num_views else (len(CLASS_IDS), 8, 8, 3)
    return np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)


def labelled(images: np.ndarray, class_ids: np.ndarray = CLASS_IDS, num_classes: int = 3) -> LabelledInputs:
    return LabelledInputs(inputs=images, class_ids=class_ids, num_classes=num_classes)


def run_of(config: ClassifierConfig, seed: int, num_steps: int) -> TrainingRun:
    return TrainingRun(config=config, seed=seed, num_steps=num_steps)


def symmetric_images() -> np.ndarray:
    images = images_of()
    images[:, :, 4:] = images[:, :, 3::-1]
    return images


def test_fine_tuning_is_plain_torch(tiny: Backbone) -> None:
    """Images that are their own mirror images make flips invisible, full batches the order."""
    config, num_steps = config_of(learning_rate=0.01, label_smoothing=0.1), 6
    images = symmetric_images()
    model = fine_tune(tiny, labelled(images), run_of(config, 0, num_steps), Treatment(balanced_softmax=True))
    module, linear = Tiny().eval(), nn.Linear(4, 3)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    parameters = [*module.parameters(), *linear.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=0.01, weight_decay=config.weight_decay, foreach=False)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
    for _ in range(num_steps):
        optimizer.zero_grad()
        logits = linear(module(inputs)) + torch.tensor([7.0, 3.0, 2.0]).log()
        nn.functional.cross_entropy(logits, torch.from_numpy(CLASS_IDS), label_smoothing=0.1).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        expected = linear(module(inputs)).numpy()
    np.testing.assert_allclose(model.logits(images), expected, atol=1e-4)
    trained = model.backbone.module
    assert isinstance(trained, Tiny)
    torch.testing.assert_close(trained.convolution.weight, module.convolution.weight.detach(), atol=1e-5, rtol=1e-4)


def test_soft_targets_of_a_network_are_plain_torch(tiny: Backbone) -> None:
    images, smoothing = symmetric_images(), np.linspace(0, 0.8, len(CLASS_IDS), dtype=np.float32)
    model = fine_tune(tiny, labelled(images), run_of(config_of(weight_decay=0.0), 0, 1), Treatment(smoothing=smoothing))
    module, linear = Tiny().eval(), nn.Linear(4, 3)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    optimizer = torch.optim.AdamW([*module.parameters(), *linear.parameters()], lr=0.05, weight_decay=0.0)
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
    target = torch.from_numpy(
        (1 - smoothing[:, None]) * np.eye(3, dtype=np.float32)[CLASS_IDS] + smoothing[:, None] / 3
    )
    (-(target * linear(module(inputs)).log_softmax(dim=1)).sum(dim=1).mean()).backward()
    optimizer.step()
    torch.testing.assert_close(model.head.weight, linear.weight.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.head.bias, linear.bias.detach(), atol=1e-5, rtol=1e-4)


def test_fine_tuning_leaves_the_backbone_and_the_statistics_alone(tiny: Backbone) -> None:
    before = {name: value.clone() for name, value in tiny.module.state_dict().items()}
    model = fine_tune(tiny, labelled(images_of()), run_of(config_of(batch_size=5), 0, 4))
    after, trained = tiny.module.state_dict(), model.backbone.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(parameter.requires_grad for parameter in tiny.module.parameters())
    assert not torch.equal(before["convolution.weight"], trained["convolution.weight"])
    assert torch.equal(before["norm.running_mean"], trained["norm.running_mean"])
    assert torch.equal(before["norm.running_var"], trained["norm.running_var"])


def test_fine_tuning_flips_half_of_the_images_sideways(tiny: Backbone) -> None:
    images = images_of()
    plain = preprocess(tiny, images)
    fine_tune(tiny, labelled(images), run_of(config_of(batch_size=6), 0, 40))
    seen = torch.cat(SEEN)
    is_plain = (seen[:, None] == plain).flatten(2).all(dim=2).any(dim=1)
    is_mirrored = (seen[:, None] == plain.flip(3)).flatten(2).all(dim=2).any(dim=1)
    assert (is_plain ^ is_mirrored).all()
    assert 80 < int(is_mirrored.sum()) < 160


def test_fine_tuning_draws_views(tiny: Backbone) -> None:
    views = images_of(num_views=3)
    fine_tune(tiny, labelled(views), run_of(config_of(batch_size=6), 0, 40))
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
        fine_tune(tiny, labelled(images_of()), run_of(config, seed, 6), Treatment(balanced=True), on_epoch=look).logits(
            images_of()
        )
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert seen == [1, 2] * 3


def test_logits_do_not_depend_on_how_batches_are_cut(tiny: Backbone) -> None:
    model = fine_tune(tiny, labelled(images_of()), run_of(config_of(batch_size=5), 0, 4))
    single = np.concatenate([model.logits(image[None]) for image in images_of()])
    np.testing.assert_allclose(model.logits(images_of()), single, atol=1e-5)
    assert model.logits(images_of()[:0]).shape == (0, 3)


def test_fine_tuning_refuses_misfits(tiny: Backbone) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 2\), but span 0 to 2"):
        fine_tune(tiny, labelled(images_of(), CLASS_IDS, 2), run_of(config_of(), 0, 1))


def test_features_are_what_the_head_sees(tiny: Backbone) -> None:
    model = fine_tune(tiny, labelled(images_of()), run_of(config_of(batch_size=5), 0, 4))
    np.testing.assert_allclose(model.head.logits(model.features(images_of())), model.logits(images_of()), atol=1e-5)


class Meeting:
    """Averages the gradients of two threads, as two processes would."""

    def __init__(self) -> None:
        self.barrier, self.brought = threading.Barrier(2, timeout=60), {}

    def share(self, rank: int) -> BatchShare:
        def average(gradients: Sequence[torch.Tensor]) -> None:
            self.brought[rank] = [gradient.clone() for gradient in gradients]
            self.barrier.wait()
            for i, gradient in enumerate(gradients):
                gradient.copy_((self.brought[0][i] + self.brought[1][i]) / 2)
            self.barrier.wait()

        return BatchShare(rank=rank, size=2, average=average)


def test_two_shares_make_the_same_network_as_one(tiny: Backbone) -> None:
    config = config_of(batch_size=6, learning_rate=0.01)

    def logits(share: BatchShare) -> np.ndarray:
        return fine_tune(tiny, labelled(images_of()), run_of(config, 0, 5), share=share).logits(images_of())

    meeting = Meeting()
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda rank: logits(meeting.share(rank)), range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, logits(WHOLE_BATCH), atol=1e-5)
    assert np.abs(logits(BatchShare(rank=0, size=2)) - logits(WHOLE_BATCH)).max() > 1e-3, (
        "a share alone is another training"
    )


def test_each_share_sees_its_rows_of_the_batch(tiny: Backbone) -> None:
    for changes in ({}, {"batch_mixing": "mixup"}, {"rand_augment": True}):
        config, seen = config_of(batch_size=6, **changes), []
        for share in (WHOLE_BATCH, BatchShare(rank=0, size=3), BatchShare(rank=1, size=3), BatchShare(rank=2, size=3)):
            SEEN.clear()
            fine_tune(tiny, labelled(images_of()), run_of(config, 0, 1), share=share)
            seen.append(SEEN[0])
        for rank in range(3):
            torch.testing.assert_close(seen[rank + 1], seen[0][rank::3], atol=0, rtol=0)


def test_a_batch_that_cannot_be_cut_evenly_is_refused(tiny: Backbone) -> None:
    with pytest.raises(ValueError, match=r"classifier\.batch_size is 5: must be a multiple of 2 processes"):
        fine_tune(tiny, labelled(images_of()), run_of(config_of(batch_size=5), 0, 1), share=BatchShare(rank=0, size=2))


def test_mixup_mixes_every_image_with_its_neighbour(tiny: Backbone) -> None:
    """torchvision's mixup adds a share of the image before; with two flat colours the shares can be read off."""
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[1] = 255
    config = config_of(batch_size=2, batch_mixing="mixup")
    fine_tune(tiny, labelled(images, np.array([0, 1]), 2), run_of(config, 0, 30))
    levels = torch.stack([seen[:, 0, 0, 0] for seen in SEEN]) / 2 + 0.5
    torch.testing.assert_close(levels.sum(dim=1), torch.ones(30), atol=1e-5, rtol=0)
    assert len(set(levels[:, 0].tolist())) > 20, "a share for every step"
    assert all(torch.allclose(seen, seen[:, :1, :1, :1].expand_as(seen)) for seen in SEEN)


def test_cutmix_pastes_boxes(tiny: Backbone) -> None:
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[1] = 255
    fine_tune(
        tiny, labelled(images, np.array([0, 1]), 2), run_of(config_of(batch_size=2, batch_mixing="cutmix"), 0, 30)
    )
    seen = torch.stack(SEEN)
    assert set(seen.unique().tolist()) == {-1.0, 1.0}, "pixels are taken whole"
    shares = (seen[:, 0] > 0).float().mean(dim=(1, 2, 3))
    assert ((shares > 0) & (shares < 1)).sum() > 10


@pytest.mark.parametrize("changes", [{"batch_mixing": "mixup"}, {"batch_mixing": "cutmix"}, {"rand_augment": True}])
def test_augmented_training_repeats_itself_and_leaves_the_global_generator(tiny: Backbone, changes: dict) -> None:
    config, state = config_of(batch_size=5, **changes), torch.random.get_rng_state()
    first, again = (fine_tune(tiny, labelled(images_of()), run_of(config, 3, 4)).logits(images_of()) for _ in range(2))
    plain = fine_tune(tiny, labelled(images_of()), run_of(config_of(batch_size=5), 3, 4)).logits(images_of())
    assert torch.equal(state, torch.random.get_rng_state())
    np.testing.assert_array_equal(first, again)
    assert (first != plain).any()


def test_rand_augment_shows_new_views_in_every_step(tiny: Backbone) -> None:
    fine_tune(tiny, labelled(images_of()), run_of(config_of(rand_augment=True), 0, 6))
    seen = torch.cat(SEEN).flatten(1)
    assert len(torch.unique(seen, dim=0)) > 0.9 * len(seen)


def test_the_second_stage_of_a_network_changes_its_head_only(tiny: Backbone) -> None:
    images = images_of()
    data = TrialData(train=images, train_ids=CLASS_IDS, augmented=None, evaluation=images, synthetic={}, num_classes=3)
    plan, config = (
        TrialPlan(arm=ARMS["real"], ratio=0.0, repetition=Repetition(index=0), split="validation"),
        config_of(batch_size=4),
    )
    found = [run_trial(data, plan, config, 0, tiny, SweepConfig(refit_epochs=num)).predictions for num in (0, 0, 30)]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_the_augmented_arm_of_a_network_shows_augmented_images(tiny: Backbone) -> None:
    images = images_of()
    data = TrialData(train=images, train_ids=CLASS_IDS, augmented=None, evaluation=images, synthetic={}, num_classes=3)
    counts = []
    for arm in ("real", "augmented"):
        SEEN.clear()
        plan = TrialPlan(arm=ARMS[arm], ratio=0.0, repetition=Repetition(index=0), split="validation")
        run_trial(data, plan, config_of(batch_size=6), 0, tiny, SweepConfig())
        counts.append(len(torch.unique(torch.cat(SEEN[:-1]).flatten(1), dim=0)))
    assert counts[0] <= 2 * len(images) < counts[1]
