"""Free rivals of drawn images in the space of features: Gaussians of the classes, and noise on the features at hand.

Both cost no image and no base, so what is drawn must beat them. They need features that are frozen. This module does
not know about arms, images or how a classifier is trained.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from scipy.linalg import helmert

from flowerti.artifacts.identity import seed_for

NUM_VIEWS = 8
"""Perturbed views of each image."""
CONTRAST, BRIGHTNESS = 0.2, 0.1
"""Half widths of the noise's uniform distributions, where features span [0, 1]."""


class SharedCovariance(NamedTuple):
    """The covariance share * scale * identity + (1 - share) * root' root."""

    root: Float64[np.ndarray, "rank dim"]
    """A root of the covariance as it was found."""
    share: float
    """Of the identity, in [0, 1]."""
    scale: float
    """The mean variance of a feature."""

    def draw(self, num: int, rng: np.random.Generator) -> Float64[np.ndarray, "num dim"]:
        """Normal vectors of mean 0 with this covariance."""
        rank, dim = self.root.shape
        # x = sqrt(l m) g + sqrt(1 - l) R' h with normal g and h has covariance l m I + (1 - l) R'R
        of_identity = np.sqrt(self.share * self.scale) * rng.standard_normal((num, dim))
        return of_identity + np.sqrt(1 - self.share) * rng.standard_normal((num, rank)) @ self.root


def shared_covariance(features: Float[np.ndarray, "num dim"], class_ids: Int64[np.ndarray, " num"]) -> SharedCovariance:
    """The covariance within classes, shared by all and shrunk towards a multiple of the identity.

    Source: Ledoit and Wolf 2004 (J. Multivariate Anal. 88), section 3.3, for the share of the identity.

    Args:
        features: one vector for each image.
        class_ids: class of each image.

    Raises:
        ValueError: no class has two images, or all images of each class are the same.
    """
    vectors = features.astype(np.float64)
    own = [vectors[class_ids == class_id] for class_id in np.unique(class_ids)]
    # less their mean, images of a class depend on one another: two of them are opposite. Helmert contrasts do not
    rows = np.concatenate([helmert(len(members)) @ members for members in own if len(members) > 1] or [vectors[:0]])
    num, dim = rows.shape
    if num == 0:
        raise ValueError("class Gaussians: no class has two training images, so nothing tells how they vary")
    scale = float((rows**2).sum() / (num * dim))
    if scale == 0:
        raise ValueError("class Gaussians: the training images of each class are all the same")
    # S = Z'Z / n, of which ZZ' / n has the same norm: whichever of the two is smaller
    product = (rows @ rows.T if num < dim else rows.T @ rows) / num
    norm_of_s = float((product**2).sum())
    # d^2 = |S - m I|^2 / p;  b^2 = sum_k |z_k z_k' - S|^2 / (n^2 p) = (sum_k |z_k|^4 / n - |S|^2) / (n p)
    distance = norm_of_s / dim - scale**2
    spread = (float(((rows**2).sum(axis=1) ** 2).mean()) - norm_of_s) / (num * dim)
    share = min(1.0, spread / distance) if distance > 0 else 1.0
    if num < dim:
        return SharedCovariance(root=rows / np.sqrt(num), share=share, scale=scale)
    # features that never vary leave S singular: a hundred-millionth of the mean variance lets it be factored
    root = np.linalg.cholesky(product + 1e-8 * scale * np.eye(dim)).T
    return SharedCovariance(root=root, share=share, scale=scale)


def gaussian_features(
    features: Float32[np.ndarray, "num views dim"], class_ids: Int64[np.ndarray, " num"], seed: int
) -> tuple[Float32[np.ndarray, "drawn 1 dim"], Int64[np.ndarray, " drawn"]]:
    """Features of classes that have fewer images than the largest, up to as many, from a Gaussian around their mean.

    Means and covariance are those of the first view.

    Source: Yang et al. 2021 (Free Lunch for Few-shot Learning, arXiv 2101.06395) for a classifier on features drawn
    from Gaussians of the classes; here with one covariance, shrunk, because a few images give none of their own.

    Args:
        features: of real training images.
        class_ids: class of each image.
        seed: of all draws.

    Returns:
        The drawn features with their classes; none where all classes are equally large.

    Raises:
        ValueError: as `shared_covariance`.
    """
    plain, rng = features[:, 0], np.random.default_rng(seed)
    covariance = shared_covariance(plain, class_ids)
    classes, counts = np.unique(class_ids, return_counts=True)
    found, ids = [np.zeros((0, plain.shape[1]), np.float32)], [np.zeros(0, np.int64)]
    for class_id, missing in zip(classes, counts.max() - counts, strict=True):
        mean = plain[class_ids == class_id].astype(np.float64).mean(axis=0)
        found.append((mean + covariance.draw(int(missing), rng)).astype(np.float32))
        ids.append(np.full(missing, class_id, dtype=np.int64))
    return np.concatenate(found)[:, None], np.concatenate(ids)


class Bounds(NamedTuple):
    """The range of each feature over the training images."""

    low: Float32[np.ndarray, " dim"]
    high: Float32[np.ndarray, " dim"]


def bounds_of(features: Float32[np.ndarray, "num views dim"]) -> Bounds:
    """The smallest and largest value of each feature."""
    return Bounds(features.min(axis=(0, 1)), features.max(axis=(0, 1)))


def perturbed_features(
    features: Float32[np.ndarray, "num views dim"],
    class_ids: Int64[np.ndarray, " num"],
    bounds: Bounds,
    seed: int,
) -> Float32[np.ndarray, "num 8 dim"]:
    """Random views of features: mixed with another image of the class, then with noise on contrast and brightness.

    Features are brought to [0, 1] by their bounds, and back. No view is the plain one.

    Source: FroFA (Bär et al. 2024, arXiv 2403.10519) for contrast and for brightness that differs between channels, on
    features scaled to [0, 1]; there on maps of features, here on their mean. Mixing within a class is ours.

    Args:
        features: of images of any classes.
        class_ids: class of each image; those of one are mixed.
        bounds: range of each feature.
        seed: of all draws.
    """
    rng, spans = np.random.default_rng(seed), np.maximum(bounds.high - bounds.low, 1e-12)
    found = np.empty((len(features), NUM_VIEWS, features.shape[2]), dtype=np.float32)
    for view in range(NUM_VIEWS):
        plain = (features[:, view % features.shape[1]] - bounds.low) / spans
        # x <- l x + (1 - l) x_other with l ~ U[1/2, 1], so that the image itself has the larger share
        share = rng.uniform(0.5, 1, (len(plain), 1))
        mixed = share * plain + (1 - share) * plain[_partners(class_ids, rng)]
        # x <- m + f (x - m), with the mean m over the features and f ~ U[1 - c, 1 + c]
        mean = mixed.mean(axis=1, keepdims=True)
        contrast = mean + rng.uniform(1 - CONTRAST, 1 + CONTRAST, (len(plain), 1)) * (mixed - mean)
        # x <- x + d with d ~ U[-b, b] for each feature
        noisy = contrast + rng.uniform(-BRIGHTNESS, BRIGHTNESS, mixed.shape)
        found[:, view] = bounds.low + np.clip(noisy, 0, 1) * spans
    return found


def _partners(class_ids: Int64[np.ndarray, " num"], rng: np.random.Generator) -> Int64[np.ndarray, " num"]:
    """For each image one of its class, perhaps itself."""
    chosen = np.arange(len(class_ids))
    for class_id in np.unique(class_ids):
        members = np.flatnonzero(class_ids == class_id)
        chosen[members] = rng.choice(members, len(members))
    return chosen


Part = tuple[Float32[np.ndarray, "_ _ _"], Int64[np.ndarray, "_"]]
"""Features of some images and their classes."""


def with_features(
    kind: Literal["", "gaussian", "perturbed"], parts: Sequence[Part], seed: int
) -> tuple[list[Part], int]:
    """A training set as an arm changes its features (see `tables.arm.Arm.features`).

    Args:
        kind: what is done.
        parts: real images, then others.
        seed: of all draws.

    Returns:
        The parts, drawn features right behind the real ones; and how many images these two are.
    """
    (real, ids), *others = parts
    if kind == "gaussian":
        found, drawn_ids = gaussian_features(real, ids, seed)
        drawn: Part = (np.repeat(found, real.shape[1], axis=1), drawn_ids)
        return [parts[0], drawn, *others], len(ids) + len(drawn_ids)
    if kind == "perturbed":
        bounds = bounds_of(real)
        seeds = [seed_for(seed, "", "sweep/features/part", i) for i in range(len(parts))]
        noisy: list[Part] = [(perturbed_features(x, y, bounds, s), y) for (x, y), s in zip(parts, seeds, strict=True)]
        return noisy, len(ids)
    return list(parts), len(ids)
