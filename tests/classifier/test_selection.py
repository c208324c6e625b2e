"""Each rule on a case that can be read off, ranks against SciPy, and the reasons as a person reads them."""

import numpy as np
import pytest
from scipy import stats

from flowerti.artifacts.records import ClassScore
from flowerti.classifier.selection import select
from flowerti.config.experiment import SelectionConfig

F1 = {"aster": 0.9, "bluebell": 0.5, "canna": 0.12, "dahlia": 0.3, "elder": 0.3}
COUNTS = {"aster": 8, "bluebell": 8, "canna": 100, "dahlia": 9, "elder": 60}


def scores(f1: dict[str, float]) -> list[ClassScore]:
    return [ClassScore(class_name=n, precision=0.0, recall=0.0, f1=value, support=5) for n, value in f1.items()]


def names(rows: list) -> list[str]:
    return [row.class_name for row in rows]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("lowest_f1", ["canna", "dahlia", "elder"]),
        ("fewest_images", ["aster", "bluebell", "dahlia"]),
        # F1 ranks 5 4 1 2 2, count ranks 1 1 5 3 4: means 3 2.5 3 2.5 3
        ("blend", ["bluebell", "dahlia", "aster"]),
    ],
)
def test_rules(rule, expected: list[str]) -> None:
    selection = select(scores(F1), COUNTS, SelectionConfig(rule=rule, num_classes=3))
    assert names(selection.selected) == expected
    assert names(selection.by_evidence) == ["bluebell", "dahlia", "aster"]


def test_order_of_the_classes_does_not_matter() -> None:
    backwards = dict(reversed(F1.items()))
    config = SelectionConfig(rule="blend", num_classes=4)
    assert select(scores(backwards), COUNTS, config) == select(scores(F1), COUNTS, config)


def test_blend_is_the_mean_of_scipys_ranks() -> None:
    rng = np.random.default_rng(0)
    f1 = {f"class {i:02}": float(value) for i, value in enumerate(rng.integers(0, 20, 60) / 20)}
    counts = {name: int(count) for name, count in zip(f1, rng.integers(5, 30, 60), strict=True)}
    mean_ranks = stats.rankdata(list(f1.values()), "min") + stats.rankdata(list(counts.values()), "min")
    expected = [name for _, name in sorted(zip(mean_ranks, f1, strict=True))][:15]
    assert names(select(scores(f1), counts, SelectionConfig(rule="blend", num_classes=15)).selected) == expected


def test_fixed_classes_stand_beside_the_evidence() -> None:
    selection = select(scores(F1), COUNTS, SelectionConfig(rule="fixed", class_names=("elder", "aster")))
    assert names(selection.selected) == ["elder", "aster"]
    assert names(selection.by_evidence) == ["bluebell", "dahlia"]


def test_reasons_and_figures() -> None:
    selection = select(scores(F1), COUNTS, SelectionConfig(rule="lowest_f1", num_classes=4))
    canna, dahlia, _, bluebell = selection.selected
    assert canna.reason == "validation F1 0.12, lowest of 5; 100 training images, 5th fewest of 5"
    assert dahlia.reason == ("validation F1 0.30, 2nd lowest of 5 (with 1 other); 9 training images, 3rd fewest of 5")
    assert bluebell.reason == ("validation F1 0.50, 4th lowest of 5; 8 training images, fewest of 5 (with 1 other)")
    assert (canna.num_train, canna.f1_validation) == (100, 0.12)


def test_equal_counts_are_no_evidence() -> None:
    selection = select(scores(F1), dict.fromkeys(F1, 1), SelectionConfig(rule="blend", num_classes=1))
    assert selection.selected[0].reason == "validation F1 0.12, lowest of 5; 1 training image, as every class of 5"


def test_teens_end_in_th() -> None:
    f1 = {f"class {i:02}": i / 30 for i in range(23)}
    selection = select(scores(f1), dict.fromkeys(f1, 9), SelectionConfig(rule="lowest_f1", num_classes=23))
    places = [row.reason.split(";")[0].split(", ")[1] for row in selection.selected]
    assert places[:4] == ["lowest of 23", "2nd lowest of 23", "3rd lowest of 23", "4th lowest of 23"]
    assert places[10:13] == ["11th lowest of 23", "12th lowest of 23", "13th lowest of 23"]
    assert places[20:] == ["21st lowest of 23", "22nd lowest of 23", "23rd lowest of 23"]


def test_unknown_class_is_named_with_close_ones() -> None:
    with pytest.raises(ValueError, match=r"selection\.class_names: 'Dalia' is no class .*did you mean 'dahlia'\?"):
        select(scores(F1), COUNTS, SelectionConfig(rule="fixed", class_names=("Dalia",)))
    with pytest.raises(ValueError, match="'zzz' is no class of the data set: check its name"):
        select(scores(F1), COUNTS, SelectionConfig(rule="fixed", class_names=("zzz",)))


def test_misfits_are_refused() -> None:
    config = SelectionConfig(rule="blend", num_classes=2)
    with pytest.raises(ValueError, match=r"selection\.num_classes is 6, but there are 5 classes"):
        select(scores(F1), COUNTS, SelectionConfig(rule="blend", num_classes=6))
    with pytest.raises(ValueError, match="training images of 'elder' is missing"):
        select(scores(F1), {name: count for name, count in COUNTS.items() if name != "elder"}, config)
    with pytest.raises(ValueError, match="occurs twice"):
        select(scores(F1) + scores({"aster": 0.1}), COUNTS, config)


def test_spoilt_classes_are_passed_over_with_the_reason_and_ranked_as_ever() -> None:
    spoilt = {"canna": "the base knows it", "aster": "the base knows that"}
    selection = select(scores(F1), COUNTS, SelectionConfig(rule="lowest_f1", num_classes=2), spoilt)
    assert names(selection.selected) == ["dahlia", "elder"]
    assert names(selection.passed_over) == ["canna"], "aster is not among the weakest anyway"
    assert selection.passed_over[0].reason.endswith("; the base knows it")
    assert "2nd lowest of 5" in selection.selected[0].reason
    assert names(selection.by_evidence) == ["bluebell", "dahlia"]


def test_fewer_classes_than_asked_for_are_selected_where_the_others_are_spoilt() -> None:
    spoilt = dict.fromkeys(("aster", "bluebell", "canna", "dahlia"), "the base knows it")
    config = SelectionConfig(rule="blend", num_classes=3)
    selection = select(scores(F1), COUNTS, config, spoilt)
    assert names(selection.selected) == ["elder"]
    assert set(names(selection.passed_over)) == set(spoilt)
    with pytest.raises(ValueError, match=r"^selection\.rule: 'blend' is left with no class"):
        select(scores(F1), COUNTS, config, dict.fromkeys(F1, "the base knows it"))


def test_fixed_classes_are_not_passed_over_but_the_evidence_beside_them_is() -> None:
    config = SelectionConfig(rule="fixed", class_names=("elder", "aster"))
    selection = select(scores(F1), COUNTS, config, {"bluebell": "the base knows it", "aster": "and it"})
    assert names(selection.selected) == ["elder", "aster"]
    assert names(selection.by_evidence) == ["dahlia", "canna"]
    assert names(selection.passed_over) == ["bluebell", "aster"]
