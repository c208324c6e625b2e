"""The page: self-contained, escaped, complete, and readable whatever went wrong in the run."""

import base64
import dataclasses
import re

import pytest
from finished_run import HOSTILE, adapter, census, concept, experiment, gallery, image_sets, page, run, selection
from finished_scores import (
    EMPTY_SCORES,
    EXTRACTOR,
    FOURTEEN,
    class_names,
    distance,
    near_duplicate,
    scores,
)
from finished_sweep import arm_costs, sweep, sweep_row
from page_reader import assert_self_contained, section

from flowerti.artifacts.locked_protocol import PlanChange, TestOpenings
from flowerti.artifacts.records import Selection, SweepTable
from flowerti.artifacts.scores import Comparison
from flowerti.report.names import copies_file
from flowerti.tables.arms import ARMS, stacked
from flowerti.tables.sources import SOURCES as SOURCE_TABLE

WEAK = FOURTEEN[:3]
SECTIONS = ["images", "confusion", "ratios", "names", "tokens", "costs", "use", "unknown"]


def text_of(html):
    return " ".join(assert_self_contained(html).text.split())


def test_page_says_the_recommendation_first_and_holds_every_figure():
    elements = assert_self_contained(page(run(), {"sweep.png": b"first", "curves.png": b"second"}))
    sources = [attributes["src"].partition(",")[2] for tag, attributes in elements.tags if tag == "img"]
    assert sorted(map(base64.b64decode, sources)) == [b"first", b"second"]
    before_first_heading = elements.text.split("AnswerImages")[0]
    assert "Train with 2 images of the learnt token for each real one of a weak class." in before_first_heading
    assert "use 2 synthetic images for each real one." in before_first_heading
    assert "+0.090, 95 % interval +0.040 to +0.150" in before_first_heading


def first_screen(**changed):
    return text_of(page(run(**changed))).split("AnswerImages")[0]


def openings(own=2, siblings: int | None = 0, before_intent=0):
    return TestOpenings(own=own, siblings=siblings, before_intent=before_intent, intent="a1" * 32)


def test_the_first_screen_says_how_often_test_was_opened_and_for_which_plan():
    text = first_screen()
    assert "test split opened twice in this run; with other inputs never in runs beside it" in text
    assert "plan a1a1a1a1a1a1 was written before the test split was opened" in text
    assert "unseen split" not in text and "The plan was changed" not in text
    text = first_screen(test_openings=openings(siblings=5))
    assert "twice in this run; with other inputs 5 times in runs beside it" in text
    assert "runs beside it were not looked at" in first_screen(test_openings=openings(siblings=None))


def test_a_plan_that_was_written_or_changed_late_is_told_on_the_first_screen():
    changes = [
        PlanChange(intent="b" * 64, num_openings_before=num, changed=["ratios", f"settings.field_{num}"])
        for num in range(5)
    ]
    text = first_screen(test_openings=openings(before_intent=4), plan_changes=changes)
    assert "had been opened 4 times before the present plan was written: its numbers do not confirm" in text
    assert "was written after the test split was opened" in text
    assert "had been opened 4 times: ratios, settings.field_4." in text
    assert "settings.field_1" not in text, "the last three"
    assert "It was changed 5 times in all" in text


def test_every_section_can_be_reached():
    html = page(run())
    headings = re.findall(r'<h2 id="(\w+)">', html)
    assert headings == ["arms", "classes", *SECTIONS, "appendix"]
    (nav,) = re.findall("(?s)<nav.*?</nav>", html)
    assert re.findall('href="#([a-z]+)"', nav) == ["answer", *SECTIONS, "appendix"]
    folded = re.findall(r'<details class="part"[^>]*><summary><h3 id="(\w+)">', html)
    assert folded == [
        "weak", "sweep", "distances", "matrix", "recognition", "copies", "ceiling", "failures", "run", "glossary",
    ]  # fmt: skip


def test_page_shows_the_numbers_of_the_tables():
    text = text_of(page(run()))
    for shown in ("190 21", "0.80 0.50 … 1.10 0.21 0.0005", "+0.130", "1 h 06 min", "2 min 10 s", "hibiscus</w> 0.43"):
        assert shown in text, shown


def test_rows_of_other_tokens_stand_under_the_nearest_words():
    text = section(page(run()), "tokens")
    assert f"Nearest rows of other tokens class vector nearest rows of other classes, with cosine {WEAK[1]} 0" in text
    assert f"{WEAK[0]}, 1 0.25" in text
    assert "other tokens" not in page(run(concept_neighbours=[]))


def test_adapters_stand_below_the_tokens_with_what_they_add():
    nearer = Comparison(
        class_name=WEAK[0], closer="lora", than="token", extractor=EXTRACTOR, metric="kernel", difference=0.208,
        p_value=0.001, low=0.1, high=0.3, reference="test",
    )  # fmt: skip
    shown = scores(WEAK, all_names=FOURTEEN, reference="test")
    shown = dataclasses.replace(shown, comparisons=[*shown.comparisons, nearer])
    adapters = [adapter(WEAK[0]), adapter(WEAK[1], error="loss is NaN")]
    sampling = dataclasses.replace(experiment().sampling, sources=("raw", "token", "lora"))
    asked = dataclasses.replace(experiment(), sampling=sampling)
    html = page(run(experiment=asked, learned=[*map(concept, WEAK), *adapters], scores=shown))
    text = section(html, "tokens")
    assert f"{WEAK[0]} rank 4 51,968 8 400 350 0.3100 0.2750 1 min 01 s" in text
    assert f"{WEAK[0]}, token and adapter nearer than learnt token by +0.208 (95 % interval +0.100 to +0.300)." in text
    assert "loss is NaN" in section(html, "failures")
    assert "Adapters" not in page(run())


@pytest.mark.parametrize("unit", ["GPU-hour", "CPU-hour"])
def test_the_gain_for_an_hour_stands_beside_its_unit(unit):
    text = section(page(run(arm_costs=arm_costs(sweep(), unit))), "costs")
    cost = text.split("What the images cost")[1]
    assert f"{unit}s gain gain per {unit}" in cost
    assert "test learnt token 2\N{MULTIPLICATION SIGN} 0.500 +0.090 +0.180" in cost
    assert ("No GPU was held" in cost) == (unit == "CPU-hour")
    assert ("GPU-hour" in cost) == (unit == "GPU-hour"), "hours of CPUs are not called hours of GPUs"
    assert "balanced sampling" not in cost, "what costs nothing has no gain per hour"


def test_a_run_without_clocks_tells_no_cost():
    assert "What the images cost" not in page(run())


def test_hostile_class_names_and_errors_stay_text():
    names = HOSTILE + class_names(5)
    concepts = [concept(HOSTILE[0]), concept(HOSTILE[1], error="<b onclick=1>boom</b>"), concept(HOSTILE[2])]
    given = scores(HOSTILE, all_names=names)
    given.near_duplicates.append(near_duplicate(first_id="<u>id</u>", second_class=HOSTILE[0]))
    given.notes.append("<s>noted</s>")
    parts = run(names, learned=concepts, scores=given, sweep=sweep(failures=["<i>gone</i>"]))
    html = page(parts, gallery=gallery(HOSTILE))
    elements = assert_self_contained(html)
    for name in (*HOSTILE, "<b onclick=1>boom</b>", "<i>gone</i>", "<u>id</u>", "<s>noted</s>"):
        assert name in elements.text
    assert elements.count("img") == 4 + 3 * 4 * 10 + 3 * 3, "figures, gallery, three of the token on the first screen"


def test_every_token_failed():
    names = class_names(6)
    failed = [concept(name, error=f"loss is NaN at step {i}") for i, name in enumerate(names[:3])]
    sources = ("raw", "alternative_name")
    parts = run(
        names,
        learned=failed,
        sets=image_sets(names[:3], sources),
        scores=scores(names[:3], sources, names),
        sweep=SweepTable(
            rows=[r for r in sweep().rows if r.arm != "token"],
            recommended_ratio=0.0,
            recommendation="Use no synthetic images: the sweep holds no trial of arm token.",
            failures=[],
        ),
    )
    text = text_of(page(parts))
    assert "3 things failed" in text
    assert "all 3 classes failed" in text
    assert text.count("loss is NaN at step 1") == 2
    assert "No images from the learnt token" in text


def test_nothing_but_the_classifier_succeeded():
    parts = run(
        learned=[],
        sets=[],
        scores=EMPTY_SCORES,
        sweep=SweepTable(
            rows=[], recommended_ratio=0.0, recommendation="Nothing was tried.", failures=["no trial ran"]
        ),
        timings=[],
    )
    text = text_of(page(parts, {}))
    for shown in (
        "No token was learnt",
        "No set was compared with another.",
        "No distance was measured",
        "No set was compared with the other classes.",
        "No classifier was asked",
        "not checked for copies",
        "Near duplicates across splits were not looked for.",
        "The sweep has no results",
        "no trial ran",
        "Whether synthetic images copy training images was not measured.",
    ):
        assert shown in text, shown
    assert f"No tokens were tried for: {', '.join(WEAK)}." in text


def test_page_says_that_real_images_are_kept_out():
    figures = {copies_file(WEAK[0], "token", EXTRACTOR): b"PNG"}
    hidden = page(run(experiment=experiment(show_images=False)), figures)
    assert "Real images, and those drawn from them, are not shown" in hidden
    assert "keep real ones out of the report" in section(hidden, "copies")
    shown = page(run(), figures)
    assert "Real images, and those drawn from them, are not shown" not in shown
    assert "training image below" in section(shown, "copies")


def test_ratio_zero_is_said_plainly():
    html = page(run(sweep=sweep(recommended_ratio=0.0)))
    text = text_of(html)
    assert "Train with balanced softmax, and add no synthetic images." in text
    assert "The images of the learnt token: use no synthetic images." in text
    assert "Recommended ratio of theirs: 0, no synthetic images." in text
    assert "<h1>Train with balanced softmax, and add no synthetic images.</h1>" in html


def test_many_classes_fold_away():
    html = page(run(class_names(102), num_weak=26))
    elements = assert_self_contained(html)
    assert "The other 92 classes" in elements.text
    assert elements.count("img") == 4
    assert "20 more weak classes" in elements.text


def test_gaps_and_notes_are_named():
    parts = run(
        census=dataclasses.replace(
            census(FOURTEEN), unreadable=["train/broken.jpg"], duplicates=[["train/a", "test/b"]]
        )
    )
    parts["scores"].notes.append("species 000, raw: too few images.")
    parts["sweep"] = dataclasses.replace(sweep(), rows=[r for r in sweep().rows if r.split == "validation"])
    text = text_of(page(parts))
    for shown in (
        "train/broken.jpg",
        "train/a = test/b",
        "species 000, raw: too few images.",
        "Nothing was confirmed on the test split",
    ):
        assert shown in text, shown


def test_classes_that_evidence_would_have_chosen_are_named_when_others_were_fixed():
    parts = run()
    assert "Evidence alone" not in page(parts)
    other = selection(class_names(14)[7:8])
    parts["selection"] = Selection(selected=parts["selection"].selected, by_evidence=other.selected)
    assert "Evidence alone" in page(parts)


def test_arms_and_sources_without_a_plain_name_stand_under_their_own():
    rows = [
        *sweep().rows,
        sweep_row("validation", "borrowed", 1.0, 0.01),
        sweep_row("test", "augmented+token", 2.0, 0.1),
    ]
    given = scores(WEAK)
    given.distances.append(distance(WEAK[0], "dreambooth", "kernel", 0.5))
    arms = [*sweep().arms, stacked(ARMS["augmented"], SOURCE_TABLE["token"])]
    html = page(run(scores=given, sweep=dataclasses.replace(sweep(), rows=rows, arms=arms)))
    text = section(html, "sweep")
    assert "borrowed 1×" in text
    assert "augmentation and learnt token 2×" in text
    assert "dreambooth 0.50" in section(html, "names")


def test_a_missing_number_is_a_dash():
    given = scores(WEAK)
    given.distances[:] = [distance(WEAK[0], "token", "kernel", float("nan"), floor=None)]
    text = section(page(run(scores=given)), "distances")
    assert "learnt token –" in text
    assert "nan" not in text


def test_the_first_screen_compares_what_is_recommended_with_the_best_control_and_the_token():
    text = first_screen(sweep=sweep(recommended_ratio=0.0))
    assert (
        "recommended, best free control: balanced softmax 0.400 → 0.441 +0.041, 95 % interval −0.009 … +0.101" in text
    )
    assert "with the token: learnt token, 2× 0.400 → 0.490 +0.090" in text
    assert "smallest detectable effect" in text


def test_the_forest_has_every_arm_once_the_largest_gain_first():
    (drawing,) = re.findall('(?s)<svg class="forest".*?</svg>\n<p', page(run()))
    values = [float(v.replace("−", "-")) for v in re.findall('class="value"[^>]*>([^<]*)<', drawing)]
    assert values == sorted(values, reverse=True)
    assert len(values) == len({row.arm for row in sweep().rows if row.split == "test"} - {"real"})
    assert drawing.count("best free control") == 1


def test_the_gallery_shows_eight_of_each_set_and_keeps_the_others_for_the_script():
    html = page(run(), gallery=gallery(WEAK))
    images = html.split('id="images"')[1].split('id="confusion"')[0]
    assert images.count("<li") == 3 * 4 * 10
    assert images.count('<li class="more" hidden>') == 3 * 4 * 2
    assert "data-train" in images and "<template" not in images, "no photograph where there is none"


def test_confusions_stand_in_percent():
    text = section(page(run()), "confusion")
    assert "the first classifier" in text and WEAK[0] in text


def test_commands_name_the_source_and_the_ratio():
    text = section(page(run()), "use")
    assert "flowerti export RUN_DIR exported/set --what parquet --sources token --ratio 2" in text
    text = section(page(run(sweep=sweep(recommended_ratio=0.0))), "use")
    assert "Nothing is to be exported" in text and "--what tokens" in text
