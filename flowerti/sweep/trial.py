"""One trial of the sweep: trains the classifier with an arm's images and predicts a split.

Every arm makes the same number of optimiser steps, and trials of one seed share their start and their order of real
images as far as the arm allows. Which images an arm trains on is in `mixing`, the order of the rounds in
`sweep.protocol`. This module does not know about Ray or files.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.records import Trial
from flowerti.classifier.batches import LabelledInputs, TrainingRun, Treatment
from flowerti.classifier.fine_tuning import FineTuned, fine_tune, start_of
from flowerti.classifier.training import Head, fit_head, steps_per_epoch
from flowerti.config.experiment import ClassifierConfig, SweepConfig
from flowerti.features.backbones import Backbone
from flowerti.sweep.mixing import Mixture, mix
from flowerti.sweep.rounds import TrialPlan
from flowerti.sweep.trial_data import TrialData


def run_trial(
    data: TrialData,
    plan: TrialPlan,
    config: ClassifierConfig,
    run_seed: int,
    backbone: Backbone | None,
    sweep: SweepConfig,
) -> Trial:
    """Train and predict; `backbone` is needed for whole networks only.

    Raises:
        ValueError: the ratio requires more synthetic images than there are (says how many to generate), or the training
            diverged (names the trial).
    """
    images = mix(data, plan, sweep, run_seed)
    config = replace(config, learning_rate=config.learning_rate * plan.learning_rate_factor)
    num_steps = config.num_epochs * steps_per_epoch(images.num_real, config.batch_size)
    seed = seed_for(run_seed, "", "sweep/trial", plan.repetition.index)
    model = _train(images, data, plan, config, seed, num_steps, backbone)
    if sweep.refit_epochs:
        rows = data.rows(plan.repetition.draw)
        real = LabelledInputs(inputs=data.train[rows], class_ids=data.train_ids[rows], num_classes=data.num_classes)
        model = _refit(model, real, config, sweep.refit_epochs, seed)
    logits = model.logits(data.evaluation[:, 0] if isinstance(model, Head) else data.evaluation)
    if not np.isfinite(logits).all():
        raise ValueError(f"trial {plan.name}: logits are NaN or infinite: lower classifier.learning_rate")
    return Trial(
        arm=plan.arm.name,
        ratio=plan.ratio,
        repetition=plan.repetition.index,
        split=plan.split,
        predictions=logits.argmax(axis=1).tolist(),
        num_steps=num_steps,
        num_synthetic=len(images.class_ids) - images.num_drawn if plan.arm.source else 0,
        learning_rate_factor=plan.learning_rate_factor,
    )


def _train(
    images: Mixture,
    data: TrialData,
    plan: TrialPlan,
    config: ClassifierConfig,
    seed: int,
    num_steps: int,
    backbone: Backbone | None,
) -> Head | FineTuned:
    treatment = _treatment(images, plan)
    train = LabelledInputs(inputs=images.inputs, class_ids=images.class_ids, num_classes=data.num_classes)
    run = TrainingRun(config=config, seed=seed, num_steps=num_steps)
    if config.mode == "head":
        return fit_head(train, run, treatment)
    if plan.arm.is_augmented:
        run = replace(run, config=replace(config, rand_augment=True))
    assert backbone is not None
    return fine_tune(start_of(backbone, config.mode, seed), train, run, treatment)


def _treatment(images: Mixture, plan: TrialPlan) -> Treatment:
    arm = plan.arm
    return Treatment(
        balanced=arm.is_balanced,
        balanced_softmax=arm.has_balanced_softmax,
        num_counted=images.num_real,
        weights=images.weights,
        smoothing=images.smoothing,
        own_share=images.own_share,
        other_ids=images.other_ids,
        num_drawn=images.num_drawn if arm.replaces or arm.begins_balanced else None,
        replace_probability=plan.ratio if arm.replaces else 0.0,
        first_share=plan.ratio if arm.begins_balanced else 0.0,
    )


def _refit(
    model: Head | FineTuned, real: LabelledInputs, config: ClassifierConfig, num_epochs: int, seed: int
) -> Head | FineTuned:
    """Second stage: train only the head further, on real images with class-balanced sampling (Ye-Bin et al. 2023)."""
    num_steps = num_epochs * steps_per_epoch(len(real.class_ids), config.batch_size)
    features: Float32[np.ndarray, "num views dim"]
    features = real.inputs if isinstance(model, Head) else model.features(real.inputs)[:, None]
    start = model if isinstance(model, Head) else model.head
    train = replace(real, inputs=features)
    run = TrainingRun(config=config, seed=seed_for(seed, "", "sweep/refit", 0), num_steps=num_steps)
    head = fit_head(train, run, Treatment(balanced=True), start=start)
    if isinstance(model, Head):
        return head
    device = model.backbone.device
    return replace(model, head=Head(head.weight.to(device), head.bias.to(device)))
