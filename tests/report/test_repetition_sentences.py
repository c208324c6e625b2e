"""What is said of repetitions: what intervals rest on, what they do not know, and nothing where nobody knows."""

import dataclasses

import pytest

from flowerti.config.replication import ReplicationConfig
from flowerti.report.repetition_sentences import basis, caution
from flowerti.sweep.variance import replication_of


def summary_of(**counts: int) -> dict:
    return {"replication": dataclasses.asdict(replication_of(ReplicationConfig(**counts), None))}


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (
            {"num_learnings": 4, "num_seeds": 1},
            "Intervals rest on 4 learnings of every class and are conditional on the training images at hand: "
            "how much others would change the gain is in none of them.",
        ),
        ({"num_draws": 5, "num_learnings": 1, "num_seeds": 1}, "Intervals rest on 5 draws of training images."),
        (
            {"num_learnings": 1, "num_seeds": 6},
            "Intervals rest on 6 classifier seeds and are conditional on the training images at hand, what was learnt "
            "and the images that were drawn: how much others would change the gain is in none of them.",
        ),
    ],
)
def test_what_intervals_rest_on(counts: dict[str, int], said: str):
    assert basis(summary_of(**counts)) == said


def test_few_repetitions_are_told():
    assert caution(summary_of(num_learnings=4, num_seeds=9)).startswith("With 4 learnings of every class the intervals")
    assert caution(summary_of(num_learnings=1, num_seeds=1)).startswith("With a single training of each arm")
    assert caution(summary_of(num_learnings=5, num_seeds=1)) == ""
    once = "Every arm was trained once: intervals rest on the held-out images alone and are conditional on the training"
    assert basis(summary_of(num_learnings=1, num_seeds=1)).startswith(once)


def test_nothing_is_said_without_a_protocol():
    assert basis({"replication": None}) == caution({"replication": None}) == ""
