"""Mean cosines against loops over pairs."""

import numpy as np
import pytest

from flowerti.metrics.similarity import image_similarity, text_similarity


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_image_similarity_is_the_mean_over_all_pairs():
    rng = np.random.default_rng(50)
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(4, 3))
    assert image_similarity(x, y) == pytest.approx(np.mean([cosine(a, b) for a in x for b in y]))


def test_text_similarity_is_the_mean_over_images():
    rng = np.random.default_rng(51)
    x, text = rng.normal(size=(5, 3)), rng.normal(size=3)
    assert text_similarity(x, text.astype(np.float32)) == pytest.approx(np.mean([cosine(a, text) for a in x]), rel=1e-6)


def test_unfit_vectors_are_refused():
    x = np.random.default_rng(52).normal(size=(5, 3))
    with pytest.raises(ValueError, match="text_feature: width 2 beside 3"):
        text_similarity(x, np.ones(2))
    with pytest.raises(ValueError, match="text_feature: feature vector 0 is zero"):
        text_similarity(x, np.zeros(3))
    with pytest.raises(ValueError, match="y: feature vector 1 is zero"):
        image_similarity(x, np.array([[1.0, 0, 0], [0, 0, 0]]))
