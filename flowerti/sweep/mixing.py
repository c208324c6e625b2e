"""What a trial trains on: an arm's mixture of real and synthetic images, as arrays.

Which synthetic images enter is a prefix of a seeded permutation, so that a larger ratio adds to a smaller one. A
image that curation gave a weight enters the loss with it, one with weight 0 does not enter. Targets of synthetic
images may be softened. This module does not know how anything is trained.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float32, Int64, Num

from flowerti.artifacts.identity import num_synthetic, seed_for
from flowerti.config.experiment import SweepConfig

SYNTHETIC_ARMS = ("raw", "alternative_name", "latin_name", "token", "lora")
SHUFFLED_ARM = "shuffled_token"
"""Negative control: every weak class gets the images of another weak class's token."""
REPLACING_ARM = "token_replace"
"""Token images take the place of real ones; the arm's ratio is the probability that a real image is replaced."""
REPEATED_ARM = "repeated"
"""Free control: a weak class's real images stand in for the synthetic ones, so that class shares are equal and only
the images differ. More images of a class, even wrong ones, raise its share, and that alone can raise its F1."""
_ON_TOP = "+token"


def stacked_arm(control: str) -> str:
    """Name of the arm that adds token images to a control, as in "balanced+token"."""
    return f"{control}{_ON_TOP}"


def control_of(arm: str) -> str:
    """How an arm treats its images: the name of a control, or "real"."""
    if arm.endswith(_ON_TOP):
        return arm.removesuffix(_ON_TOP)
    return "real" if pool_source(arm) else arm


def pool_source(arm: str) -> str:
    """Which pools say what an arm adds; the repeated arm goes by the token's classes, without its images."""
    return "token" if arm == REPEATED_ARM else source_of(arm)


def source_of(arm: str) -> str:
    """Which synthetic images an arm uses; empty for none."""
    if arm in (SHUFFLED_ARM, REPLACING_ARM) or arm.endswith(_ON_TOP):
        return "token"
    return arm if arm in SYNTHETIC_ARMS else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialData:
    """Arrays that all trials share: features [num, views, dim] or, for full fine-tuning, images [num, h, w, 3]."""

    train: np.ndarray
    train_ids: np.ndarray
    augmented: np.ndarray | None
    """Strongly augmented views of the training images; None where the arm is not run or images are used."""
    evaluation: np.ndarray
    synthetic: dict[str, np.ndarray]
    """By "<class id>/<source>"."""
    num_classes: int
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    """Weights in [0, 1] of the images of a pool, by the same names; all 1 where a pool has none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSet:
    """Real images first, then synthetic ones."""

    inputs: Num[np.ndarray, "num *shape"]
    class_ids: Int64[np.ndarray, " num"]
    num_real: int
    weights: Float[np.ndarray, " num"] | None
    """Loss weight of each image; None where all are 1."""
    smoothing: Float32[np.ndarray, " num"] | None
    """Share of each image's target that is spread over all classes; None where all are 0."""


def check_trial_data(data: TrialData) -> None:
    """Refuse arrays that a trial would fail on, before the first trial.

    Raises:
        ValueError: a class has no training image, a feature is not finite, a pool is empty, or weights are unfit.
    """
    missing = sorted(set(range(data.num_classes)) - set(data.train_ids.tolist()))
    if missing:
        raise ValueError(f"training split: class {missing[0]} has no image: each class needs some in each split")
    arrays = {"training": data.train, "evaluation": data.evaluation, **data.synthetic}
    if data.augmented is not None:
        arrays["augmented"] = data.augmented
    for name, array in arrays.items():
        if len(array) == 0:
            raise ValueError(f"images {name!r}: there are none: draw some, or leave out the arm")
        if not np.isfinite(array).all():
            raise ValueError(f"images {name!r}: features hold NaN or infinite values: look for broken images")
    for name, weights in data.weights.items():
        fit = len(weights) == len(data.synthetic[name]) and np.isfinite(weights).all() and weights.min() >= 0
        if not fit:
            raise ValueError(f"weights of {name!r}: must be one finite number of at least 0 for each image")


def check_ratios(data: TrialData, arms: list[tuple[str, float]]) -> None:
    """Refuse a ratio that asks for more synthetic images than were made and kept.

    Args:
        data: pools and real counts.
        arms: arms with their ratios.

    Raises:
        ValueError: says how many to draw.
    """
    for arm, ratio in arms:
        for class_id, pool_name in _pools(data, arm):
            if arm not in (REPLACING_ARM, REPEATED_ARM):
                _check_count(data, class_id, pool_name, ratio)


def training_set(
    data: TrialData,
    arm: str,
    ratio: float,
    seed_index: int,
    synthetic_weight: float,
    run_seed: int,
    synthetic_smoothing: float = 0.0,
) -> TrainingSet:
    """Gather what an arm trains on.

    Args:
        data: all arrays.
        arm: the arm's name.
        ratio: synthetic images as a multiple of a class's real ones; of the replacing arm the probability.
        seed_index: which repetition; decides which synthetic images enter.
        synthetic_weight: loss weight of synthetic images, on top of their own; real ones have 1.
        run_seed: seed of the run.
        synthetic_smoothing: share of a synthetic image's target that is spread over all classes, in [0, 1); real
            images keep theirs, also where they are repeated.

    Raises:
        ValueError: the ratio asks for more images than there are; says how many to draw.
    """
    real = data.augmented if control_of(arm) == "augmented" and data.augmented is not None else data.train
    inputs, ids, weights = [real], [data.train_ids], [np.ones(len(real))]
    for class_id, pool_name in _pools(data, arm):
        shuffle = np.random.default_rng(seed_for(run_seed, str(class_id), "sweep/pool", seed_index))
        if arm == REPEATED_ARM:
            again = _repeated(data.train_ids, class_id, ratio, shuffle)
            inputs.append(real[again])
            ids.append(data.train_ids[again])
            weights.append(np.ones(len(again)))
            continue
        order = _kept(data, pool_name)
        order = order[shuffle.permutation(len(order))]
        if arm != REPLACING_ARM:
            order = order[: _check_count(data, class_id, pool_name, ratio)]
        inputs.append(_like(real, data.synthetic[pool_name][order]))
        ids.append(np.full(len(order), class_id, dtype=np.int64))
        own = data.weights.get(pool_name)
        weights.append(synthetic_weight * (np.ones(len(order)) if own is None else own[order]))
    flat = np.concatenate(weights).astype(np.float32)
    return TrainingSet(
        inputs=np.concatenate(inputs),
        class_ids=np.concatenate(ids),
        num_real=len(real),
        weights=None if (flat == 1).all() else flat,
        smoothing=_smoothing(len(real), len(flat), synthetic_smoothing if source_of(arm) else 0.0),
    )


def _smoothing(num_real: int, num: int, of_synthetic: float) -> Float32[np.ndarray, " num"] | None:
    if of_synthetic == 0 or num == num_real:
        return None
    return np.where(np.arange(num) < num_real, 0, of_synthetic).astype(np.float32)


def _repeated(
    train_ids: Int64[np.ndarray, " num"], class_id: int, ratio: float, shuffle: np.random.Generator
) -> Int64[np.ndarray, " repeated"]:
    """Real images of a class, all of them before one comes again."""
    members = shuffle.permutation(np.flatnonzero(train_ids == class_id))
    return np.resize(members, num_synthetic(ratio, len(members)))


def _pools(data: TrialData, arm: str) -> list[tuple[int, str]]:
    """Weak class and the pool that it gets; the next class's pool for the shuffled arm."""
    source = pool_source(arm)
    names = sorted(name for name in data.synthetic if name.split("/")[1] == source)
    ids = sorted(int(name.split("/")[0]) for name in names)
    givers = ids[1:] + ids[:1] if arm == SHUFFLED_ARM else ids
    return [(taker, f"{giver}/{source}") for taker, giver in zip(ids, givers, strict=True)]


def _kept(data: TrialData, pool_name: str) -> Int64[np.ndarray, " kept"]:
    weights = data.weights.get(pool_name)
    everything = np.arange(len(data.synthetic[pool_name]))
    return everything if weights is None else everything[weights > 0]


def _check_count(data: TrialData, class_id: int, pool_name: str, ratio: float) -> int:
    count = num_synthetic(ratio, int((data.train_ids == class_id).sum()))
    num_kept, num_made = len(_kept(data, pool_name)), len(data.synthetic[pool_name])
    if count > num_kept:
        made = f"{num_made} were made" + ("" if num_kept == num_made else f" and {num_kept} of them kept")
        raise ValueError(
            f"ratio {ratio:g} asks for {count} synthetic images of class {class_id}, {made}: "
            f"set sampling.num_per_class to at least {count + num_made - num_kept}"
        )
    return count


def _like(real: Num[np.ndarray, "_ *rest"], synthetic: Num[np.ndarray, "_ *other"]) -> np.ndarray:
    """Repeat the views of synthetic features until there are as many as the real ones have."""
    if real.ndim != 3 or real.shape[1] == synthetic.shape[1]:
        return synthetic
    return synthetic[:, np.arange(real.shape[1]) % synthetic.shape[1]]


def planned_arms(config: SweepConfig, pools: dict[str, int]) -> list[tuple[str, float]]:
    """The arms of the first round with their ratios; the arm on top of the best control follows once that is known.

    Args:
        config: free arms, ratios, and which further arms are wanted.
        pools: classes that have images, by source.
    """
    arms: list[tuple[str, float]] = [(arm, 0.0) for arm in config.free_arms]
    arms += [(source, ratio) for source in SYNTHETIC_ARMS if pools.get(source) for ratio in sorted(config.ratios)]
    if pools.get("token"):
        arms += [(REPEATED_ARM, ratio) for ratio in sorted(config.ratios)]
    if config.negative_control and pools.get("token", 0) >= 2:
        arms += [(SHUFFLED_ARM, ratio) for ratio in sorted(config.ratios)]
    if pools.get("token"):
        arms += [(REPLACING_ARM, probability) for probability in sorted(config.replace_probabilities)]
    return arms
