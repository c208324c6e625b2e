"""summary.json and the page: schema, strict JSON, escaping, self-containment, and every way a run can go wrong."""

import base64
import dataclasses
import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest

from flowerti.artifacts import (
    Census,
    ClassCount,
    ClassifierReport,
    ClassScore,
    Comparison,
    Concept,
    Distance,
    EpochScore,
    LossPoint,
    Neighbour,
    PictureSet,
    Scores,
    SelectedClass,
    Selection,
    SweepRow,
    SweepTable,
    Timing,
    slug,
)
from flowerti.config import BaseConfig, DataConfig, Experiment, SamplingConfig, SelectionConfig
from flowerti.report import build_summary, render_html, validate_summary

HOSTILE = ('<script>alert("x")</script>', "\"><img src='http://evil.example/x.png' onerror=1>", "a & b's {{ 7*7 }}")


def class_names(num):
    return tuple(f"species {index:03d}" for index in range(num))


FOURTEEN = class_names(14)


def experiment(**data):
    return Experiment(
        name="demo",
        data=DataConfig(kind="herbarium", **data),
        base=BaseConfig(path="demo"),
        selection=SelectionConfig(rule="blend", num_classes=3),
    )


def census(names):
    counts = [
        ClassCount(class_name=n, num_train=100 - i % 90, num_validation=25, num_test=40) for i, n in enumerate(names)
    ]
    return Census(fingerprint="f" * 64, counts=counts, unreadable=[], duplicates=[])


def classifier(names):
    rng = np.random.default_rng(0)
    confusion = np.diag(rng.integers(5, 24, len(names)))
    for row in range(len(names)):
        confusion[row, (row + 1) % len(names)] += 25 - confusion[row, row]
    scores = [
        ClassScore(
            class_name=name, precision=0.7, recall=float(confusion[i, i]) / 25, f1=float(rng.uniform(0, 1)), support=25
        )
        for i, name in enumerate(names)
    ]
    curves = [
        EpochScore(
            epoch=epoch,
            train_loss=2.5 * math.exp(-epoch / 2),
            train_accuracy=1 - math.exp(-epoch),
            validation_loss=0.6 + 2 * math.exp(-epoch / 2),
            validation_accuracy=0.8 - 0.8 * math.exp(-epoch),
        )
        for epoch in range(1, 6)
    ]
    return ClassifierReport(
        backbone="efficientnet_lite0",
        weights_sha256="b" * 64,
        accuracy=0.813,
        macro_f1=0.7921,
        curves=curves,
        classes=scores,
        confusion=confusion.tolist(),
    )


def selection(names):
    chosen = [
        SelectedClass(
            class_name=n,
            num_train=8,
            f1_validation=0.1234,
            reason="validation F1 0.12, lowest; 8 training pictures, fewest",
        )
        for n in names
    ]
    return Selection(selected=chosen, by_evidence=chosen)


def concept(name, error=""):
    if error:
        return Concept(class_name=name, token="<x>", error=error)
    curve = [LossPoint(step=step, loss=0.2 * math.exp(-step / 200) + 0.31) for step in range(0, 301, 25)]
    near = [
        Neighbour(vector=vector, token=token, cosine=cosine)
        for vector in (0, 1)
        for token, cosine in (("flower</w>", 0.71), ("hibiscus</w>", 0.43), ("planted</w>", 0.39))
    ]
    return Concept(
        class_name=name,
        token=f"<{name.replace(' ', '-')}>",
        num_vectors=2,
        initializer_token="flower",
        base="demo",
        base_sha256="c" * 64,
        embeddings_sha256="d" * 64,
        num_pictures=8,
        num_steps=300,
        best_step=275,
        seed=3,
        loss_curve=curve,
        neighbours=near,
        seconds=41.2,
    )


def picture_sets(names, sources=("raw", "alternative_name", "token")):
    return [
        PictureSet(
            class_name=n,
            source=s,
            prompt=f'Photo of a "{n}"',
            num_pictures=40,
            files=["synthetic/x.parquet"],
            sha256="e" * 64,
        )
        for n in names
        for s in sources
    ]


def scores(names, sources=("raw", "alternative_name", "token")):
    distances = [
        Distance(
            class_name=n,
            source=source,
            extractor="efficientnet_lite0",
            metric=metric,
            value=value * scale,
            num_real=40,
            num_synthetic=40,
            floor=0.21 * scale,
            floor_num_pictures=20,
            p_value=None if metric == "frechet" else 0.0005,
        )
        for n in names
        for metric, scale in (("frechet", 100.0), ("kernel", 1.0))
        for source, value in zip(sources, (1.9, 1.4, 0.8), strict=False)
    ]
    comparisons = [
        Comparison(class_name=n, closer="token", than=than, metric="kernel", difference=difference, p_value=p)
        for n in names
        for than, difference, p in (("raw", 1.1, 0.0005), ("alternative_name", -0.04, 0.6))
    ]
    return Scores(extractor="efficientnet_lite0", weights_sha256="a" * 64, distances=distances, comparisons=comparisons)


def sweep_row(split, arm, ratio, gain):
    return SweepRow(
        split=split,
        arm=arm,
        ratio=ratio,
        num_seeds=3,
        macro_f1=0.79 + gain / 5,
        macro_f1_low=0.77,
        macro_f1_high=0.82,
        weak_f1=0.4 + gain,
        weak_f1_low=0.33 + gain,
        weak_f1_high=0.47 + gain,
        rest_f1=0.88 - gain / 10,
        weak_gain=gain,
        weak_gain_low=gain - 0.05,
        weak_gain_high=gain + 0.06,
        weak_gain_p=0.004,
        rest_gain=-gain / 10,
    )


def sweep(recommended_ratio=2.0, failures=()):
    free = (("real", 0.0), ("balanced", 0.04), ("balanced_softmax", 0.051), ("augmented", -0.012))
    rows = [sweep_row("validation", arm, 0.0, gain) for arm, gain in free]
    for arm, best in (("raw", -0.03), ("alternative_name", 0.05), ("token", 0.13)):
        for ratio, share in ((0.5, 0.4), (1.0, 0.8), (2.0, 1.0), (4.0, 0.7)):
            rows.append(sweep_row("validation", arm, ratio, best * share))
    rows += [sweep_row("test", arm, 0.0, gain * 0.8) for arm, gain in free]
    rows += [sweep_row("test", arm, 2.0, g) for arm, g in (("raw", -0.02), ("alternative_name", 0.03), ("token", 0.09))]
    said = (
        f"Use {recommended_ratio:g} synthetic pictures for each real one: on validation the weak classes' F1 changes "
        "by +0.130 (95 % interval +0.080 to +0.190, Holm-adjusted p 0.016) and the other classes' by -0.013."
        if recommended_ratio
        else "Use no synthetic pictures: no ratio gains beyond chance, the best being 2."
    )
    return SweepTable(rows=rows, recommended_ratio=recommended_ratio, recommendation=said, failures=list(failures))


TIMINGS = [
    Timing(stage=s, seconds=t, gpu_seconds=0.0) for s, t in (("classify", 9.3), ("invert", 130.0), ("sweep", 4000.0))
]


def run(names=FOURTEEN, num_weak=3, **changed):
    """The arguments of build_summary for a run in which everything worked, with some of them changed."""
    weak = names[:num_weak]
    return {
        "experiment": experiment(),
        "census": census(names),
        "classifier": classifier(names),
        "selection": selection(weak),
        "concepts": [concept(name) for name in weak],
        "sets": picture_sets(weak),
        "scores": scores(weak),
        "sweep": sweep(),
        "timings": TIMINGS,
        "versions": {"flowerti": "0.1.0", "torch": "2.14.1"},
    } | changed


def shown_pictures(names, sources=("real", "raw", "alternative_name", "token")):
    rng = np.random.default_rng(1)
    return {n: {s: rng.integers(0, 256, (9, 64, 64, 3), dtype=np.uint8) for s in sources} for n in names}


def page(parts, drawn=None):
    """The page of a run, with stand-ins for its figures unless they are given."""
    summary = build_summary(**parts)
    validate_summary(summary)
    if drawn is None:
        grids = [f"grid_{slug(chosen.class_name)}.png" for chosen in parts["selection"].selected]
        drawn = dict.fromkeys(["curves.png", "confusion.png", "loss_curves.png", "sweep.png", *grids], b"PNG")
    return render_html(json.loads(json.dumps(summary)), parts["classifier"], parts["census"], drawn)


class Elements(HTMLParser):
    """Every tag with its attributes, and the text of the page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.text += " " if tag == "small" else ""
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.text += " " if tag in ("td", "th", "dt", "dd") else ""

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def assert_self_contained(html):
    elements = Elements(html)
    assert elements.open == []
    assert elements.count("script") == elements.count("link") == elements.count("iframe") == 0
    ids = {attributes["id"] for _, attributes in elements.tags if "id" in attributes}
    for tag, attributes in elements.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert tag != "img" or attributes["src"].startswith("data:image/png;base64,")
        assert "href" not in attributes or attributes["href"].removeprefix("#") in ids
    assert "url(" not in html
    assert "@import" not in html
    return elements


def test_summary_holds_the_contract_of_the_design():
    summary = build_summary(**run())
    validate_summary(summary)
    rows = {
        "selected": "class_name num_train f1_validation reason",
        "distances": "class_name source extractor metric value num_real num_synthetic floor p_value",
        "neighbours": "class_name vector token cosine",
        "sweep": "arm ratio num_seeds macro_f1 macro_f1_low macro_f1_high weak_f1 weak_f1_low weak_f1_high rest_f1",
        "timings": "stage seconds gpu_seconds",
    }
    assert {"format", "seed", "versions", "recommended_ratio", "recommendation"} <= set(summary)
    for key, fields in rows.items():
        assert summary[key]
        assert all(set(fields.split()) <= set(row) for row in summary[key])
    assert (summary["recommended_ratio"], len(summary["distances"]), len(summary["neighbours"])) == (2.0, 18, 18)
    assert summary["num_pictures"] == {"train": sum(100 - i for i in range(14)), "validation": 350, "test": 560}
    assert summary["failures"] == summary["left_out"] == []


SUMMARY = json.dumps(build_summary(**run()))


@pytest.mark.parametrize("key", sorted(json.loads(SUMMARY)))
def test_schema_rejects_a_missing_key(key):
    summary = json.loads(SUMMARY)
    del summary[key]
    with pytest.raises(ValueError, match=key):
        validate_summary(summary)


@pytest.mark.parametrize(
    "key", ["selected", "concepts", "neighbours", "sets", "distances", "comparisons", "sweep", "timings"]
)
def test_schema_rejects_a_missing_field_in_every_row_kind(key):
    for field in json.loads(SUMMARY)[key][0]:
        summary = json.loads(SUMMARY)
        del summary[key][0][field]
        with pytest.raises(ValueError, match=field):
            validate_summary(summary)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"recommended_ratio": -1.0}, "recommended_ratio"),
        ({"recommended_ratio": None}, "recommended_ratio"),
        ({"recommended_ratio": "2"}, "recommended_ratio"),
        ({"recommendation": ""}, "recommendation"),
        ({"format": "flowerti-summary-0"}, "format"),
        ({"duplicates": [["only one"]]}, "duplicates"),
        ({"seed": float("nan")}, "not strict JSON"),
        ({"versions": {"torch": 2}}, "versions"),
        ({"distances": [json.loads(SUMMARY)["distances"][0] | {"reference": "train"}]}, "reference"),
        ({"sweep": [json.loads(SUMMARY)["sweep"][0] | {"weak_f1": 1.2}]}, "weak_f1"),
    ],
)
def test_schema_rejects_wrong_values(change, named):
    with pytest.raises(ValueError, match=named):
        validate_summary(json.loads(SUMMARY) | change)


def test_numbers_that_are_not_finite_become_null_and_are_named():
    table = sweep()
    table.rows[1] = dataclasses.replace(table.rows[1], weak_gain=math.nan, weak_gain_p=math.inf)
    summary = build_summary(**run(sweep=table))
    validate_summary(summary)
    assert summary["sweep"][1]["weak_gain"] is summary["sweep"][1]["weak_gain_p"] is None
    assert [failure["reason"] for failure in summary["failures"]] == [
        "sweep[1].weak_gain is not a finite number",
        "sweep[1].weak_gain_p is not a finite number",
    ]
    assert_self_contained(page(run(sweep=table)))


def test_numpy_numbers_are_written_as_plain_ones():
    row = sweep().rows[0]
    for name, value in (("num_seeds", np.int64(3)), ("rest_f1", np.float32(0.5))):
        object.__setattr__(row, name, value)  # A stage may let one slip through; the tests' type check would not.
    summary = build_summary(**run(sweep=dataclasses.replace(sweep(), rows=[row])))
    assert json.loads(json.dumps(summary))["sweep"][0]["rest_f1"] == 0.5


def test_page_says_the_recommendation_first_and_holds_every_figure():
    elements = assert_self_contained(page(run(), {"sweep.png": b"first", "curves.png": b"second"}))
    sources = [attributes["src"].partition(",")[2] for tag, attributes in elements.tags if tag == "img"]
    assert sorted(map(base64.b64decode, sources)) == [b"first", b"second"]
    before_first_heading = elements.text.split("Pictures")[0]
    assert "Use 2 synthetic pictures for each real one." in before_first_heading
    assert "+0.090, 95 % interval +0.040 to +0.150" in before_first_heading


def test_page_shows_the_numbers_of_the_tables():
    text = " ".join(Elements(page(run())).text.split())
    for shown in ("190 21", "0.80 0.21 0.0005", "−0.04 0.6000", "not an FID", "+0.130", "1 h 06 min", "2 min 10 s"):
        assert shown in text, shown
    assert "hibiscus</w> 0.43" in text


def test_hostile_class_names_and_errors_stay_text():
    names = HOSTILE + class_names(5)
    concepts = [concept(HOSTILE[0]), concept(HOSTILE[1], error="<b onclick=1>boom</b>"), concept(HOSTILE[2])]
    html = page(run(names, concepts=concepts, sweep=sweep(failures=["<i>gone</i>"])))
    elements = assert_self_contained(html)
    for name in (*HOSTILE, "<b onclick=1>boom</b>", "<i>gone</i>"):
        assert name in elements.text
    assert elements.count("img") == 7


def test_every_token_failed():
    names = class_names(6)
    failed = [concept(name, error=f"loss is NaN at step {i}") for i, name in enumerate(names[:3])]
    sources = ("raw", "alternative_name")
    parts = run(
        names,
        concepts=failed,
        sets=picture_sets(names[:3], sources),
        scores=dataclasses.replace(scores(names[:3], sources), comparisons=[]),
        sweep=SweepTable(
            rows=[r for r in sweep().rows if r.arm != "token"],
            recommended_ratio=0.0,
            recommendation="Use no synthetic pictures: the sweep holds no trial of arm token.",
            failures=[],
        ),
    )
    summary = build_summary(**parts)
    assert [failure["reason"] for failure in summary["failures"]] == [f"loss is NaN at step {i}" for i in range(3)]
    assert summary["neighbours"] == []
    assert any("learnt token" in note and names[2] in note for note in summary["left_out"])
    assert "not measured" in summary["primary_contrast"]
    text = assert_self_contained(page(parts)).text
    assert "3 things failed" in text
    assert "all 3 classes failed" in text
    assert text.count("loss is NaN at step 1") == 2


def test_nothing_but_the_classifier_succeeded():
    parts = run(
        concepts=[],
        sets=[],
        scores=Scores(extractor="x", weights_sha256="", distances=[], comparisons=[]),
        sweep=SweepTable(
            rows=[], recommended_ratio=0.0, recommendation="Nothing was tried.", failures=["no trial ran"]
        ),
        timings=[],
    )
    text = assert_self_contained(page(parts, {})).text
    for shown in ("No token was learnt", "No distance was measured", "The sweep has no results", "no trial ran"):
        assert shown in text
    assert text.count("no token was tried") == 3


def test_page_says_that_real_pictures_are_kept_out():
    assert "Real pictures are not shown" in page(run(experiment=experiment(show_pictures=False)))
    assert "Real pictures are not shown" not in page(run())


def test_ratio_zero_still_reports_what_the_test_split_said():
    parts = run(sweep=sweep(recommended_ratio=0.0))
    assert "tried to check the refusal: +0.090" in build_summary(**parts)["primary_contrast"]
    html = page(parts)
    text = " ".join(assert_self_contained(html).text.split())
    assert "Use no synthetic pictures." in text
    assert "recommended ratio 0 no synthetic pictures" in text
    assert 'class="answer "' in html


def test_many_classes_fold_away():
    html = page(run(class_names(102), num_weak=30))
    elements = assert_self_contained(html)
    assert "The other 92 classes" in elements.text
    assert elements.count("img") == 4 + 24
    assert "6 more classes" in elements.text
    assert Elements(page(run())).count("details") == 0


def test_gaps_are_named():
    names = class_names(14)
    parts = run(
        experiment=dataclasses.replace(
            experiment(), sampling=SamplingConfig(), sweep=dataclasses.replace(experiment().sweep, ratios=(0.5, 8.0))
        ),
        census=dataclasses.replace(census(names), unreadable=["train/broken.jpg"], duplicates=[["train/a", "test/b"]]),
        sets=picture_sets(names[:3])[:-2],
        scores=scores(names[:2]),
        sweep=dataclasses.replace(
            sweep(), rows=[r for r in sweep().rows if r.split == "validation" and r.arm != "balanced"]
        ),
    )
    notes = build_summary(**parts)["left_out"]
    for expected in (
        "Pictures that could not be opened and were skipped: 1.",
        f"No pictures from the learnt token: {names[2]}.",
        f"Pictures from the class name have no distance: {names[2]}.",
        "The sweep has no row for the arm balanced sampling.",
        "The sweep's arm learnt token lacks the ratios 8.",
        "The sweep has no row on the test split.",
    ):
        assert expected in notes
    text = Elements(page(parts)).text
    assert "train/broken.jpg" in text
    assert "train/a = test/b" in text
    assert "Nothing was confirmed on the test split" in text


def test_distances_to_each_split_stand_in_tables_of_their_own():
    usual = scores(FOURTEEN[:3])
    on_test = [dataclasses.replace(distance, reference="test", value=0.7777) for distance in usual.distances]
    both = dataclasses.replace(usual, distances=usual.distances + on_test)
    text = Elements(page(run(scores=both))).text
    for heading in ("Fréchet distance to", "Kernel distance to"):
        assert text.index(f"{heading} test pictures") < text.index(f"{heading} validation pictures")
    assert text.count("0.778") == 9


def test_classes_that_evidence_would_have_chosen_are_named_when_others_were_fixed():
    parts = run()
    assert "Evidence alone" not in page(parts)
    other = selection(class_names(14)[7:8])
    parts["selection"] = Selection(selected=parts["selection"].selected, by_evidence=other.selected)
    assert "Evidence alone" in page(parts)
