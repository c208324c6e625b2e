"""Which repetition uses which draw, learning and pool, against nested loops."""

import pytest

from flowerti.config.replication import ReplicationConfig
from flowerti.sweep.repetitions import conditional_on, num_units, repetitions_of, unit_name


@pytest.mark.parametrize("counts", [(1, 1, 1, 1), (1, 3, 1, 2), (2, 3, 2, 2), (3, 1, 2, 1), (1, 1, 1, 4)])
def test_repetitions_are_nested_loops(counts: tuple[int, int, int, int]):
    num_draws, num_learnings, num_pools, num_seeds = counts
    config = ReplicationConfig(
        num_draws=num_draws, num_learnings=num_learnings, num_pools=num_pools, num_seeds=num_seeds
    )
    expected = [
        (draw, draw * num_learnings + learning, pool)
        for draw in range(num_draws)
        for learning in range(num_learnings)
        for pool in range(num_pools)
        for _ in range(num_seeds)
    ]
    found = repetitions_of(config)
    assert [(r.draw, r.learning, r.pool) for r in found] == expected
    assert [r.index for r in found] == list(range(config.num_repetitions))


@pytest.mark.parametrize(
    ("counts", "units", "name", "shared"),
    [
        ((1, 4, 1, 1), 4, "learning", ["the training images at hand"]),
        ((1, 4, 2, 3), 4, "learning", ["the training images at hand"]),
        ((3, 2, 1, 1), 3, "draw of training images", []),
        ((3, 1, 1, 1), 3, "draw of training images", []),
        ((1, 1, 2, 3), 2, "pool of images", ["the training images at hand", "what was learnt"]),
        (
            (1, 1, 1, 5),
            5,
            "classifier seed",
            ["the training images at hand", "what was learnt", "the images that were drawn"],
        ),
    ],
)
def test_a_unit_is_one_of_the_outermost_step_that_is_repeated(
    counts: tuple[int, int, int, int], units: int, name: str, shared: list[str]
):
    num_draws, num_learnings, num_pools, num_seeds = counts
    config = ReplicationConfig(
        num_draws=num_draws, num_learnings=num_learnings, num_pools=num_pools, num_seeds=num_seeds
    )
    assert (num_units(config), unit_name(config), conditional_on(config)) == (units, name, shared)
    size, attribute = config.num_repetitions // units, {"dr": "draw", "le": "learning", "po": "pool", "cl": "index"}
    first_of_each = repetitions_of(config)[::size]
    assert len({getattr(repetition, attribute[name[:2]]) for repetition in first_of_each}) == units
