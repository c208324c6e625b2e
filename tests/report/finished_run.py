"""A run in which everything worked, as records; tests change some of them. And a reader of the page."""

import io
import json
import math
from html.parser import HTMLParser

import numpy as np
from finished_scores import FOURTEEN, scores
from finished_scores import SOURCES as DRAWN
from PIL import Image

from flowerti.artifacts.identity import slug
from flowerti.artifacts.records import (
    Census,
    ClassCount,
    ClassifierReport,
    ClassScore,
    ConceptNeighbour,
    EpochScore,
    ImageSet,
    Learned,
    LossPoint,
    Neighbour,
    SelectedClass,
    Selection,
    SweepRow,
    SweepTable,
    Timing,
)
from flowerti.artifacts.sweep import ArmCost, ClassRatio, SweepClassRow, SweepContrast, SweepGroupRow
from flowerti.config.experiment import BaseConfig, DataConfig, Experiment, SelectionConfig
from flowerti.report import Findings, build_summary, render_html, validate_summary
from flowerti.tables.arms import ARMS, source_arms, stacked
from flowerti.tables.sources import SOURCES

HOSTILE = ('<script>alert("x")</script>', "\"><img src='http://evil.example/x.png' onerror=1>", "a & b's {{ 7*7 }}")


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
    return Census(
        fingerprint="f" * 64, counts=counts, train_sha256=dict.fromkeys(names, "e" * 64), unreadable=[], duplicates=[]
    )


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
            reason="validation F1 0.12, lowest; 8 training images, fewest",
        )
        for n in names
    ]
    return Selection(selected=chosen, by_evidence=chosen)


def concept(name, error=""):
    if error:
        return Learned(class_name=name, technique="textual_inversion", token="<x>", error=error)
    curve = [LossPoint(step=step, loss=0.2 * math.exp(-step / 200) + 0.31) for step in range(0, 301, 25)]
    near = [
        Neighbour(vector=vector, token=token, cosine=cosine)
        for vector in (0, 1)
        for token, cosine in (("flower</w>", 0.71), ("hibiscus</w>", 0.43), ("planted</w>", 0.39))
    ]
    return Learned(
        class_name=name,
        technique="textual_inversion",
        token=f"<{name.replace(' ', '-')}>",
        num_vectors=2,
        num_parameters=1536,
        base="demo",
        base_sha256="c" * 64,
        files={"learned_embeds.safetensors": "d" * 64},
        details={"initializer_token": "flower", "start": "initializer_token"},
        num_images=8,
        num_steps=300,
        best_step=275,
        seed=3,
        loss_curve=curve,
        neighbours=near,
        seconds=41.2,
    )


def image_sets(names, sources=DRAWN):
    return [
        ImageSet(
            class_name=n,
            source=s,
            prompt=f'Photo of a "{n}"',
            num_images=40,
            files=["synthetic/x.parquet"],
            key="e" * 64,
        )
        for n in names
        for s in sources
    ]


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
        holm_p=0.016,
        balanced_accuracy=0.8,
        content_gain=gain / 2,
        content_gain_low=gain / 2 - 0.05,
        content_gain_high=gain / 2 + 0.05,
        content_gain_p=0.03,
    )


def contrasts():
    return [
        SweepContrast(
            split=split,
            arm=arm,
            ratio=2.0,
            against_arm=against,
            against_ratio=0.0,
            difference=gain,
            low=gain - 0.05,
            high=gain + 0.06,
            p=0.01,
            primary=primary,
        )
        for split, arm, against, gain, primary in (
            ("validation", "token", "real", 0.13, False),
            ("test", "token", "real", 0.09, True),
            ("test", "balanced_softmax+token", "balanced_softmax", 0.01, False),
        )
    ]


def class_rows(names):
    return [
        SweepClassRow(
            split="test",
            arm="token",
            ratio=2.0,
            class_name=name,
            num_images=40,
            recall=0.6,
            recall_low=0.45,
            recall_high=0.74,
            f1=0.62,
            gain=0.1,
            gain_low=0.02,
            gain_high=0.2,
            gain_p=0.012,
            holm_p=0.048,
        )
        for name in names
    ]


def group_rows():
    return [
        SweepGroupRow(
            split="test",
            arm="token",
            ratio=2.0,
            group=group,
            num_classes=4,
            f1=0.7,
            f1_low=0.6,
            f1_high=0.8,
            gain=0.0,
            gain_low=-0.1,
            gain_high=0.1,
        )
        for group in ("many", "few")
    ]


def sweep(recommended_ratio=2.0, failures=()):
    free = (("real", 0.0), ("balanced", 0.04), ("balanced_softmax", 0.051), ("augmented", -0.012))
    rows = [sweep_row("validation", arm, 0.0, gain) for arm, gain in free]
    for arm, best in (("raw", -0.03), ("alternative_name", 0.05), ("latin_name", 0.02), ("token", 0.13)):
        for ratio, share in ((0.5, 0.4), (1.0, 0.8), (2.0, 1.0), (4.0, 0.7)):
            rows.append(sweep_row("validation", arm, ratio, best * share))
    rows += [sweep_row("test", arm, 0.0, gain * 0.8) for arm, gain in free]
    on_test = (("raw", -0.02), ("alternative_name", 0.03), ("latin_name", 0.01), ("token", 0.09))
    rows += [sweep_row("test", arm, 2.0, gain) for arm, gain in on_test]
    said = (
        f"Use {recommended_ratio:g} synthetic images for each real one: on validation the weak classes' F1 changes "
        "by +0.130 (95 % interval +0.080 to +0.190, Holm-adjusted p 0.016) and the other classes' by -0.013."
        if recommended_ratio
        else "Use no synthetic images: no ratio gains beyond chance, the best being 2."
    )
    weak = FOURTEEN[:3]
    return SweepTable(
        rows=rows,
        recommended_ratio=recommended_ratio,
        recommendation=said,
        failures=list(failures),
        primary_contrast="Mean F1 of the weak classes on test, token minus real.",
        best_control="balanced_softmax",
        arms=[*ARMS, *source_arms(), stacked(ARMS["balanced_softmax"], SOURCES["token"])],
        warnings=["Balanced softmax does as well without a single image."],
        class_ratios=[ClassRatio(class_name=name, ratio=0.0, reason="No ratio gains beyond chance.") for name in weak],
        contrasts=contrasts(),
        classes=class_rows(weak),
        groups=group_rows(),
    )


def arm_costs(table, unit):
    """Half an hour for each source of images, nothing for the controls."""
    return [
        ArmCost(
            split=row.split,
            arm=row.arm,
            ratio=row.ratio,
            hours=0.5 if row.ratio else 0.0,
            unit=unit,
            weak_gain=row.weak_gain,
            gain_per_hour=row.weak_gain / 0.5 if row.ratio else None,
        )
        for row in table.rows
    ]


def concept_neighbours(names):
    """For the first row of each token the last row of the token before it."""
    return [
        ConceptNeighbour(class_name=name, vector=0, other_class_name=other, other_vector=1, cosine=0.25)
        for name, other in zip(names[1:], names, strict=False)
    ]


def adapter(name, error=""):
    if error:
        return Learned(class_name=name, technique="lora", error=error)
    return Learned(
        class_name=name,
        technique="lora",
        num_parameters=51968,
        files={"pytorch_lora_weights.safetensors": "e" * 64},
        details={"rank": 4},
        num_images=8,
        num_steps=400,
        best_step=350,
        loss_curve=[LossPoint(step=step, loss=0.31 - step / 10000) for step in range(0, 401, 50)],
        seconds=61.0,
    )


TIMINGS = [
    Timing(stage=stage, seconds=seconds, gpu_seconds=0.0)
    for stage, seconds in (("classify", 9.3), ("personalize.textual_inversion", 130.0), ("sweep", 4000.0))
]


def run(names=FOURTEEN, num_weak=3, **changed):
    """The fields of Findings for a run in which everything worked, with some of them changed."""
    weak = names[:num_weak]
    return {
        "experiment": experiment(),
        "census": census(names),
        "classifier": classifier(names),
        "selection": selection(weak),
        "learned": [concept(name) for name in weak],
        "concept_neighbours": concept_neighbours(weak),
        "sets": image_sets(weak),
        "scores": scores(weak, all_names=names),
        "sweep": sweep(),
        "arm_costs": [],
        "timings": TIMINGS,
        "versions": {"flowerti": "0.1.0", "torch": "2.14.1"},
    } | changed


def shown_images(names, sources=("real", *DRAWN)):
    rng = np.random.default_rng(1)
    return {n: {s: rng.integers(0, 256, (9, 64, 64, 3), dtype=np.uint8) for s in sources} for n in names}


def images_of_copies(scores):
    """An image for every address and id in the pairs."""
    rng = np.random.default_rng(2)
    pairs = [one for check in scores.copies for one in (*check.copies, *check.closest)]
    names = dict.fromkeys([name for one in pairs for name in (one.image, one.train_id)])
    return {name: rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for name in names}


def page(parts, drawn=None):
    """The page of a run, with stand-ins for its figures unless they are given."""
    summary = build_summary(Findings(**parts))
    validate_summary(summary)
    if drawn is None:
        grids = [f"grid_{slug(chosen.class_name)}.png" for chosen in parts["selection"].selected]
        drawn = dict.fromkeys(["curves.png", "confusion.png", "loss_curves.png", "sweep.png", *grids], b"PNG")
    return render_html(json.loads(json.dumps(summary)), parts["classifier"], parts["census"], drawn)


def pixels(png):
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    image = Image.open(io.BytesIO(png))
    assert image.info == {}, "a PNG with metadata differs between versions or days"
    return np.asarray(image)


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
