"""A run in which everything worked, as records; tests change some of them."""

import base64
import dataclasses
import json
import math

import numpy as np
from finished_scores import FOURTEEN, scores
from finished_scores import SOURCES as DRAWN
from finished_sweep import sweep

from flowerti.artifacts.locked_protocol import TestOpenings
from flowerti.artifacts.page_record import GalleryImage
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
    Timing,
)
from flowerti.config.experiment import BaseConfig, DataConfig, Experiment, SelectionConfig, SweepConfig
from flowerti.report import Findings, build_summary, render_html, validate_summary
from flowerti.report.page_content import page_record

HOSTILE = ('<script>alert("x")</script>', "\"><img src='http://evil.example/x.png' onerror=1>", "a & b's {{ 7*7 }}")


def experiment(**data):
    return Experiment(
        name="demo",
        data=DataConfig(kind="herbarium", **data),
        base=BaseConfig(path="demo"),
        selection=SelectionConfig(rule="blend", num_classes=3),
        sweep=SweepConfig(mixing=("added",), free_arms=("real", "balanced", "balanced_softmax", "augmented")),
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
        "test_openings": TestOpenings(own=2, siblings=0, before_intent=0, intent="a1" * 32),
        "plan_changes": [],
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


def gallery(names, sources=DRAWN, num=10):
    """Images of each set, every one another one, with a number for each."""
    return [
        GalleryImage(
            class_name=name,
            source=source,
            index=i,
            thumbnail=base64.b64encode(f"{name} {source} {i}".encode()).decode(),
            seed=100 + i,
            prompt=f'Photo of a "{name}"',
            probability=0.05 * i,
            similarity=0.9 - 0.01 * i,
            train_id=f"{name}/train/{i % 3}",
        )
        for name in names
        for source in sources
        for i in range(num)
    ]


def page(parts, drawn=None, **shown):
    """The page of a run, with stand-ins for its figures unless they are given, and what else its record holds."""
    found = Findings(**parts)
    summary = build_summary(found)
    validate_summary(summary)
    if drawn is None:
        drawn = dict.fromkeys(["curves.png", "confusion.png", "loss_curves.png", "sweep.png"], b"WEBP")
    record = dataclasses.replace(page_record(found), **shown)
    return render_html(json.loads(json.dumps(summary)), record, drawn)
