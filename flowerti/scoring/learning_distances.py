"""Kernel distances of every learning of a class: how much another token of the same images would change a distance.

This module receives features; it does not know the images, files, or what was learnt.
"""

from collections.abc import Mapping

import numpy as np

from flowerti.artifacts.scores import LearningDistance
from flowerti.metrics.kernel import kernel_distance
from flowerti.scoring.metric_table import Features

LearningKey = tuple[str, str, int]
"""Class name, source, and which learning of the class."""


def learning_distances(
    real: Mapping[str, Features], synthetic: Mapping[LearningKey, Features], extractor: str, reference: str
) -> tuple[list[LearningDistance], list[str]]:
    """The kernel distance of each learning's images to all real ones, of classes and sources with several learnings.

    Sets are not cut to one size: the estimate is unbiased at any.

    Args:
        real: features [num, dim] of the held-out images, by class.
        synthetic: features [num, dim] of each learning's images.
        extractor: name of the network that they come from.
        reference: split of the real images.

    Returns:
        One record for each class and source, and a note for each set that has no distance.
    """
    values: dict[tuple[str, str], dict[int, float]] = {}
    notes = []
    for (class_name, source, learning), features in synthetic.items():
        try:
            distance = kernel_distance(real[class_name], features)
        except ValueError as error:
            notes.append(f"{class_name}, {source}, learning {learning}: no kernel distance: {error}")
            continue
        values.setdefault((class_name, source), {})[learning] = distance
    found = [
        LearningDistance(
            class_name=class_name,
            source=source,
            extractor=extractor,
            reference=reference,
            learnings=sorted(of_set),
            values=[of_set[learning] for learning in sorted(of_set)],
            std=float(np.std(list(of_set.values()), ddof=1)),
        )
        for (class_name, source), of_set in values.items()
        if len(of_set) > 1
    ]
    return found, notes
