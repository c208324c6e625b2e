"""All predictions in one file: what is read is what was written, and damage is told."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from planted_sweep import Sweep, World, pools_of, question_of

from flowerti.artifacts import layout
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.sweep.predictions import kept_trials, read_predictions, write_predictions
from flowerti.sweep.rounds import trial_name


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    world = World(0)
    sweep = Sweep(pools_of(world, {4: 4, 5: 5}), world)
    sweep.table()
    return sweep


def written(run: RunDirectory, sweep: Sweep) -> None:
    ids = {split: sweep.evaluation[split][1] for split in ("validation", "test")}
    write_predictions(run, question_of(sweep.pools), ids, sweep.trials, {sweep.trials[0].split: "no trial's name"})


def test_what_is_read_is_what_was_written(tmp_path: Path, sweep: Sweep):
    run = RunDirectory(str(tmp_path))
    written(run, sweep)
    found = read_predictions(run)
    assert found.trials == sweep.trials
    assert dataclasses.asdict(found.question) == dataclasses.asdict(question_of(sweep.pools))
    for split, ids in found.true_ids.items():
        assert np.array_equal(ids, sweep.evaluation[split][1])
    assert {trial.split for trial in found.of("test")} == {"test"}


def test_trials_come_back_with_the_keys_that_they_were_written_with(tmp_path: Path, sweep: Sweep):
    run = RunDirectory(str(tmp_path))
    assert kept_trials(run) == {}
    first, last = sweep.trials[0], sweep.trials[-1]
    names = [trial_name(t.split, t.arm, t.ratio, t.repetition, t.learning_rate_factor) for t in (first, last)]
    ids = {split: sweep.evaluation[split][1] for split in ("validation", "test")}
    write_predictions(run, question_of(sweep.pools), ids, sweep.trials, dict(zip(names, ("k0", "k1"), strict=True)))
    assert kept_trials(run) == {names[0]: ("k0", first), names[1]: ("k1", last)}
    written(run, sweep)
    assert kept_trials(run) == {}, "nobody can say what trials without a key were made from"


def test_another_program_reads_it(tmp_path: Path, sweep: Sweep):
    written(RunDirectory(str(tmp_path)), sweep)
    table = pq.read_table(tmp_path / layout.SWEEP_PREDICTIONS)
    assert table.num_rows == len(sweep.trials)
    assert table["predictions"][0].as_py() == sweep.trials[0].predictions


def test_a_missing_or_damaged_file_is_told(tmp_path: Path, sweep: Sweep):
    run = RunDirectory(str(tmp_path))
    with pytest.raises(ValueError, match=r"predictions\.parquet is missing: run the sweep"):
        read_predictions(run)
    written(run, sweep)
    path = tmp_path / layout.SWEEP_PREDICTIONS
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"predictions\.parquet is damaged"):
        read_predictions(run)


def test_it_is_read_without_torch_or_ray(tmp_path: Path, sweep: Sweep):
    written(RunDirectory(str(tmp_path)), sweep)
    code = (
        "import sys; from flowerti.artifacts.run_directory import RunDirectory; "
        "from flowerti.sweep.predictions import read_predictions; "
        f"read_predictions(RunDirectory({str(tmp_path)!r})); "
        "print(sorted({'torch', 'ray', 'diffusers'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
