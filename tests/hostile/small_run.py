"""A run directory with a file of each kind, made by the writers of runs, and how a stage comes by each of them."""

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from flowerti.artifacts import layout
from flowerti.artifacts.locked_protocol import open_test, read_protocol, state_intent
from flowerti.artifacts.manifest import write_manifest
from flowerti.artifacts.records import (
    ClassifierReport,
    ClassScore,
    EpochScore,
    Learned,
    LossPoint,
    SelectedClass,
    Selection,
    SplitLists,
    Timing,
    Trial,
)
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import find_config, read_config, write_config
from flowerti.artifacts.sweep import SweepIntent
from flowerti.config.experiment import Experiment
from flowerti.config.presets import demo
from flowerti.config.sweep import SweepConfig
from flowerti.data.image_hashes import KnownHashes
from flowerti.data.shards import has_shard, shard_keys, write_shard
from flowerti.features.files import feature_file, intact_features, write_features
from flowerti.personalization.checkpoints import load_from, to_bytes
from flowerti.personalization.store import load_learned, save_learned
from flowerti.personalization.textual_inversion.embedding_files import diffusers_bytes, web_bytes
from flowerti.personalization.train_state import TrainState
from flowerti.stage_clock import read_timing, timing_key
from flowerti.sweep.predictions import read_predictions, write_predictions
from flowerti.sweep.question import SweepQuestion

WEAK = ("rose", "lily")
SOURCES = ("token", "raw")
TOKENS = "textual_inversion"
SPLITS = ("validation", "test")


def experiment(seed: int) -> Experiment:
    return dataclasses.replace(demo(), seed=seed)


def key_of_run(seed: int) -> str:
    """Every key is of the seed, as a real run's are."""
    return hashlib.sha256(str(seed).encode()).hexdigest()


def make_run(folder: str, seed: int) -> RunDirectory:
    """Write all of it; another seed has other numbers and other keys everywhere."""
    run, key, rng = RunDirectory(folder), key_of_run(seed), np.random.default_rng(seed)
    write_config(run, experiment(seed))
    run.save(layout.CLASSIFIER_REPORT, report(rng), key)
    run.save(layout.SPLITS, SplitLists(train=["a"], validation=["b"], test=[f"c{seed}"], sha256=key), key)
    chosen = [SelectedClass(class_name=n, num_train=3, f1_validation=rng.uniform(), reason="few") for n in WEAK]
    run.save(layout.SELECTION, Selection(selected=chosen, by_evidence=[]), key)
    run.save(layout.IMAGE_HASHES, KnownHashes(hashes={"a": f"1 2 3 {key}"}), "1")
    for stage in ("sample", "score"):
        timing = Timing(stage=stage, seconds=rng.uniform(), gpu_seconds=0.0)
        run.save(layout.timing(stage), timing, timing_key(experiment(seed), stage))
    for name in WEAK:
        _write_class(run, name, key, rng)
    for split in SPLITS:
        file = feature_file(f"{layout.features('net', 64)}/real.{split}.plain", key, 0)
        write_features(run, file, rng.standard_normal((6, 1, 4)).astype(np.float32))
    _write_sweep(run, key, rng)
    published = {layout.SUMMARY: b'{"seed": %d}' % seed, layout.PAGE: b"<p>%d</p>" % seed}
    published |= {layout.figure(f"{name}.png"): rng.bytes(50) for name in WEAK}
    for name, content in published.items():
        run.write_bytes(name, content)
    write_manifest(run, published)
    return run


def report(rng: np.random.Generator) -> ClassifierReport:
    scores = [ClassScore(class_name=n, precision=0.5, recall=0.5, f1=rng.uniform(), support=4) for n in WEAK]
    curve = EpochScore(epoch=1, train_loss=1.0, train_accuracy=0.5, validation_loss=1.0, validation_accuracy=0.5)
    return ClassifierReport(
        backbone="net",
        weights_sha256="w",
        accuracy=0.5,
        macro_f1=0.5,
        curves=[curve],
        classes=scores,
        confusion=[[3, 1], [1, 3]],
    )


def _write_class(run: RunDirectory, name: str, key: str, rng: np.random.Generator) -> None:
    rows = torch.from_numpy(rng.standard_normal((2, 4)).astype(np.float32))
    files = {
        "learned_embeds.safetensors": diffusers_bytes(f"<{name}>", rows, [4]),
        f"web/{name}.safetensors": web_bytes(rows, [4]),
    }
    learned = Learned(class_name=name, technique=TOKENS, token=f"<{name}>", num_vectors=2, num_steps=9)
    save_learned(run, learned, files, key)
    state = TrainState(
        step=9,
        learnt=rows,
        first_moment=rows + 1,
        second_moment=rows + 2,
        best=rows.clone(),
        start=rows[:0].clone(),
        curve=[LossPoint(step=0, loss=0.5)],
        seconds=1.0,
    )
    run.write_checked(layout.checkpoint(name, "lora"), to_bytes(state, key))
    for source in SOURCES:
        images = [{"image": {"bytes": rng.bytes(90), "path": ""}, "class_name": name, "index": i} for i in range(2)]
        write_shard(run, layout.shard(name, source, 0), [{**row, "source": source} for row in images], key)


def _write_sweep(run: RunDirectory, key: str, rng: np.random.Generator) -> None:
    trials = [
        Trial(
            arm=arm,
            ratio=0.0,
            repetition=0,
            split="validation",
            predictions=rng.integers(0, 2, 8).tolist(),
            num_steps=5,
            num_synthetic=0,
        )
        for arm in ("real", "balanced")
    ]
    for one in trials:
        run.save(layout.trial(f"validation.{one.arm}.0.0"), one, key)
    question = SweepQuestion(
        config=SweepConfig(), class_names=WEAK, weak_ids=[0], num_train=[3, 3], pools={}, run_seed=int(key[:8], 16)
    )
    write_predictions(run, question, {"validation": np.arange(8) % 2}, trials, {})
    plan = SweepIntent(
        primary_contrast="token minus real",
        arms=["real", "token"],
        ratios=[1.0],
        replication={"num_seeds": 3},
        run_seed=int(key[:8], 16),
        weak_classes=list(WEAK),
        rule="a rule",
        alpha=0.05,
        max_rest_drop=0.01,
        num_trials_validation=2,
        settings={},
        data_fingerprint="f",
        base_sha256="b",
        version="1",
    )
    state_intent(run, plan)
    open_test(run, layout.scores("test"), key, "f", is_made=False)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file of a run directory."""

    file: str
    twin: str
    """Another file of the same kind in the same run."""
    used: Callable[[RunDirectory, str, str], Any]
    """What a stage gets from it, by run, file and key; None or False where it makes the file anew. Raises ValueError
    where nothing can make it anew, and the run is refused."""
    is_made_anew: bool = True
    """False for what a run refuses to go on without, and for what only `verify` looks at."""


def _record(kind: type) -> Callable[[RunDirectory, str, str], Any]:
    return lambda run, file, key: run.load(file, kind, key)


def _token(run: RunDirectory, _file: str, key: str) -> Any:
    return load_learned(run, "rose", TOKENS, key)


def _refusing(read: Callable[[RunDirectory], Any]) -> Callable[[RunDirectory, str, str], Any]:
    return lambda run, _file, _key: read(run)


def _trial(arm: str) -> str:
    return layout.trial(f"validation.{arm}.0.0")


def kinds(run: RunDirectory, key: str) -> dict[str, Kind]:
    """All of them, by what they are called in tests."""
    features = [feature_file(f"{layout.features('net', 64)}/real.{s}.plain", key, 0) for s in SPLITS]
    (intent,), (opening,) = run.names(layout.SWEEP_INTENTS), run.names(layout.TEST_OPENINGS)
    embeddings = [layout.learned_file(name, "learned_embeds.safetensors") for name in WEAK]
    shards = [layout.shard("rose", "token", 0), layout.shard("lily", "token", 0), layout.shard("rose", "raw", 0)]
    checkpoints = [layout.checkpoint(name, "lora") for name in WEAK]
    records = [layout.learned_record(name, TOKENS) for name in WEAK]
    timings = [layout.timing(stage) for stage in ("sample", "score")]
    report, splits, settings = layout.CLASSIFIER_REPORT, layout.SPLITS, read_config(run)

    def shard(run: RunDirectory, file: str, key: str) -> bool:
        assert (shard_keys(run, [file]).get(file) == key) == has_shard(run, file, key)
        return has_shard(run, file, key)

    return {
        "report": Kind(report, splits, _record(ClassifierReport)),
        "splits": Kind(splits, report, _record(SplitLists)),
        "selection": Kind(layout.SELECTION, splits, _record(Selection)),
        "trial": Kind(_trial("real"), _trial("balanced"), _record(Trial)),
        "timing": Kind(*timings, lambda run, *_: read_timing(run, settings, "sample")),
        "shard and another class's": Kind(shards[0], shards[1], shard),
        "shard and another source's": Kind(shards[0], shards[2], shard),
        "features": Kind(*features, lambda run, file, _: file in intact_features(run, run.files(layout.FEATURES))),
        "checkpoint": Kind(*checkpoints, lambda run, file, key: load_from(run, file, key, "cpu")),
        "record of a token": Kind(*records, _token),
        "token": Kind(*embeddings, _token),
        "config": Kind(layout.CONFIG, layout.SPLITS, _refusing(find_config), is_made_anew=False),
        "predictions": Kind(layout.SWEEP_PREDICTIONS, shards[0], _refusing(read_predictions), is_made_anew=False),
        "plan": Kind(intent, opening, _refusing(read_protocol), is_made_anew=False),
        "opening": Kind(opening, intent, _refusing(read_protocol), is_made_anew=False),
    }
