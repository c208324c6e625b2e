"""A classifier of real training images that says how much a drawn image looks like its class, and how sure that is.

It is a linear head on frozen features with the run's own settings, trained with all classes drawn equally often,
because one that saw them by their counts hardly ever names a weak class. Its temperature comes from training images
that it was not trained on. It never sees a validation or test image. This module does not know what is judged.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from flowerti.artifacts import curation as records
from flowerti.artifacts.identity import seed_for
from flowerti.classifier.batches import LabelledInputs, TrainingRun, Treatment
from flowerti.classifier.training import Head, fit_head, steps_per_epoch
from flowerti.config.experiment import ClassifierConfig

_TEMPERATURES = (0.2, 20.0)
"""Between which the temperature is looked for: where every image that was left out is hit, the lower the better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """A head with its temperature."""

    head: Head
    temperature: float
    record: records.Judge

    def probabilities(self, features: Float[np.ndarray, "num views dim"]) -> Float64[np.ndarray, "num classes"]:
        """Calibrated probabilities of the classes, the mean over the views of an image; they sum to 1."""
        num, views, dim = features.shape
        logits = self.head.logits(features.reshape(-1, dim).astype(np.float32)).astype(np.float64)
        return softmax(logits / self.temperature, axis=1).reshape(num, views, -1).mean(axis=1)


def fit_judge(train: LabelledInputs, config: ClassifierConfig, num_folds: int, run_seed: int, draw: int) -> Judge:
    """Train a judge, and calibrate it by cross-validation on the same training images.

    Every fold is predicted by a head of the others. The temperature is the one with the smallest loss over all of
    these predictions, with classes counted equally (1 where no class has two images).

    Source: Guo et al. 2017, section 4.2, for temperature scaling.

    Args:
        train: features [num, views, dim] of real training images.
        config: rate, decay, batch size and passes; the rest belongs to other modes.
        num_folds: parts that are left out in turn, at least 2.
        run_seed: seed of the run.
        draw: number of the draw of training images.
    """
    seed = seed_for(run_seed, "", "filters/judge", draw)
    logits, ids = _left_out(train, config, num_folds, seed)
    temperature = temperature_of(logits, ids) if len(ids) else 1.0
    hits = logits.argmax(axis=1) == ids
    record = records.Judge(
        draw=draw,
        temperature=temperature,
        accuracy=float(np.mean([hits[ids == c].mean() for c in np.unique(ids)])) if len(ids) else 0.0,
        nll_before=balanced_nll(logits, ids, 1.0),
        nll_after=balanced_nll(logits, ids, temperature),
    )
    return Judge(head=_fit(train, config, seed), temperature=temperature, record=record)


def _fit(train: LabelledInputs, config: ClassifierConfig, seed: int) -> Head:
    config = replace(config, mode="head", rand_augment=False, batch_mixing="none")
    num_steps = config.num_epochs * steps_per_epoch(len(train), config.batch_size)
    return fit_head(train, TrainingRun(config=config, seed=seed, num_steps=num_steps), Treatment(balanced=True))


def _left_out(
    train: LabelledInputs, config: ClassifierConfig, num_folds: int, seed: int
) -> tuple[Float32[np.ndarray, "some classes"], Int64[np.ndarray, " some"]]:
    """Logits of the images of every fold by a head of the others, and their classes; of classes with two images."""
    folds = folds_of(train.class_ids, num_folds, seed)
    logits, ids = [np.zeros((0, train.num_classes), np.float32)], [np.zeros(0, np.int64)]
    for fold in range(num_folds):
        out = folds == fold
        if out.any():
            rest = replace(train, inputs=train.inputs[~out], class_ids=train.class_ids[~out])
            logits.append(_fit(rest, config, seed).logits(train.inputs[out, 0]))
            ids.append(train.class_ids[out])
    return np.concatenate(logits), np.concatenate(ids)


def folds_of(class_ids: Int64[np.ndarray, " num"], num_folds: int, seed: int) -> Int64[np.ndarray, " num"]:
    """The fold of each image, as many of each class in each as can be; -1 for the only image of a class."""
    rng, folds = np.random.default_rng(seed), np.full(len(class_ids), -1, dtype=np.int64)
    for class_id in np.unique(class_ids):
        members = rng.permutation(np.flatnonzero(class_ids == class_id))
        if len(members) > 1:
            # classes begin at different folds, so that folds of small classes are about equally large
            folds[members] = (np.arange(len(members)) + rng.integers(num_folds)) % num_folds
    return folds


def temperature_of(logits: Float[np.ndarray, "num classes"], class_ids: Int64[np.ndarray, " num"]) -> float:
    """The temperature in [0.2, 20] with the smallest loss; the loss is convex in its inverse."""
    low, high = (math.log(temperature) for temperature in _TEMPERATURES)
    found = minimize_scalar(
        lambda log_t: balanced_nll(logits, class_ids, math.exp(log_t)), bounds=(low, high), method="bounded"
    )
    return float(math.exp(found.x))


def balanced_nll(
    logits: Float[np.ndarray, "num classes"], class_ids: Int64[np.ndarray, " num"], temperature: float
) -> float:
    """Mean over the classes of the mean of -log softmax(z / T)_y, in nats; 0 without an image."""
    losses = -log_softmax(logits.astype(np.float64) / temperature, axis=1)[np.arange(len(class_ids)), class_ids]
    return float(np.mean([losses[class_ids == c].mean() for c in np.unique(class_ids)])) if len(class_ids) else 0.0
