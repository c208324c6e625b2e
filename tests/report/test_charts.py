"""Charts of classifier and tokens: what is shown, what is merged, and no failure on odd input."""

import dataclasses

import numpy as np
import pytest
from finished_run import classifier, concept
from finished_scores import class_names
from page_reader import pixels

from flowerti.report.canvas import WIDTH_PX
from flowerti.report.charts import confusion_png, curves_png, loss_curves_png


@pytest.mark.parametrize("num_classes", [1, 14, 21, 102])
def test_confusion_of_any_number_of_classes(num_classes):
    report = classifier(class_names(num_classes))
    assert pixels(confusion_png(report, {"species 000"})).shape[1] == WIDTH_PX


def test_a_class_without_images_leaves_its_row_empty():
    report = classifier(class_names(4))
    emptied = dataclasses.replace(report, confusion=[[0] * 4, *report.confusion[1:]])
    assert confusion_png(report, set()) != confusion_png(emptied, set())


def test_large_confusion_shows_weak_classes_with_those_confused_with_them():
    names = class_names(40)
    report = classifier(names)
    usual = confusion_png(report, {names[3]})
    for index, in_sight in ((3, True), (4, True), (2, True), (39, False)):
        renamed = [dataclasses.replace(s, class_name="z") if i == index else s for i, s in enumerate(report.classes)]
        weak = "z" if index == 3 else names[3]
        changed = confusion_png(dataclasses.replace(report, classes=renamed), {weak})
        assert (changed != usual) == in_sight, index


def test_merged_confusion_is_that_of_merged_classes():
    """40 classes of which 20 are shown give the image of 21 classes, the last one being all the others."""
    names = class_names(40)
    report = classifier(names)
    counts = np.asarray(report.confusion)
    merged = np.zeros((21, 21), dtype=int)
    merged[:20, :20] = counts[:20, :20]
    merged[20, :20], merged[:20, 20] = counts[20:, :20].sum(axis=0), counts[:20, 20:].sum(axis=1)
    merged[20, 20] = counts[20:, 20:].sum()
    drawn, texts = confusion_png(report, names[:20]), [*names[:20], "all others"]
    scores = [dataclasses.replace(report.classes[0], class_name=text) for text in texts]
    # Every class is weak but the last, so that none of the 21 is hidden among others of its own.
    again = confusion_png(dataclasses.replace(report, classes=scores, confusion=merged.tolist()), names[:20])
    assert drawn == again


def test_many_tokens_share_one_colour_and_no_legend():
    concepts = [concept(name) for name in class_names(11)]
    renamed = [dataclasses.replace(one, class_name=f"other {i}") for i, one in enumerate(concepts)]
    assert loss_curves_png(concepts) == loss_curves_png(renamed)
    assert loss_curves_png(concepts[:2]) != loss_curves_png(renamed[:2])


def test_curves_with_one_epoch():
    assert pixels(curves_png(classifier(class_names(2)).curves[:1])).shape[1] == WIDTH_PX
