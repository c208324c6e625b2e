"""The first sentences of a report: each action in words, with its numbers on test."""

import dataclasses

import pytest

from flowerti.config.replication import ReplicationConfig
from flowerti.report.headline import evidence, headline
from flowerti.sweep.variance import replication_of

VERDICT = {
    "action": "use_control",
    "arm": "balanced_softmax",
    "ratio": 0.0,
    "reason": "because",
    "split": "test",
    "before": 0.4915,
    "after": 0.8004,
    "gain": 0.3089,
    "low": 0.22,
    "high": 0.4,
    "detectable_effect": 0.112,
    "answer": "helps",
}
LABELS = {
    "balanced_softmax": "balanced softmax",
    "token": "learnt token",
    "raw": "class name",
    "augmented+token_replace": "augmentation and learnt token instead of real",
}
LEVELS = {"balanced_softmax": "none", "token": "ratio", "raw": "ratio", "augmented+token_replace": "probability"}
ARMS = [{"name": name, "level": level} for name, level in LEVELS.items()]


def of(**changes: object) -> dict[str, object]:
    return {"verdict": VERDICT | changes, "replication": None, "arms": ARMS}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Train with balanced softmax, and add no synthetic images."),
        ({"ratio": 2.0}, "Train with balanced softmax (2 for each real one), and add no synthetic images."),
        (
            {"action": "use_generated", "arm": "token", "ratio": 4.0},
            "Train with 4 images of the learnt token for each real one of a weak class.",
        ),
        (
            {"action": "use_name", "arm": "raw", "ratio": 0.5},
            "Train with 0.5 images of the class name for each real one of a weak class: nothing need be learnt.",
        ),
        (
            {"action": "use_generated", "arm": "augmented+token_replace", "ratio": 0.3},
            "Train with augmentation and learnt token instead of real, with probability 0.3 in the weak classes.",
        ),
        ({"action": "nothing_helped", "arm": "token"}, "Add no synthetic images: nothing that was tried helps."),
        ({"action": "undecided", "arm": "token"}, "Undecided: this run cannot tell whether anything helps."),
    ],
)
def test_each_action_is_a_sentence(changes: dict[str, object], said: str):
    assert headline(of(**changes), LABELS.__getitem__) == said


def test_the_numbers_are_those_of_test_and_say_what_could_have_been_seen():
    assert evidence(of(), LABELS.__getitem__) == (
        "The test split confirms it. With balanced softmax the weak classes' F1 on test goes from 0.491 to 0.800 "
        "(+0.309, 95 % interval +0.220 to +0.400). A run like this finds a true gain of 0.112 four times in five."
    )
    assert evidence(of(answer="undecided"), LABELS.__getitem__).startswith("The test split does not settle it. With")
    replication = dataclasses.asdict(replication_of(ReplicationConfig(num_learnings=4, num_seeds=1), None))
    repeated = of() | {"replication": replication}
    assert "four times in five. Intervals rest on 4 learnings of every class and are conditional on the training" in (
        evidence(repeated, LABELS.__getitem__)
    )
    nothing = of(action="undecided", arm="token", answer="undecided")
    assert evidence(nothing, LABELS.__getitem__).startswith("With learnt token")


def test_a_run_without_judged_images_says_neither():
    assert headline({"verdict": None}, str) == evidence({"verdict": None}, str) == ""
