"""Scores of single synthetic images: how sure a classifier of real images is of them, and the nearest training image.

This module knows nothing about files or where features come from.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import softmax

from flowerti.artifacts.image_scores import ImageScore
from flowerti.classifier.training import Head
from flowerti.scoring.nearest_images import similarities


def score_images(
    head: Head,
    class_id: int,
    images: Float[np.ndarray, "num dim"],
    addresses: Sequence[str],
    train: Float[np.ndarray, "num_train views dim"],
    train_ids: Sequence[str],
) -> list[ImageScore]:
    """Score the images of one set.

    Args:
        head: trained on real training images only.
        class_id: the set's class among the head's.
        images: features of the set's images.
        addresses: where they are.
        train: features of the class's training images, at least one.
        train_ids: their ids.
    """
    probabilities = softmax(head.logits(images.astype(np.float32)).astype(np.float64), axis=1)[:, class_id]
    by_image = similarities(images[:, None], train).max(axis=2)
    nearest = by_image.argmax(axis=1)
    return [
        ImageScore(
            image=address,
            probability=float(probabilities[i]),
            similarity=float(by_image[i, nearest[i]]),
            train_id=train_ids[int(nearest[i])],
        )
        for i, address in enumerate(addresses)
    ]
