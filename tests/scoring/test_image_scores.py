"""Scores of single images against the formulas written out."""

import numpy as np
import pytest
import torch

from flowerti.classifier.training import Head
from flowerti.scoring.image_scores import score_images


def test_probability_is_the_softmax_and_the_nearest_view_of_any_training_image_counts():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(5, 4)).astype(np.float32)
    train = rng.normal(size=(3, 2, 4)).astype(np.float32)
    train[2, 1] = 7 * images[0]
    head = Head(torch.from_numpy(rng.normal(size=(3, 4)).astype(np.float32)), torch.zeros(3))
    found = score_images(head, 1, images, [f"a{i}" for i in range(5)], train, ["x", "y", "z"])
    exponentials = np.exp(images @ head.weight.numpy().T)
    expected = exponentials[:, 1] / exponentials.sum(axis=1)
    assert [one.probability for one in found] == pytest.approx(expected.tolist(), rel=1e-5)
    assert found[0].train_id == "z" and found[0].similarity == pytest.approx(1.0)
    assert [one.image for one in found] == [f"a{i}" for i in range(5)]
