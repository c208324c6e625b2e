"""What the page says about what the base has seen: unknown is not none, and the touched numbers are named."""

import dataclasses

import pytest
from finished_run import page, run
from finished_scores import FOURTEEN

from flowerti.artifacts.records import ClassCount, SeenImages
from flowerti.report import Findings, build_summary
from flowerti.report.base_sentences import what_the_base_has_seen

WEAK, OTHER = FOURTEEN[0], FOURTEEN[5]


def seen(*rows: tuple[str, int, int, int], drawn: str = "") -> SeenImages:
    counts = [
        ClassCount(class_name=name, num_train=train, num_validation=validation, num_test=test)
        for name, train, validation, test in rows
    ]
    return SeenImages(fingerprint="a" * 64, drawn=drawn, counts=counts)


def said(found: SeenImages | None) -> str:
    return what_the_base_has_seen(build_summary(Findings(**run(seen=found))))


def test_unknown_is_not_none():
    text = said(None)
    assert "is not known" in text
    assert not any(character.isdigit() for character in text)
    assert "none of this run's images" in said(seen())


def test_drawn_images_are_explained_in_the_words_of_the_list():
    assert said(seen(drawn="They were drawn from other seeds.")).endswith("They were drawn from other seeds.")


def test_counts_and_what_they_touch():
    text = said(seen((WEAK, 3, 0, 0), (OTHER, 7, 5, 11)))
    assert "3 of" not in text
    assert "10 of" in text and "5 of 350 validation and 11 of 560 test images" in text
    assert "None of the weak classes" in text
    assert f"1 other class ({OTHER})" in text
    assert "F1 of the rest" in text and "rank" in text


def test_weak_classes_that_were_let_through_are_named():
    text = said(seen((WEAK, 0, 1, 0)))
    assert f"weak classes {WEAK}" in text
    assert "F1 of the rest" not in text


def test_the_first_screen_warns_of_weak_classes_that_were_let_through():
    warning = f"The base was trained on validation or test images of {WEAK}"
    assert warning in page(run(seen=seen((WEAK, 0, 1, 0)))).split("<nav>")[0]
    assert warning not in page(run(seen=seen((WEAK, 9, 0, 0), (OTHER, 0, 1, 0))))


def test_many_names_are_cut_short():
    text = said(seen(*((name, 0, 0, 1) for name in FOURTEEN[3:])))
    assert "11 other classes" in text
    assert "and 6 more" in text


@pytest.mark.parametrize("found", [None, seen(), seen((OTHER, 7, 5, 11))])
def test_the_summary_holds_the_counts_and_the_page_the_words(found: SeenImages | None):
    parts = run(seen=found, base_sha256="b" * 64)
    base = build_summary(Findings(**parts))["base"]
    assert (base["path"], base["sha256"]) == ("demo", "b" * 64)
    counts = [(row.num_train, row.num_validation, row.num_test) for row in found.counts] if found else []
    expected = [sum(column) for column in zip((0, 0, 0), *counts, strict=True)]
    assert base["seen_in_training"] == (found and dict(zip(("train", "validation", "test"), expected, strict=True)))
    assert what_the_base_has_seen(build_summary(Findings(**parts))).split("'")[0] in page(parts)


def test_the_page_names_the_classes_that_were_passed_over():
    parts = run()
    chosen = dataclasses.replace(parts["selection"].selected[0], class_name="seen class", reason="the base knows it")
    parts["selection"] = dataclasses.replace(parts["selection"], passed_over=[chosen])
    assert "Passed over" in page(parts)
    assert "<strong>seen class</strong> (the base knows it)" in page(parts)
    assert "Passed over" not in page(run())
