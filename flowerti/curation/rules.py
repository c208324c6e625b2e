"""The filters' formulas: what is known of the images of a pool -> a weight for each, in [0, 1].

This module does not know where features and probabilities come from, nor what the weights are for.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from flowerti.config.filters import FiltersConfig
from flowerti.tables.filters import Filter

MIN_WEIGHT = 1e-4
"""Of an image that is weighted and not refused: a smaller one would be lost in float32 or by another's product."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What is known of the images of a pool, all of one class."""

    class_id: int
    similarities: Float64[np.ndarray, " num"]
    """Of each image: the highest cosine of its features with those of a training image of the class."""
    real_similarities: Float64[np.ndarray, " real"]
    """Of each training image of the class: the highest with another one; none where there is no other."""
    probabilities: Float64[np.ndarray, "num classes"] | None = None
    """By a classifier of real training images, calibrated; None where no filter asks for them."""
    clip_ids: Int64[np.ndarray, " num"] | None = None
    """The class that CLIP takes each image for; None where no filter asks for it."""

    @property
    def own(self) -> Float64[np.ndarray, " num"]:
        """The probability of the class."""
        assert self.probabilities is not None
        return self.probabilities[:, self.class_id]


Rule = Callable[[Evidence, FiltersConfig], Float[np.ndarray, " num"]]


def rule_of(row: Filter) -> Rule:
    """The code of a filter.

    Raises:
        ValueError: it cannot be found; names the filter.
    """
    module, _, name = row.implementation.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"filter {row.name!r}: {row.implementation} cannot be found ({error})") from error


def top_share(evidence: Evidence, config: FiltersConfig) -> Float64[np.ndarray, " num"]:
    """Keep ceil(share * num) images, those with the highest probability of their class; the first of equal ones."""
    order = np.argsort(-evidence.own, kind="stable")
    return _of_rows(order[: math.ceil(config.share * len(order))], len(order))


def hard_share(evidence: Evidence, config: FiltersConfig) -> Float64[np.ndarray, " num"]:
    """Keep ceil(share * num) images, those with the lowest probability of their class; the first of equal ones.

    What a classifier is still unsure of is what it can learn from; a failed image is also among them, so this goes with
    `top_k` and the like.

    Source: TADA (2025, arXiv 2505.21574), which draws anew the images that are learnt late.
    """
    order = np.argsort(evidence.own, kind="stable")
    return _of_rows(order[: math.ceil(config.share * len(order))], len(order))


def top_k(evidence: Evidence, config: FiltersConfig) -> Float64[np.ndarray, " num"]:
    """Keep images whose class is among the k most probable ones: fewer than k classes are more probable.

    Source: SaSPA (Michaeli and Fried 2024, arXiv 2406.14551), with k = 10.
    """
    assert evidence.probabilities is not None
    num_above = (evidence.probabilities > evidence.own[:, None]).sum(axis=1)
    return (num_above < config.top_k).astype(np.float64)


def confidence(evidence: Evidence, config: FiltersConfig) -> Float64[np.ndarray, " num"]:
    """Weigh each image by the calibrated probability of its class, and by 0.0001 at least.

    Source: DIAGen (Lingenberg et al. 2024, arXiv 2408.14584), which also weighs by a classifier's confidence.
    """
    return np.maximum(evidence.own, MIN_WEIGHT)


def no_copies(evidence: Evidence, config: FiltersConfig) -> Float64[np.ndarray, " num"]:
    """Refuse images that are nearer to a training image than any two real training images of the class are.

    Keeps all where the class has a single training image, for nothing tells how near real ones come.
    """
    limit = evidence.real_similarities.max() if len(evidence.real_similarities) else np.inf
    return (evidence.similarities <= limit).astype(np.float64)


def no_outliers(evidence: Evidence, config: FiltersConfig) -> Float64[np.ndarray, " num"]:
    """Refuse floor(far_share * num) images, those that are least similar to every training image of the class."""
    order = np.argsort(evidence.similarities, kind="stable")
    return _of_rows(order[math.floor(config.far_share * len(order)) :], len(order))


def clip_agrees(evidence: Evidence, config: FiltersConfig) -> Float64[np.ndarray, " num"]:
    """Keep images that CLIP takes for their class among all classes of the data set."""
    assert evidence.clip_ids is not None
    return (evidence.clip_ids == evidence.class_id).astype(np.float64)


def _of_rows(rows: Int64[np.ndarray, " kept"], num: int) -> Float64[np.ndarray, "{num}"]:
    weights = np.zeros(num)
    weights[rows] = 1.0
    return weights
