"""Each filter by hand on a few images, and what every filter has in common."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

from flowerti.artifacts.records import ImageSet
from flowerti.config.filters import FiltersConfig
from flowerti.curation.curate import curate_set
from flowerti.curation.rules import MIN_WEIGHT, Evidence, rule_of
from flowerti.tables.filters import FILTERS, Filter

RNG = np.random.default_rng(0)
OWN = np.array([0.5, 0.1, 0.9, 0.5, 0.0])


def evidence(**changes: object) -> Evidence:
    """Five images of class 1 of three; the others share what is left of the probability as 3 to 1."""
    found = Evidence(
        class_id=1,
        similarities=np.array([0.2, 0.9, 0.5, 0.7, 0.95]),
        real_similarities=np.array([0.6, 0.9]),
        probabilities=np.stack([0.75 * (1 - OWN), OWN, 0.25 * (1 - OWN)], axis=1),
        clip_ids=np.array([1, 1, 0, 2, 1]),
    )
    return dataclasses.replace(found, **changes)


def weights(name: str, found: Evidence | None = None, **settings: Any) -> list[float]:
    return rule_of(FILTERS[name])(found or evidence(), FiltersConfig(**settings)).tolist()


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("top_share", {"share": 0.4}, [1, 0, 1, 0, 0]),
        ("top_share", {"share": 0.5}, [1, 0, 1, 1, 0]),
        ("top_share", {"share": 0.01}, [0, 0, 1, 0, 0]),
        ("hard_share", {"share": 0.4}, [0, 1, 0, 0, 1]),
        ("hard_share", {"share": 0.5}, [1, 1, 0, 0, 1]),
        ("top_k", {"top_k": 1}, [1, 0, 1, 1, 0]),
        ("top_k", {"top_k": 2}, [1, 0, 1, 1, 0]),
        ("confidence", {}, [0.5, 0.1, 0.9, 0.5, MIN_WEIGHT]),
        ("no_copies", {}, [1, 1, 1, 1, 0]),
        ("no_outliers", {"far_share": 0.2}, [0, 1, 1, 1, 1]),
        ("no_outliers", {"far_share": 0.5}, [0, 1, 0, 1, 1]),
        ("no_outliers", {"far_share": 0.1}, [1, 1, 1, 1, 1]),
        ("clip", {}, [1, 1, 0, 0, 1]),
    ],
)
def test_what_each_filter_keeps(name: str, settings: dict, expected: list[float]):
    assert weights(name, **settings) == expected


@pytest.mark.parametrize("k", [1, 3, 9])
def test_the_place_among_all_classes_is_that_of_ranks(k: int):
    probabilities = RNG.dirichlet(np.ones(10), size=40)
    ranks = rankdata(-probabilities, axis=1)[:, 4]
    found = evidence(class_id=4, probabilities=probabilities, similarities=np.zeros(40), clip_ids=None)
    assert weights("top_k", found, top_k=k) == (ranks <= k).tolist()
    assert 0 < sum(ranks <= k) <= 40


def test_a_class_with_one_training_image_has_no_copies_that_could_be_told():
    assert weights("no_copies", evidence(real_similarities=np.zeros(0))) == [1.0] * 5


def test_an_image_as_near_as_real_ones_are_stays():
    found = evidence(similarities=np.array([0.9, np.nextafter(0.9, 1)]), probabilities=None, clip_ids=None)
    assert weights("no_copies", found) == [1, 0]


@pytest.mark.parametrize("name", FILTERS.names)
def test_every_weight_lies_between_0_and_1(name: str):
    assert all(0 <= weight <= 1 for weight in weights(name))


def every_second(found: Evidence, config: FiltersConfig) -> np.ndarray:
    return np.arange(len(found.similarities)) % 2.0


def test_a_row_of_a_plugin_is_a_filter(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FILTERS, "_rows", dict(FILTERS._rows))
    FILTERS.add(Filter(name="second", label="every second one", implementation=f"{__name__}:every_second"))
    config = FiltersConfig(keep=("second", "top_share"), share=0.5)
    images = ImageSet(class_name="b", source="raw", prompt="", num_images=5, files=[], key="k")
    assert curate_set(images, evidence(), config, 1).weights == [0, 0, 0, 1, 0]


def test_code_that_is_not_there_is_named():
    row = dataclasses.replace(FILTERS["top_k"], implementation="flowerti.curation.rules:nothing")
    with pytest.raises(ValueError, match=r"filter 'top_k': flowerti\.curation\.rules:nothing cannot be found"):
        rule_of(row)
