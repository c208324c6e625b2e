"""What sets take from a run's data: start images in a learning's draw, and the classes that one is confused with."""

import dataclasses
from typing import Any

import pytest

from flowerti.artifacts.records import Census, ClassifierReport, ClassScore
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, DataConfig, Experiment, ReplicationConfig, SamplingConfig
from flowerti.data.dataset import Dataset, Record
from flowerti.data.draws import SpareImages
from flowerti.generation.set_inputs import donors_of, load_report, negative_name, start_images
from flowerti.study import Study
from flowerti.tables.sources import SOURCES

NAMES = tuple("abcde")


def report(confusion: dict[tuple[str, str], int]) -> ClassifierReport:
    scores = [ClassScore(class_name=name, precision=0.0, recall=0.0, f1=0.0, support=4) for name in NAMES]
    rows = [[confusion.get((row, column), 0) for column in NAMES] for row in NAMES]
    return ClassifierReport(
        backbone="b", weights_sha256="w", accuracy=0.0, macro_f1=0.0, curves=[], classes=scores, confusion=rows
    )


def study_with(tmp_path, **more: Any) -> Study:
    records = [
        Record(id=f"{split}/{name}{i}", address=f"{split}-{name}{i}.png", class_id=n, split=split)
        for split in ("train", "validation", "test")
        for n, name in enumerate(NAMES)
        for i in range(3)
    ]
    experiment = Experiment(
        name="tiny",
        data=DataConfig(kind="herbarium"),
        base=BaseConfig(path="demo"),
        replication=ReplicationConfig(num_draws=2, num_learnings=2),
        sampling=SamplingConfig(**more),
    )
    return Study(
        experiment=experiment,
        run=RunDirectory(str(tmp_path / "run")),
        dataset=Dataset(class_names=NAMES, records=tuple(records)),
        census=Census(
            fingerprint="",
            counts=[],
            train_sha256={name: f"sha of {name}" for name in NAMES},
            unreadable=[],
            duplicates=[],
        ),
        base_sha256="b" * 64,
        alternative_names={},
        latin_names={},
        spare=SpareImages(
            records={"a": tuple(Record(f"spare/{i}", 0, "train", f"spare-{i}.png") for i in range(9))},
            sha256={"a": "s"},
        ),
    )


def test_images_are_the_class_s_own_training_images_in_the_learning_s_draw(tmp_path):
    study = study_with(tmp_path)
    found = {k: start_images(study, "a", SOURCES["token_img2img"], k, []) for k in range(4)}
    ids = {k: [image.id for image in images] for k, (images, _) in found.items()}
    assert ids[0] == ids[1] == ["train/a0", "train/a1", "train/a2"]
    assert ids[2] == ids[3] == [record.id for record in study.drawn_images("a", 1)] != ids[0]
    assert {image.class_name for images, _ in found.values() for image in images} == {"a"}
    identities = [sha256 for _, sha256 in found.values()]
    assert identities == ["sha of a"] * 2 + [study.drawn_sha256("a", 1)] * 2


def test_a_source_that_draws_from_noise_starts_from_nothing(tmp_path):
    assert start_images(study_with(tmp_path), "a", SOURCES["token"], 0, []) == ([], "")


def test_between_classes_only_training_images_of_the_others_are_started_from(tmp_path):
    study = study_with(tmp_path)
    images, sha256 = start_images(study, "a", SOURCES["token_inter_class"], 3, ["c", "b"])
    assert [image.id for image in images] == [f"train/{name}{i}" for name in "cb" for i in range(3)]
    assert [image.class_name for image in images] == ["c"] * 3 + ["b"] * 3
    census = dataclasses.replace(study.census, train_sha256=study.census.train_sha256 | {"b": "other"})
    changed = dataclasses.replace(study, census=census)
    assert start_images(changed, "a", SOURCES["token_inter_class"], 3, ["c", "b"])[1] != sha256
    assert start_images(changed, "a", SOURCES["token_inter_class"], 3, ["c"])[1] != sha256


def test_donors_are_the_most_confused_classes_that_are_not_weak(tmp_path):
    study = study_with(tmp_path)
    known = report({("a", "b"): 9, ("c", "a"): 2, ("a", "d"): 5})
    assert donors_of(study, known, "a", frozenset("ab")) == ["d", "c"]


def test_donors_are_drawn_by_seed_where_nothing_is_known(tmp_path):
    study = study_with(tmp_path)
    for known in (None, report({}), report({("a", "b"): 9})):
        found = donors_of(study, known, "a", frozenset("ab"))
        assert sorted(found) == ["c", "d", "e"]
    orders = set()
    for seed in range(12):
        experiment = dataclasses.replace(study.experiment, seed=seed)
        orders.add(tuple(donors_of(dataclasses.replace(study, experiment=experiment), None, "a", frozenset("a"))))
    assert len(orders) > 3
    with pytest.raises(ValueError, match=r"^class 'a': there is no other class that is not weak"):
        donors_of(study, None, "a", frozenset(NAMES))


def test_the_negative_name_is_that_of_the_most_confused_class():
    known = report({("a", "b"): 1, ("c", "a"): 2})
    token = SOURCES["token"]
    assert negative_name(known, "a", token, "confusable") == "c"
    assert negative_name(known, "e", token, "confusable") == "", "it is confused with none"
    assert negative_name(known, "a", token, "") == ""
    assert negative_name(known, "a", SOURCES["round_trip"], "confusable") == ""


def test_the_report_is_read_where_a_setting_needs_it(tmp_path):
    assert load_report(study_with(tmp_path)) is None
    for settings, field in (
        ({"negative": "confusable"}, r"sampling\.negative 'confusable'"),
        ({"sources": ("token", "token_inter_class")}, r"sampling\.sources: token_inter_class"),
    ):
        study = study_with(tmp_path, **settings)
        study.run.delete("classifier/report.json")
        with pytest.raises(ValueError, match=rf"^{field} needs to know .* no classifier/report\.json: run the stage"):
            load_report(study)
        known = report({("a", "b"): 1})
        study.run.save("classifier/report.json", known, "k")
        assert load_report(study) == known
