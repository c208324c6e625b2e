"""The recommendation by hand-made rows: which ratio wins, what stops it, and what is said beside it."""

import dataclasses

import pytest
from small_sweep import EVERY_ARM

from flowerti.artifacts.records import SweepRow
from flowerti.artifacts.sweep import SweepClassRow, SweepContrast
from flowerti.config.experiment import SweepConfig
from flowerti.sweep import recommendation
from flowerti.tables import Table
from flowerti.tables.arms import ARMS, Arm, judged_arm, replaced_on, source_arms
from flowerti.tables.sources import SOURCES

CONFIG = SweepConfig(num_bootstrap=100)


def planned(rows, *more, arms=EVERY_ARM):
    """The arms that have rows, and more that were planned and failed."""
    names = dict.fromkeys([row.arm for row in rows] + list(more))
    return Table("arm of this sweep", [arms[name] for name in names])


def recommend(rows, config, arm="token", arms=None):
    return recommendation.recommend(rows, arms or planned(rows), config, (arms or EVERY_ARM)[arm])


def best_control(rows, config):
    return recommendation.best_control(rows, EVERY_ARM, config).name


def recommend_classes(class_rows, rows, config):
    return recommendation.recommend_classes(class_rows, rows, planned(class_rows), config, EVERY_ARM["token"])


def warn(ratio, contrasts):
    return recommendation.warn(ratio, contrasts, EVERY_ARM, judged_arm())


def _made(arm, ratio, gain, p_value, rest_gain=0.0, split="validation"):
    return SweepRow(
        split=split,
        arm=arm,
        ratio=ratio,
        num_repetitions=5,
        macro_f1=0.7,
        macro_f1_low=0.6,
        macro_f1_high=0.8,
        weak_f1=0.5 + gain,
        weak_f1_low=0.4 + gain,
        weak_f1_high=0.6 + gain,
        rest_f1=0.8 + rest_gain,
        weak_gain=gain,
        weak_gain_low=gain - 0.03,
        weak_gain_high=gain + 0.03,
        weak_gain_p=p_value,
        rest_gain=rest_gain,
        rest_gain_low=rest_gain - 0.005,
    )


REAL_ON_TEST = _made("real", 0.0, 0.0, 1.0, split="test")
REAL = _made("real", 0.0, 0.0, 1.0)


def test_the_largest_significant_gain_is_recommended():
    rows = [
        REAL,
        _made("token", 0.5, 0.05, 0.001),
        _made("token", 1.0, 0.09, 0.002, rest_gain=-0.004),
        _made("token", 2.0, 0.15, 0.2),
    ]
    ratio, sentence = recommend(rows, CONFIG)
    assert ratio == 1.0
    # Holm: the second smallest of three p-values is multiplied by two.
    for part in ("Use 1 ", "+0.090", "+0.060 to +0.120", "p 0.004", "-0.004"):
        assert part in sentence
    assert "does as well" not in sentence


def test_holm_counts_the_ratios():
    rows = [REAL, *(_made("token", ratio, 0.1, 0.02) for ratio in (0.5, 1.0, 2.0))]
    ratio, sentence = recommend(rows, CONFIG)
    assert ratio == 0.0
    assert "beyond chance" in sentence
    assert "p 0.06" in sentence
    assert recommend(rows[:3], CONFIG)[0] == 0.5  # two ratios: 0.04


def test_a_ratio_that_harms_the_rest_is_refused():
    # the others lose 0.016, and with 95 % confidence no more than 0.021
    rows = [REAL, _made("token", 1.0, 0.05, 0.001), _made("token", 2.0, 0.2, 0.001, -0.016)]
    assert recommend(rows, CONFIG)[0] == 1.0
    assert recommend(rows, SweepConfig(max_rest_drop=0.03))[0] == 2.0
    ratio, sentence = recommend([REAL, rows[2]], CONFIG)
    assert ratio == 0.0
    assert "it is not shown that the others lose no more than 0.02 (down to -0.021)" in sentence
    assert "-0.016" in sentence


def test_controls_and_plain_prompts_that_do_as_well_are_named():
    chosen = _made("token", 2.0, 0.1, 0.001)
    rows = [
        REAL,
        chosen,
        _made("balanced", 0.0, 0.1, 0.001),
        _made("augmented", 0.0, 0.12, 0.001),
        _made("balanced_softmax", 0.0, 0.02, 0.4),
        _made("raw", 1.0, 0.11, 0.001),
    ]
    ratio, sentence = recommend(rows, CONFIG)
    assert ratio == 2.0
    assert "a free control does as well: augmented (weak F1 0.620 against 0.600)" in sentence
    assert "a plain prompt does as well: raw at ratio 1 (weak F1 0.610" in sentence
    weaker = [row for row in rows if row.arm in ("real", "token", "balanced_softmax")]
    assert "does as well" not in recommend(weaker, CONFIG)[1]


def _beside_repeated(row, content_gain, content_gain_p):
    return dataclasses.replace(row, content_gain=content_gain, content_gain_p=content_gain_p)


def test_a_gain_that_repeated_real_images_may_reach_is_refused():
    rows = [
        REAL,
        _beside_repeated(_made("token", 1.0, 0.05, 0.001), 0.04, 0.01),
        _beside_repeated(_made("token", 2.0, 0.1, 0.001), 0.02, 0.06),
        _made("repeated", 1.0, 0.01, 0.1),
        _made("repeated", 2.0, 0.08, 0.01),
    ]
    assert recommend(rows, CONFIG)[0] == 1.0
    ratio, sentence = recommend([REAL, rows[2], rows[4]], CONFIG)
    assert ratio == 0.0
    assert "not beyond what repeating the real images as often does (+0.020)" in sentence
    assert recommend([REAL, rows[2]], CONFIG)[0] == 2.0, "without that control it is not asked for"
    alone = _made("token", 4.0, 0.2, 0.001)
    assert recommend([REAL, alone, rows[3]], CONFIG)[0] == 0.0, "the control failed at this ratio: nothing is shown"
    assert best_control(rows, CONFIG) == "real", "it has a ratio, so nothing is put on top of it"


def test_both_p_values_of_a_ratio_are_adjusted_over_the_ratios():
    """Four ratios: a content gain at p 0.02 would do alone, and 4 x 0.02 = 0.08 does not."""
    rows = [_beside_repeated(_made("token", r, 0.1, 0.001), 0.05, 0.02) for r in (0.5, 1.0, 2.0, 4.0)]
    rows += [REAL, *(_made("repeated", r, 0.05, 0.2) for r in (0.5, 1.0, 2.0, 4.0))]
    assert recommend(rows, CONFIG)[0] == 0.0
    # one of them at 0.01: Holm's first step asks for 0.05 / 4
    rows[1] = dataclasses.replace(rows[1], content_gain_p=0.012)
    assert recommend(rows, CONFIG)[0] == 1.0


def test_a_planned_control_that_failed_shows_nothing():
    rows = [REAL, _made("token", 1.0, 0.2, 0.001)]
    arms = planned(rows, "repeated")
    ratio, sentence = recommend(rows, CONFIG, arms=arms)
    assert ratio == 0.0
    assert "no trial of arm repeated, its control, came to its end" in sentence
    classes = [_class_row("azalea", 1.0, 0.2, 0.005)]
    (found,) = recommendation.recommend_classes(classes, rows, arms, CONFIG, EVERY_ARM["token"])
    assert found.ratio == 0.0


def test_real_never_counts_as_a_rival_of_a_losing_arm():
    rows = [REAL, _made("token", 1.0, -0.1, 1.0), _made("balanced", 0.0, -0.05, 0.9)]
    ratio, sentence = recommend(rows, CONFIG)
    assert ratio == 0.0
    assert "does as well" not in sentence


def test_another_arm_can_be_judged():
    rows = [REAL, _made("token", 1.0, 0.1, 0.001), _made("raw", 4.0, 0.1, 0.001)]
    assert recommend(rows, CONFIG, arm="raw")[0] == 4.0


PLUGIN_ARMS = Table(
    "arm of this sweep",
    [
        *ARMS,
        *source_arms(),
        Arm(name="slow", label="slow start"),
        Arm(name="raw_balanced", label="r", source="raw", level="ratio", control="balanced", is_balanced=True),
        Arm(name="shuffled_raw", label="s", source="raw", level="ratio", donor="next"),
        Arm(name="half_lora", label="half", source="lora", level="ratio", has_balanced_softmax=True, control="real"),
    ],
)


@pytest.mark.parametrize(
    ("arm", "ratio", "said"),
    [
        ("slow", 0.0, "a free control does as well: slow (weak"),
        ("repeated", 2.0, "a free control does as well: repeated at ratio 2 (weak"),
        ("raw_balanced", 1.0, "a plain prompt does as well: raw_balanced at ratio 1 (weak"),
        ("shuffled_raw", 1.0, ""),
        ("half_lora", 1.0, ""),
        ("lora", 1.0, ""),
    ],
)
def test_what_costs_less_than_learning_is_named_whatever_arm_it_is(arm: str, ratio: float, said: str):
    rows = [REAL, _made("token", 2.0, 0.1, 0.001), _made(arm, ratio, 0.2, 0.001)]
    sentence = recommend(rows, CONFIG, arms=planned(rows, arms=PLUGIN_ARMS))[1]
    assert said in sentence
    assert bool(said) == ("does as well" in sentence)


def test_the_rule_is_told_of_other_images_that_cost_more_than_a_name():
    run = ("raw", "token", "lora", "half_lora", "raw_balanced", "shuffled_raw", "shuffled_token")
    rows = [REAL, *(_made(arm, 1.0, 0.1, 0.001) for arm in run)]
    told = recommendation.tell_of_others(rows, planned(rows, arms=PLUGIN_ARMS), CONFIG, judged_arm())
    assert [sentence.partition(": Use 1 ")[0] for sentence in told] == [
        "The same rule for the images of arm lora (token and adapter)",
        "The same rule for the images of arm half_lora (half)",
    ]
    assert recommendation.tell_of_others(rows[:1], planned(rows, arms=PLUGIN_ARMS), CONFIG, judged_arm()) == [], (
        "they were not run"
    )


def test_images_between_classes_are_told_beside_what_they_must_beat_and_that_itself_is_no_offer():
    """Only the shared label is told of; with the other class's labels the same images are its control."""
    shared, as_source = "balanced+token_inter_class_shared_label", "balanced+token_inter_class_source_label"
    judged = replaced_on(ARMS["balanced"], SOURCES["token"])
    rows = [REAL, *(_made(arm, 0.6, 0.1, 0.001) for arm in (judged.name, shared, as_source))]
    rows = [dataclasses.replace(row, content_gain_p=0.5) for row in rows]
    arms = Table("arm of this sweep", [ARMS["real"], judged, ARMS[shared], ARMS[as_source]])
    (told,) = recommendation.tell_of_others(rows, arms, CONFIG, judged)
    assert told.startswith(f"The same rule for the images of arm {shared} ({ARMS[shared].label}): Use no synthetic")
    assert f"but not beyond what arm {as_source} does" in told


def test_an_arm_that_nobody_knows_is_refused():
    rows = [REAL, _made("token", 1.0, 0.1, 0.001), _made("mixup", 0.0, 0.3, 0.001)]
    for ask in (recommend, best_control):
        with pytest.raises(ValueError, match="unknown arm of this sweep 'mixup'"):
            ask(rows, CONFIG)


def test_without_trials_of_the_arm_nothing_is_recommended():
    ratio, sentence = recommend([REAL], CONFIG)
    assert ratio == 0.0
    assert "no trial of arm token" in sentence


def test_test_rows_cannot_decide():
    with pytest.raises(ValueError, match="validation only"):
        recommend([_made("token", 1.0, 0.1, 0.001, split="test")], CONFIG)


def test_the_best_control_is_the_best_harmless_one():
    rows = [
        REAL,
        _made("balanced", 0.0, 0.1, 0.5),
        _made("augmented", 0.0, 0.2, 0.001, rest_gain=-0.03),
        _made("token", 1.0, 0.3, 0.001),
    ]
    assert best_control(rows, CONFIG) == "balanced"
    assert best_control(rows, SweepConfig(max_rest_drop=0.05)) == "augmented"
    assert best_control([REAL, _made("balanced", 0.0, -0.1, 1.0)], CONFIG) == "real"
    with pytest.raises(ValueError, match="validation only"):
        best_control([_made("real", 0.0, 0.0, 1.0, split="test")], CONFIG)


def _class_row(name, ratio, gain, holm_p, split="validation"):
    return SweepClassRow(
        split=split,
        arm="token",
        ratio=ratio,
        class_name=name,
        num_images=20,
        recall=0.5,
        recall_low=0.3,
        recall_high=0.7,
        f1=0.5,
        gain=gain,
        gain_low=gain - 0.1,
        gain_high=gain + 0.1,
        gain_p=holm_p / 5,
        holm_p=holm_p,
        answer="undecided",
        detectable_effect=0.1,
    )


def test_each_class_gets_its_own_ratio_or_none():
    rows = [
        _class_row("azalea", 1.0, 0.1, 0.01),
        _class_row("azalea", 2.0, 0.2, 0.04),
        _class_row("azalea", 4.0, 0.5, 0.06),
        _class_row("rose", 1.0, 0.3, 0.2),
        _class_row("rose", 2.0, -0.3, 0.001),
    ]
    arms = [_made("token", ratio, 0.1, 0.01) for ratio in (1.0, 2.0, 4.0)]
    found = {c.class_name: c for c in recommend_classes(rows, arms, CONFIG)}
    assert {name: c.ratio for name, c in found.items()} == {"azalea": 2.0, "rose": 0.0}
    assert "+0.300 at ratio 1" in found["rose"].reason
    harmful = [arms[0], _made("token", 2.0, 0.1, 0.01, rest_gain=-0.02), arms[2]]
    assert [c.ratio for c in recommend_classes(rows, harmful, CONFIG)] == [1.0, 0.0]
    repeated = [dataclasses.replace(_class_row("azalea", 2.0, 0.1, 0.01), arm="repeated")]
    beaten = [dataclasses.replace(rows[0], content_gain_p=0.008), *rows[1:]]
    assert [c.ratio for c in recommend_classes(beaten + repeated, arms, CONFIG)] == [1.0, 0.0]
    found = recommend_classes(rows + repeated, arms, CONFIG)
    assert [c.ratio for c in found] == [0.0, 0.0], "a larger gain than that of repeated images must not be by chance"
    assert "not shown to beat repeated real images" in found[0].reason
    for unfit in (([_class_row("rose", 1.0, 0.3, 0.2, split="test")], arms), (rows, [REAL_ON_TEST])):
        with pytest.raises(ValueError, match="validation only"):
            recommend_classes(*unfit, CONFIG)


def _contrast(against, low):
    return SweepContrast(
        split="validation",
        arm="token",
        ratio=2.0,
        against_arm=against,
        against_ratio=0.0,
        difference=0.05,
        low=low,
        high=0.2,
        p=0.1,
        answer="undecided",
        detectable_effect=0.1,
    )


def test_a_control_that_is_not_beaten_is_warned_of():
    contrasts = [_contrast("real", -0.1), _contrast("balanced", 0.0), _contrast("raw", 0.01)]
    (sentence,) = warn(2.0, contrasts)
    assert "free control balanced may do as well" in sentence
    assert "+0.050" in sentence
    assert warn(0.0, contrasts) == []
    turned = dataclasses.replace(contrasts[1], arm="balanced+token")
    assert warn(2.0, [turned]) == [], "only the token's own contrasts count"
