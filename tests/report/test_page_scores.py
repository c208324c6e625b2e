"""What the page says of the scores: names, distances, matrix, recognition, copies, near duplicates."""

import base64
import dataclasses
import re

import pytest
from finished_run import page, run
from finished_scores import (
    EXTRACTOR,
    FOURTEEN,
    copy_check,
    distance,
    near_duplicate,
    scores,
    verdict,
)
from page_reader import section

from flowerti.artifacts.scores import Extractor, MatrixRow
from flowerti.report.names import copies_file, matrix_file

WEAK = FOURTEEN[:3]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("token", "the token is needed"),
        ("better_name_is_enough", "a better name is enough"),
        ("class_name_is_enough", "the class name is enough"),
        ("undecided", "undecided"),
    ],
)
def test_each_verdict_stands_beside_its_class_with_its_reason(said, shown):
    given = dataclasses.replace(scores(WEAK), verdicts=[verdict(WEAK[1], said)])
    text = section(page(run(scores=given)), "names")
    assert f"{WEAK[1]} {shown} Numbers of {WEAK[1]}." in text
    assert f"{shown} for 1 class." in text


def test_names_and_tokens_stand_side_by_side_with_intervals():
    text = section(page(run()), "names")
    for shown in (
        "class name 1.90 1.60 … 2.20 0.21 40 40 0.0005 +1.10 +0.90 … +1.30 0.0005",
        "other name 1.40 1.10 … 1.70 0.21 40 40 0.0005 −0.04 −0.24 … +0.16 0.6000",
        "Latin name 1.60 1.30 … 1.90 0.21 40 40 0.0005 +0.80 +0.60 … +1.00 0.0010",
        "learnt token 0.80 0.50 … 1.10 0.21 40 40 0.0005 – – –",
    ):
        assert text.count(shown) == 3, shown


def test_numbers_of_different_extractors_and_splits_never_share_a_table():
    usual = scores(WEAK)
    places = [(extractor, split) for extractor in (EXTRACTOR, "dinov2") for split in ("validation", "test")]
    values = {place: f"{value:.2f}" for place, value in zip(places, (4.44, 5.55, 6.66, 7.77), strict=True)}
    given = dataclasses.replace(
        usual,
        extractors=[*usual.extractors, Extractor(name="dinov2", weights_sha256="d" * 64, input_size_px=224)],
        distances=[
            dataclasses.replace(row, extractor=extractor, reference=split, value=float(value))
            for (extractor, split), value in values.items()
            for row in usual.distances
            if row.metric == "kernel"
        ],
        comparisons=[],
        learning_distances=[],
    )
    html = page(run(scores=given))
    of_section = html.split('<h3 id="distances">')[1].split("<h3 id=")[0]
    tables = [set(re.sub("<[^>]*>", " ", table).split()) for table in re.findall("(?s)<table.*?</table>", of_section)]
    assert sorted(sorted(words & set(values.values())) for words in tables) == [[value] for value in values.values()]
    for extractor, split in places:
        assert f"{extractor} features, {split} images" in section(html, "distances")
    assert "dinov2, 224 px sha256 dddddddddddd" in section(html, "run")


def test_distances_of_every_learning_stand_beside_their_spread():
    text = section(page(run()), "distances")
    assert "The same of every learning" in text
    assert f"{WEAK[0]} learnt token test 3 0.310, 0.350, 0.290 0.031" in text
    none = page(run(scores=dataclasses.replace(scores(WEAK), learning_distances=[])))
    assert "The same of every learning" not in section(none, "distances")


def test_every_distance_stands_beside_its_floor_and_both_n():
    given = dataclasses.replace(
        scores(WEAK),
        distances=[
            distance(WEAK[0], "token", "frechet", 12.3, floor=4.56, num_real=31, num_synthetic=37, floor_num_images=15)
        ],
    )
    assert "learnt token 12.3 4.6 31 37 15" in section(page(run(scores=given)), "distances")


def test_the_matrix_shows_figures_ranks_and_missing_classes():
    row = MatrixRow(
        class_name=WEAK[0],
        source="real",
        extractor=EXTRACTOR,
        metric="kernel",
        values=[0.5, None, *[0.25 + i for i in range(12)]],
        num_real=[40, 2, *[40] * 12],
        num_synthetic=33,
        rank=2,
        nearest=FOURTEEN[2],
    )
    html = page(run(scores=dataclasses.replace(scores(WEAK), matrix=[row])), {matrix_file(EXTRACTOR, "kernel"): b"M"})
    assert f"{WEAK[0]} real (training) 2 of 13 0.500 {FOURTEEN[2]} 0.250 40 33" in section(html, "matrix")
    assert base64.b64encode(b"M").decode() in html


def test_recognition_and_training_on_a_source_show_their_intervals():
    text = section(page(run()), "recognition")
    assert f"{WEAK[0]} real (validation) 40 30 0.75 0.60 … 0.86" in text
    assert "learnt token 40 30 0.75 0.60 … 0.86" in text
    assert "real (training) 0.612 0.541 … 0.689 8 5" in text
    assert "Chance is 0.33." in text


def test_copies_open_and_the_other_pairs_stay_folded():
    given = scores(WEAK)
    given.copies[5] = copy_check(WEAK[1], "raw", num_copies=2)
    html = page(run(scores=given), {copies_file(WEAK[1], "raw", EXTRACTOR): b"C"})
    assert html.count("<details open>") == 1
    text = section(html, "copies")
    assert "2 synthetic images copy a training image" in text
    assert f"{WEAK[1]}, class name: 2 copies and the closest pairs" in text
    assert "synthetic:synthetic/raw.parquet#1 train/1 copy, mirrored 0.890 0.950" in text
    clean = section(page(run()), "copies")
    assert "among the 1136 of all classes" in clean
    assert "of 3 kinds it finds crop 5 % least often, in 97 % (91 to 100 %)" in clean
    assert "grey 100 99 99 % 93 to 100 %" in clean
    assert "No synthetic image copies a training image" in clean
    assert "No two images of different splits show the same" in clean


def test_long_lists_of_pairs_are_cut_on_the_page_with_word_of_the_rest():
    given = scores(WEAK)
    given.copies[:] = [copy_check(WEAK[0], "token", num_copies=50, num_pairs=60)]
    given.near_duplicates.extend(near_duplicate(i) for i in range(70))
    text = section(page(run(scores=given)), "copies")
    assert "40 more pairs" in text
    assert "50 more pairs" in text
    assert "token.parquet#19" in text and "token.parquet#20" not in text
    assert "70 pairs of images in different splits show the same, 3 of them byte for byte" in text


def test_near_duplicates_are_named_with_split_class_and_kind():
    given = scores(WEAK)
    given.near_duplicates.extend([near_duplicate(0), near_duplicate(3), near_duplicate(5, second_class="species 009")])
    text = section(page(run(scores=given)), "copies")
    assert "image_00000.jpg train species 004 image_00500.jpg test species 004 byte for byte 1.000" in text
    assert "image_00503.jpg test species 004 mirrored 0.970" in text
    assert "image_00505.jpg test species 009 nearly 0.950" in text
    assert "one label is wrong" in text
    given.near_duplicates.pop()
    assert "one label is wrong" not in section(page(run(scores=given)), "copies")
