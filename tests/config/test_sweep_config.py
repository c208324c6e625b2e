"""Which arms a sweep may be asked for."""

import dataclasses

import pytest

from flowerti.config.presets import demo
from flowerti.config.sweep import SweepConfig
from flowerti.tables.arms import ARMS, Arm


@pytest.fixture(autouse=True)
def _plugin_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ARMS, "_rows", dict(ARMS._rows))
    ARMS.add(Arm(name="slow", label=""))
    ARMS.add(Arm(name="raw_balanced", label="", source="raw", level="ratio", control="balanced", is_balanced=True))
    ARMS.add(Arm(name="raw_replace", label="", source="raw", level="probability", replaces=True))
    ARMS.add(Arm(name="lost", label="", source="raw", level="ratio", control="nowhere"))
    ARMS.add(Arm(name="unlike", label="", source="raw", level="ratio", is_balanced=True))


def test_rows_of_a_plugin_can_be_asked_for():
    config = SweepConfig(
        free_arms=("real", "slow"), extra_arms=("raw_balanced", "raw_replace"), replace_probabilities=(0.5,)
    )
    dataclasses.replace(demo(), sweep=config)
    SweepConfig(extra_arms=("slow", "repeated"))
    SweepConfig(extra_arms=("balanced+token_round_trip_rest", "balanced+round_trip_all"))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"free_arms": ("real", "mixup")}, "sweep.free_arms names unknown mixup: choose among real, balanced"),
        ({"free_arms": ("real", "repeated")}, "sweep.free_arms names repeated, which is no control"),
        ({"free_arms": ("real", "shuffled_token")}, "sweep.free_arms names shuffled_token, which is no control"),
        ({"free_arms": ("real", "real")}, "sweep.free_arms names an arm twice"),
        ({"free_arms": ("balanced",)}, "sweep.free_arms must contain 'real'"),
        ({"extra_arms": ("mixup",)}, "sweep.extra_arms names unknown mixup"),
        ({"extra_arms": ("slow", "slow")}, "sweep.extra_arms names an arm twice"),
        (
            {"extra_arms": ("raw_replace",), "replace_probabilities": ()},
            "runs at sweep.replace_probabilities: give some",
        ),
        ({"mixing": ("fixed",), "replace_probabilities": ()}, "sweep.replace_probabilities is empty: name some"),
        ({"extra_arms": ("lost",)}, "whose control 'nowhere' is no arm that treats images as it does"),
        (
            {"extra_arms": ("token_first", "balanced_first"), "replace_probabilities": ()},
            "sweep.extra_arms names token_first, which runs at sweep.replace_probabilities: give some",
        ),
        (
            {"extra_arms": ("token_round_trip_rest",)},
            "names token_round_trip_rest without round_trip_all, which it is held against: name both",
        ),
        ({"extra_arms": ("unlike",)}, "whose control 'real' is no arm that treats images as it does"),
    ],
)
def test_unfit_arms_are_refused(settings: dict, problem: str):
    with pytest.raises(ValueError, match=problem):
        SweepConfig(**settings)


def test_an_extra_arm_needs_its_source():
    tokens = dataclasses.replace(demo().sampling, sources=("token",))
    with pytest.raises(ValueError, match=r"sweep\.extra_arms names raw_balanced, which needs 'raw'"):
        dataclasses.replace(demo(), sampling=tokens, sweep=SweepConfig(extra_arms=("raw_balanced",)))


@pytest.mark.parametrize("mode", ["full", "scratch"])
def test_rivals_in_feature_space_need_frozen_features(mode: str):
    classifier = dataclasses.replace(demo().classifier, mode=mode)
    for field in ("free_arms", "extra_arms"):
        names = ("real", "class_gaussians") if field == "free_arms" else ("class_gaussians",)
        sweep = SweepConfig(**{field: names})
        dataclasses.replace(demo(), sweep=sweep)
        problem = (
            rf"^sweep\.{field} names class_gaussians, which changes frozen features: it needs classifier\.mode 'head'"
        )
        with pytest.raises(ValueError, match=problem):
            dataclasses.replace(demo(), sweep=sweep, classifier=classifier)
