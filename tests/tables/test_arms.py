"""Arms by hand: what the rows say, what is made from sources, and what contradicts itself."""

import pickle

import pytest

from flowerti.artifacts.identity import key_of
from flowerti.tables import arms
from flowerti.tables.arms import (
    ARMS,
    BASELINE,
    Arm,
    arm_of,
    inter_class_arms,
    judged_arm,
    reference_of,
    replaced_on,
    round_trip_arms,
    shuffled_on,
    source_arms,
    stacked,
    two_stage_arms,
)
from flowerti.tables.sources import SOURCES


def test_every_row_keeps_what_it_says_of_its_control():
    for arm in ARMS:
        assert ARMS[arm.control].is_control
        assert ARMS[arm.control].treatment == arm.treatment
        assert not arm.pool or arm.pool in SOURCES
        assert arm.is_control == (arm.level == "none")
        assert not arm.held_against or ARMS[arm.held_against].treatment == arm.treatment
    balancing = ("balanced", "balanced_softmax")
    combined = [f"{name}_augmented" for name in balancing]
    in_features = ["class_gaussians", "feature_noise", *(f"{name}_feature_noise" for name in balancing)]
    names = ["real", *balancing, "augmented", *combined, *in_features]
    assert [arm.name for arm in ARMS if arm.is_control] == names
    for balanced, both in zip(balancing, in_features[2:], strict=True):
        expected = [a or b for a, b in zip(ARMS[balanced].treatment, ARMS["feature_noise"].treatment, strict=True)]
        assert list(ARMS[both].treatment) == expected
    for name, (balanced, augmented) in zip(combined, ((name, "augmented") for name in balancing), strict=True):
        both = [a or b for a, b in zip(ARMS[balanced].treatment, ARMS[augmented].treatment, strict=True)]
        assert list(ARMS[name].treatment) == both
    assert {arm.name for arm in ARMS if arm.is_standing} == {"repeated", "shuffled_token"}


def test_sources_have_arms_of_their_own():
    assert [arm.name for arm in source_arms()] == [source.name for source in SOURCES if source.is_arm]
    assert judged_arm() == arm_of(SOURCES["token"])
    assert {arm.name for arm in source_arms() if arm.is_plain_prompt} == {"raw", "alternative_name", "latin_name"}
    assert not any(arm.is_free or arm.repeats or arm.replaces for arm in source_arms())


def test_a_source_on_top_of_a_control_is_treated_as_that_control():
    for control in (arm for arm in ARMS if arm.is_control):
        arm = stacked(control, SOURCES["lora"])
        name = "lora" if control == BASELINE else f"{control.name}+lora"
        assert (arm.name, arm.source, arm.level) == (name, "lora", "ratio")
        assert (arm.control, arm.treatment) == (control.name, control.treatment)
        assert not arm.is_plain_prompt


def test_a_source_in_place_of_real_images_is_treated_as_its_control():
    for control in (arm for arm in ARMS if arm.is_control):
        arm, shuffled = replaced_on(control, SOURCES["token"]), shuffled_on(control)
        assert arm == judged_arm("fixed", control)
        assert {arm.mass, shuffled.mass} == {"fixed"} and judged_arm("added", control).mass == "added"
        assert (arm.donor, shuffled.donor, shuffled.source) == ("own", "next", "token")
        for one in (arm, shuffled):
            assert (one.control, one.treatment, one.level) == (control.name, control.treatment, "probability")
    assert replaced_on(BASELINE, SOURCES["raw"]).name == "raw_replace"
    assert replaced_on(ARMS["balanced"], SOURCES["raw"]).name == "balanced+raw_replace"
    assert replaced_on(ARMS["balanced"], SOURCES["raw"]).is_plain_prompt
    assert BASELINE.mass is None


def test_the_pool_is_the_source_whose_images_are_counted():
    assert (ARMS["repeated"].pool, ARMS["repeated"].is_free) == ("token", True)
    assert (ARMS["shuffled_token"].pool, ARMS["shuffled_token"].is_free) == ("token", False)
    assert (BASELINE.pool, BASELINE.is_free) == ("", True)


def test_what_no_training_depends_on_can_be_left_out():
    arm = Arm(name="a", label="one", source="raw", level="ratio", control="real", is_standing=True)
    other = Arm(name="a", label="two", source="raw", level="ratio", control="balanced")
    assert arm.as_trained() == other.as_trained()
    assert arm.as_trained() != Arm(name="a", label="", source="raw", level="ratio", donor="next").as_trained()


def test_arms_from_before_keep_the_keys_of_their_trials():
    """Written down before arms had further fields."""
    expected = {
        BASELINE: "75917fa537cda7e1d5ca43341858fad342b0aaf181e75e446cf8548836882053",
        ARMS["repeated"]: "2d7510043d0d8e9eaca77527140bdc0ae8582feaa17f0c38a70cc6fdf6b1c0a5",
        replaced_on(
            ARMS["balanced"], SOURCES["token"]
        ): "339782248e5b2c209689b88b65a1ba6b0ad0384fabc50a82cb7f3b2927145473",
    }
    assert {arm: key_of(arm.key_fields(), [0.5]) for arm in expected} == expected
    later = ARMS["balanced+token_round_trip_rest"]
    assert later.key_fields()["round_trips"] == "others"
    assert "held_against" not in later.key_fields()


def test_what_a_look_of_drawn_images_cannot_explain_is_held_against_round_trips_everywhere():
    for control in (arm for arm in ARMS if arm.is_control and not arm.features):
        everywhere, beside = round_trip_arms(control, SOURCES["token"])
        assert [ARMS[arm.name] for arm in (everywhere, beside)] == [everywhere, beside]
        assert (everywhere.mass, beside.mass) == ("fixed", "fixed")
        assert (everywhere.control, everywhere.treatment) == (control.name, control.treatment)
        assert (beside.control, beside.treatment) == (control.name, control.treatment)
        assert (everywhere.source, beside.source) == ("", "token")
        assert reference_of(ARMS, beside) == everywhere
        assert reference_of([control, beside], beside) is None, "not its control, which has no round trips"
        assert reference_of(ARMS, everywhere) is None
        assert not everywhere.is_free and not everywhere.is_control and not everywhere.is_standing


def test_a_shared_label_is_held_against_the_same_images_with_the_other_classes_label():
    source = SOURCES["token_inter_class"]
    for control in (arm for arm in ARMS if arm.is_control and not arm.features):
        as_source, shared = inter_class_arms(control, source)
        assert [ARMS[arm.name] for arm in (as_source, shared)] == [as_source, shared]
        assert (as_source.labels, shared.labels) == ("source", "shared")
        assert reference_of(ARMS, shared) == as_source
        assert reference_of(ARMS, as_source) == control
        for arm in (as_source, shared):
            assert (arm.mass, arm.source, arm.control) == ("fixed", source.name, control.name)
            assert arm.treatment == control.treatment
    assert not source.is_arm, "none with a whole label"


def test_two_stages_with_drawn_images_are_held_against_two_stages_with_real_ones():
    for control in (a for a in ARMS if a.is_control and not a.has_balanced_softmax and not a.features):
        real, drawn = two_stage_arms(control, SOURCES["token"])
        assert [ARMS[arm.name] for arm in (real, drawn)] == [real, drawn]
        assert {real.level, drawn.level} == {"share"}
        assert (real.mass, drawn.mass) == (None, None), "classes have other shares in each stage"
        assert reference_of(ARMS, drawn) == real
        assert (real.is_free, drawn.is_free, real.is_control) == (True, False, False)
        assert real.treatment == drawn.treatment == control.treatment
    assert "balanced_softmax+token_first" not in ARMS


def test_an_arm_travels_without_its_table():
    arm = Arm(name="nowhere", label="in no table", source="unheard_of", level="ratio")
    assert pickle.loads(pickle.dumps(arm)) == arm


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": "a/b"}, "its name must be letters"),
        ({"name": ""}, "its name must be letters"),
        ({"name": "a b"}, "its name must be letters"),
        ({"source": "raw", "repeats": "raw", "level": "ratio"}, "both a source and repeats"),
        ({"source": "raw"}, "level must be 'none' where"),
        ({"level": "ratio"}, "level must be 'none' where"),
        ({"repeats": "raw"}, "level must be 'none' where"),
        ({"source": "raw", "level": "probability"}, "level 'probability' and replaces go together"),
        ({"source": "raw", "level": "ratio", "replaces": True}, "level 'probability' and replaces go together"),
        ({"repeats": "raw", "level": "probability", "replaces": True}, "need a source"),
        ({"repeats": "raw", "level": "ratio", "donor": "next"}, "need a source"),
        ({"source": "raw", "level": "share"}, "level 'share' and begins_balanced go together"),
        ({"source": "raw", "level": "ratio", "begins_balanced": True}, "level 'share' and begins_balanced"),
        ({"level": "share", "begins_balanced": True, "has_balanced_softmax": True}, "correct for the counts"),
        ({"begins_balanced": True}, "level must be 'none' where"),
        ({"source": "raw", "level": "ratio", "labels": "shared"}, "labels of another class need a source between"),
        ({"source": "raw", "level": "ratio", "round_trips": "others"}, "round trips take the place"),
        ({"level": "probability", "replaces": True, "round_trips": "others"}, "level must be 'none' where"),
        (
            {"source": "raw", "level": "probability", "replaces": True, "round_trips": "all"},
            "round trips take the place",
        ),
    ],
)
def test_an_arm_that_contradicts_itself_is_refused(fields: dict, problem: str):
    with pytest.raises(ValueError, match=problem):
        Arm(**{"name": "a", "label": "", **fields})


def test_which_arm_shows_real_images_again_as_often():
    token, raw = (arm_of(SOURCES[name]) for name in ("token", "raw"))
    repeated = ARMS["repeated"]
    assert reference_of(ARMS, token) == reference_of(ARMS, raw) == repeated
    assert reference_of(ARMS, stacked(ARMS["balanced"], SOURCES["token"])) == repeated
    for arm in (repeated, BASELINE):
        assert reference_of(ARMS, arm) is None
    assert reference_of([BASELINE, token], token) is None
    of_raw = Arm(name="raw_again", label="", repeats="raw", level="ratio")
    balanced = Arm(name="b", label="", repeats="token", level="ratio", control="balanced", is_balanced=True)
    all_of_them = [repeated, of_raw, balanced]
    assert reference_of(all_of_them, token) == repeated
    assert reference_of(all_of_them, raw) == of_raw
    assert reference_of(all_of_them, stacked(ARMS["balanced"], SOURCES["raw"])) == balanced


def test_images_in_place_of_real_ones_are_held_against_their_control():
    on_balanced = replaced_on(ARMS["balanced"], SOURCES["raw"])
    assert reference_of(ARMS, on_balanced) == ARMS["balanced"]
    assert reference_of(ARMS, replaced_on(BASELINE, SOURCES["raw"])) == BASELINE
    assert reference_of([BASELINE, on_balanced], on_balanced) is None


def test_a_source_that_is_called_like_an_arm_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ARMS, "_rows", dict(ARMS._rows))
    ARMS.add(Arm(name="lora", label="no source's"))
    with pytest.raises(ValueError, match="'lora' is a source of images and an arm"):
        arms.source_arms()
