"""All filters on a set: pools of images apart, weights multiplied, and what is told of it."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from flowerti.artifacts.curation import Curation
from flowerti.artifacts.records import ImageSet
from flowerti.config.filters import FiltersConfig
from flowerti.curation.curate import acceptance_rows, curate_set, evidence_of, refused_sets
from flowerti.curation.rules import Evidence

RNG = np.random.default_rng(5)


def image_set(class_name: str = "rose", learning: int = 0, num: int = 6) -> ImageSet:
    return ImageSet(
        class_name=class_name, source="token", learning=learning, prompt="", num_images=num, files=[], key="k"
    )


def evidence(own: list[float], similarities: list[float] | None = None) -> Evidence:
    """Images of class 0 of two."""
    return Evidence(
        class_id=0,
        similarities=np.array(similarities or [0.5] * len(own)),
        real_similarities=np.array([0.8, 0.8]),
        probabilities=np.stack([own, 1 - np.array(own)], axis=1),
    )


OWN = [0.9, 0.8, 0.7, 0.3, 0.2, 0.1]


def test_similarities_are_the_highest_cosines_and_no_image_is_its_own_neighbour():
    drawn, real = RNG.normal(size=(7, 2, 5)), RNG.normal(size=(4, 2, 5))
    found = evidence_of(0, drawn, real)
    cosines = 1 - cdist(drawn[:, 0], real.reshape(8, 5), "cosine")
    np.testing.assert_allclose(found.similarities, cosines.max(axis=1))
    between = (1 - cdist(real[:, 0], real.reshape(8, 5), "cosine")).reshape(4, 4, 2)
    expected = [max(between[i, j].max() for j in range(4) if j != i) for i in range(4)]
    np.testing.assert_allclose(found.real_similarities, expected)
    assert len(evidence_of(0, drawn, real[:1]).real_similarities) == 0


def test_copies_of_training_images_are_refused_and_new_ones_are_kept():
    real = RNG.normal(size=(6, 2, 20))
    drawn = np.concatenate([real[:3] + 0.01 * RNG.normal(size=(3, 2, 20)), RNG.normal(size=(3, 2, 20))])
    found = curate_set(image_set(), evidence_of(0, drawn, real), FiltersConfig(keep=("no_copies",)), 1)
    assert found.weights == [0, 0, 0, 1, 1, 1]
    assert found.refused == {"no_copies": 3}


@pytest.mark.parametrize(("num_parts", "expected"), [(1, [1, 1, 1, 0, 0, 0]), (2, [1, 1, 0, 1, 1, 0])])
def test_a_share_is_one_of_each_pool(num_parts: int, expected: list[float]):
    config = FiltersConfig(keep=("top_share",), share=0.5)
    assert curate_set(image_set(), evidence(OWN), config, num_parts).weights == expected
    assert sum(expected) == num_parts * config.max_kept(6 // num_parts)


def test_weights_multiply_and_each_filter_counts_its_own():
    config = FiltersConfig(keep=("confidence", "no_copies", "top_k"), top_k=1)
    found = curate_set(image_set(), evidence(OWN, [0.5, 0.9, 0.5, 0.9, 0.5, 0.5]), config, 1)
    np.testing.assert_allclose(found.weights, [0.9, 0, 0.7, 0, 0, 0])
    assert found.refused == {"confidence": 0, "no_copies": 2, "top_k": 3}


def test_a_class_is_left_out_where_one_learning_lacks_images_in_one_pool():
    config = FiltersConfig(keep=("top_k",), top_k=1)
    few = curate_set(image_set("rose", 1), evidence(OWN), config, 1)
    some = [curate_set(image_set(name, 0), evidence(OWN), config, 1) for name in ("rose", "lily")]
    none = curate_set(image_set("azalea"), evidence([0.1] * 6), config, 1)
    assert refused_sets([*some, few, none], 1) == [("azalea", "token")]
    assert refused_sets([*some, few, none], 2) == [("rose", "token"), ("lily", "token"), ("azalea", "token")]


def test_what_was_kept_is_told_over_all_learnings():
    config = FiltersConfig(keep=("top_k", "confidence"), top_k=1)
    sets = [
        curate_set(image_set("rose", 0), evidence(OWN, [0.6] * 3 + [0.2] * 3), config, 1),
        curate_set(image_set("rose", 1), evidence([0.9] * 6, [0.3] * 6), config, 1),
        curate_set(image_set("lily", 0), evidence([0.1] * 6), config, 1),
    ]
    rose, lily = acceptance_rows(sets, [("lily", "token")])
    assert (rose.num_drawn, rose.num_kept, rose.share_kept, rose.is_left_out) == (12, 9, 0.75, False)
    assert rose.mean_weight == pytest.approx((0.9 + 0.8 + 0.7 + 6 * 0.9) / 9)
    assert rose.refused == {"top_k": 3, "confidence": 0}
    assert rose.similarity_kept == pytest.approx((3 * 0.6 + 6 * 0.3) / 9)
    assert rose.similarity_refused == pytest.approx(0.2)
    assert (lily.num_kept, lily.mean_weight, lily.similarity_kept, lily.is_left_out) == (0, 0.0, None, True)
    curation = Curation(filters=list(config.keep), rows=[rose, lily], judges=[], sets=sets)
    assert curation.weights_of("rose", "token", 1) == sets[1].weights
    assert curation.left_out == [("lily", "token")]
