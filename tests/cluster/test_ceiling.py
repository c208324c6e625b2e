"""The ceiling on real Ray: from images to the answer, and that nothing is learnt where nothing is to be had."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_run import tiny_experiment

from flowerti.artifacts import layout
from flowerti.artifacts.ceiling import Ceiling
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.ceiling.answers import told
from flowerti.config.experiment import CeilingConfig, Experiment
from flowerti.data.access import list_records, read_images
from flowerti.diffusion import load_base
from flowerti.features.backbones import load_backbone
from flowerti.features.extraction import extract
from flowerti.features.files import StoredFeatures
from flowerti.generation.image_to_image import round_trips
from flowerti.pipeline import run_experiment
from flowerti.progress import Event, Info

pytestmark = pytest.mark.ray


def asked(base: Path, **changes: object) -> Experiment:
    tiny = tiny_experiment(base)
    ceiling = CeilingConfig(num_classes=2, num_draws=2, num_more=(1, 2))
    sweep = dataclasses.replace(tiny.sweep, free_arms=("real", "balanced_softmax", "balanced_softmax_augmented"))
    return dataclasses.replace(tiny, ceiling=dataclasses.replace(ceiling, **changes), sweep=sweep)


def test_the_ceiling_is_found_before_anything_is_learnt(tiny_base: Path, tmp_path: Path):
    run, heard = RunDirectory(str(tmp_path / "run")), list[Event]()
    experiment = asked(tiny_base)
    run_experiment(experiment, run, [heard.append], until="ceiling")
    found = run.load(layout.CEILING, Ceiling)
    assert found is not None
    assert (len(found.class_names), found.num_kept, found.num_draws) == (2, 2, 2)
    kinds = {(row.arm.removeprefix(f"{found.control}+"), row.num_more) for row in found.rows}
    controls = {(name, 0) for name in experiment.sweep.free_arms}
    assert kinds == controls | {("unseen_real", 1), ("unseen_real", 2)} | {
        (kind, 0) for kind in ("round_trip", "unseen_round_trip", "round_trip_all")
    }
    said = [event.text for event in heard if isinstance(event, Info) and event.stage == "ceiling"]
    assert said[-len(told(found)) :] == told(found)
    assert not run.names("concepts")

    (file,) = [name for name in run.names("features") if "/some_round_trips.train.mirrored/" in name]
    features = StoredFeatures(files=(file,)).read(run)
    base = load_base(tiny_base, "float32", "cpu")
    records = [record for record in list_records(experiment.data, experiment.seed).records if record.split == "train"]
    images = round_trips(base, read_images([record.address for record in records], 32))
    direct = extract(load_backbone("efficientnet_lite0", "", 64), images)
    distances = np.abs(features[:, 0][:, None] - direct[None]).max(axis=2)
    assert distances.min(axis=1).max() < 1e-4, "each is the round trip of a training image"

    heard.clear()
    run_experiment(experiment, run, [heard.append], until="ceiling")
    assert not [event for event in heard if isinstance(event, Info) and event.stage == "ceiling"], (
        "nothing is done twice"
    )


def test_a_run_ends_where_no_more_is_to_be_had_than_it_could_detect(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("flowerti.ceiling.answers.is_out_of_sight", lambda ceiling: True)
    run = RunDirectory(str(tmp_path / "run"))
    run_experiment(asked(tiny_base), run, until="personalize")
    result = json.loads(run.read_bytes(layout.RESULT))
    assert (result["state"], result["stage"]) == ("done", "ceiling")
    assert "unseen real images more change the F1 of 2 rehearsal classes" in result["reason"]
    assert not run.names("concepts")
