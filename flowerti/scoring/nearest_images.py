"""How near images come to the training images of their class by their features, and whether that is nearer than usual.

This module does not know about files, models or where features come from.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from flowerti.data.aligned_thumbnails import check_aligned_thumbnails
from flowerti.scoring.alignment import find_copies, originals_of

SIMILARITY_QUANTILE = 0.95
"""Share of held-out images below the similarity limit.

The limit only selects images for inspection, so a false-positive rate of 5 % is acceptable. A higher quantile would
miss slightly rescaled training images: on Oxford 102 their similarity falls to 0.89, which is above the 0.95 quantile
(0.87) and below the 0.99 quantile (0.91).
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """A list of images; the three fields are aligned."""

    ids: list[str]
    """Ids of real images, paths of synthetic ones."""
    features: Float[np.ndarray, "_ _ _"]
    """[num, views, dim]: the plain view; for training images also the mirrored view."""
    thumbnails: Float[np.ndarray, "_ _"]
    """The output of `aligned_thumbnails`."""


def check_images(name: str, images: Images, dim: int | None = None) -> None:
    """Reject images whose fields do not fit together, or whose features are not of width `dim`.

    Raises:
        ValueError: they do not, or hold NaN or infinity; begins with `name`.
    """
    num = len(images.ids)
    if num == 0 or images.features.shape[0] != num:
        raise ValueError(f"{name}: {len(images.features)} feature rows for {num} image(s); give one for each")
    if dim is not None and images.features.shape[2] != dim:
        raise ValueError(
            f"{name}: features of width {images.features.shape[2]}, but the training images' have {dim}; "
            "use one extractor for both"
        )
    if not np.isfinite(images.features).all():
        raise ValueError(f"{name}: features hold NaN or infinity; check the feature extractor")
    check_aligned_thumbnails(name, images.thumbnails, num)


def similarities(
    x: Float[np.ndarray, "num_x views_x dim"], train: Float[np.ndarray, "num_train views dim"]
) -> Float64[np.ndarray, "num_x num_train views"]:
    """Cosines x.y / (|x| |y|) of the plain views with all views of the training images."""
    plain, views = x[:, 0].astype(np.float64), train.reshape(-1, train.shape[2]).astype(np.float64)
    plain /= np.maximum(np.linalg.norm(plain, axis=1, keepdims=True), 1e-12)
    views /= np.maximum(np.linalg.norm(views, axis=1, keepdims=True), 1e-12)
    # [num_x, dim] x [dim, num_train * views] -> [num_x, num_train, views]
    return (plain @ views.T).reshape(len(x), len(train), -1)


def held_out_similarities(class_name: str, train: Images, held_out: Images) -> Float64[np.ndarray, " num"]:
    """Highest similarity of each held-out real image of a class to its training images: the reference without copies.

    Args:
        class_name: the class, for errors.
        train: its training images, in their plain and mirrored views.
        held_out: its held-out real images; near duplicates of training images are excluded.

    Returns:
        The highest cosine of each held-out image.

    Raises:
        ValueError: features or thumbnails do not fit together or are not finite; names the class.
    """
    check_images(f"class {class_name!r}, training images", train)
    check_images(f"class {class_name!r}, held-out images", held_out, train.features.shape[2])
    is_new = np.ones(len(held_out.ids), dtype=bool)
    is_new[find_copies(held_out.thumbnails, originals_of(train.thumbnails)).image] = False
    return similarities(held_out.features, train.features).max(axis=(1, 2))[is_new]


def nearer_p_value(synthetic: Float64[np.ndarray, " num"], held_out: Float64[np.ndarray, " _"]) -> float:
    """One-sided Mann-Whitney test of the null "synthetic images are not closer"; 1 if all values are equal."""
    from scipy.stats import mannwhitneyu

    if np.ptp(np.concatenate([synthetic, held_out])) == 0:
        return 1.0
    return float(mannwhitneyu(synthetic, held_out, alternative="greater").pvalue)
