"""Kernel distances of every learning: against torchmetrics' own, and only where there is more than one."""

import numpy as np
import pytest
import torch

from flowerti.scoring.learning_distances import learning_distances


def features(num: int, shift: float, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(num, 8)) + shift).astype(np.float32)


def test_each_learning_has_the_distance_that_another_library_gives():
    from torchmetrics.image.kid import poly_mmd

    real = {"rose": features(20, 0, 0)}
    synthetic = {("rose", "token", learning): features(20, 0.3 * learning, 1 + learning) for learning in (2, 0, 1)}
    ((found,), notes) = learning_distances(real, synthetic, "network", "test")
    expected = [
        float(poly_mmd(torch.from_numpy(real["rose"]), torch.from_numpy(synthetic["rose", "token", learning])))
        for learning in range(3)
    ]
    assert found.learnings == [0, 1, 2]
    assert found.values == pytest.approx(expected, rel=1e-4)
    mean = sum(expected) / 3
    assert found.std == pytest.approx((sum((v - mean) ** 2 for v in expected) / 2) ** 0.5, rel=1e-3)
    assert (found.class_name, found.source, found.extractor, found.reference) == ("rose", "token", "network", "test")
    assert notes == []


def test_a_single_learning_has_no_spread_and_a_degenerate_one_a_note():
    real = {"rose": features(20, 0, 0)}
    constant = np.ones((5, 8), np.float32)
    found, notes = learning_distances(
        real, {("rose", "token", 0): features(9, 0, 1), ("rose", "token", 1): constant}, "network", "test"
    )
    assert found == []
    (note,) = notes
    assert note.startswith("rose, token, learning 1: no kernel distance: ")
