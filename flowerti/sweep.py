"""One trial of the sweep: train the classifier with an arm's pictures, predict a split.

Every arm makes the same number of optimiser steps, and trials of one seed share their start and their order of real
pictures as far as the arm allows. Which synthetic pictures enter is a prefix of a seeded permutation, so that a larger
ratio adds to a smaller one. Summary and recommendation are in `sweep_statistics`. This module does not know about Ray
or files.
"""

from dataclasses import dataclass

import numpy as np

from flowerti.artifacts import SweepRow, Trial, num_synthetic, seed_for
from flowerti.classifier import fine_tune, fit_head, steps_per_epoch
from flowerti.config import ClassifierConfig, SweepConfig
from flowerti.data import Split
from flowerti.features import Backbone

SYNTHETIC_ARMS = ("raw", "alternative_name", "latin_name", "token")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialPlan:
    """What tells one trial from another."""

    arm: str
    ratio: float
    seed_index: int
    split: Split

    @property
    def name(self) -> str:
        """A readable name, safe as a file name."""
        return f"{self.split}.{self.arm}.{self.ratio:g}.{self.seed_index}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialData:
    """Arrays that all trials share: features [num, views, dim] or, for full fine-tuning, pictures [num, h, w, 3]."""

    train: np.ndarray
    train_ids: np.ndarray
    augmented: np.ndarray | None
    """Strongly augmented views of the training pictures; None where the arm is not run or pictures are used."""
    evaluation: np.ndarray
    synthetic: dict[str, np.ndarray]
    """By "<class id>/<source>"."""
    num_classes: int


def plan_trials(config: SweepConfig, sources: list[str], split: Split) -> list[TrialPlan]:
    """Every free arm, then every source at every ratio, each with all seeds."""
    arms = [(arm, 0.0) for arm in config.free_arms]
    arms += [(source, ratio) for source in SYNTHETIC_ARMS if source in sources for ratio in sorted(config.ratios)]
    return [
        TrialPlan(arm=arm, ratio=ratio, seed_index=index, split=split)
        for arm, ratio in arms
        for index in range(config.num_seeds)
    ]


def plan_final_trials(
    config: SweepConfig, sources: list[str], rows: list[SweepRow], recommended_ratio: float
) -> list[TrialPlan]:
    """The trials that open the test split: free arms, and every source at one ratio.

    The ratio is the recommended one; where none is recommended, the token's best on validation, so that the refusal
    can be checked too.
    """
    token_rows = [row for row in rows if row.arm == "token" and row.split == "validation"]
    if recommended_ratio == 0 and token_rows:
        recommended_ratio = max(token_rows, key=lambda row: row.weak_gain).ratio
    plans = plan_trials(config, sources, "test")
    return [plan for plan in plans if plan.arm in config.free_arms or plan.ratio == recommended_ratio]


def run_trial(
    data: TrialData, plan: TrialPlan, config: ClassifierConfig, run_seed: int, backbone: Backbone | None
) -> Trial:
    """Train and predict; `backbone` is needed for full fine-tuning only.

    Raises:
        ValueError: the ratio asks for more synthetic pictures than there are; says how many to draw.
    """
    seed = seed_for(run_seed, "", "sweep/trial", plan.seed_index)
    inputs = data.augmented if plan.arm == "augmented" and data.augmented is not None else data.train
    extra, extra_ids = _synthetic_part(data, plan, run_seed)
    if len(extra_ids):
        inputs = np.concatenate([inputs, extra])
    class_ids = np.concatenate([data.train_ids, extra_ids])
    num_steps = config.num_epochs * steps_per_epoch(len(data.train_ids), config.batch_size)
    balanced, balanced_softmax = plan.arm == "balanced", plan.arm == "balanced_softmax"
    if config.mode == "head":
        head = fit_head(
            inputs,
            class_ids,
            data.num_classes,
            config,
            seed,
            num_steps,
            balanced=balanced,
            balanced_softmax=balanced_softmax,
        )
        logits = head.logits(data.evaluation[:, 0])
    else:
        assert backbone is not None
        model = fine_tune(
            backbone,
            inputs,
            class_ids,
            data.num_classes,
            config,
            seed,
            num_steps,
            balanced=balanced,
            balanced_softmax=balanced_softmax,
        )
        logits = model.logits(data.evaluation)
    return Trial(
        arm=plan.arm,
        ratio=plan.ratio,
        seed_index=plan.seed_index,
        split=plan.split,
        predictions=logits.argmax(axis=1).tolist(),
        num_steps=num_steps,
        num_synthetic=len(extra_ids),
    )


def _synthetic_part(data: TrialData, plan: TrialPlan, run_seed: int) -> tuple[np.ndarray, np.ndarray]:
    parts, ids = [data.train[:0]], []
    for name, pool in data.synthetic.items():
        class_id, source = name.split("/")
        if source != plan.arm:
            continue
        count = num_synthetic(plan.ratio, int((data.train_ids == int(class_id)).sum()))
        if count > len(pool):
            raise ValueError(
                f"ratio {plan.ratio:g} asks for {count} synthetic pictures of class {class_id}, {len(pool)} were made: "
                f"set sampling.num_per_class to at least {count}"
            )
        order = np.random.default_rng(seed_for(run_seed, class_id, "sweep/pool", plan.seed_index)).permutation(
            len(pool)
        )
        parts.append(pool[order[:count]])
        ids += [int(class_id)] * count
    return np.concatenate(parts), np.array(ids, dtype=np.int64)
