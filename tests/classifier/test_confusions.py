import pytest

from flowerti.artifacts.records import ClassifierReport, ClassScore
from flowerti.classifier.confusions import confusable

NAMES = ("rose", "lily", "azalea", "poppy")


def report(confusion: list[list[int]]) -> ClassifierReport:
    scores = [ClassScore(class_name=name, precision=0.0, recall=0.0, f1=0.0, support=4) for name in NAMES]
    return ClassifierReport(
        backbone="b", weights_sha256="w", accuracy=0.0, macro_f1=0.0, curves=[], classes=scores, confusion=confusion
    )


def test_both_directions_count_and_the_most_confused_comes_first():
    # roses taken for lilies 2 times; azaleas taken for roses 3 times; poppies never
    found = report([[2, 2, 0, 0], [0, 4, 0, 0], [3, 0, 1, 0], [0, 0, 0, 4]])
    assert confusable(found, "rose") == ["azalea", "lily"]
    assert confusable(found, "lily") == ["rose"]
    assert confusable(found, "poppy") == []


def test_equal_numbers_keep_the_order_of_the_classes():
    assert confusable(report([[0, 1, 1, 1], [0] * 4, [0] * 4, [0] * 4]), "rose") == ["lily", "azalea", "poppy"]


def test_a_class_of_another_report_is_refused():
    with pytest.raises(ValueError, match=r"^classifier/report\.json has no class 'tulip': delete it"):
        confusable(report([[0] * 4] * 4), "tulip")
