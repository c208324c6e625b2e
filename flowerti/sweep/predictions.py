"""Every trial's predictions in one file, with all that the sweep's table is computed from.

A run's folder keeps each trial as a file of its own while it runs; this one file is what is published, so that every
interval can be computed again without an image, a network or a cluster. Trials at the learning rates that were tried
and not chosen are among them. This module does not know how intervals are computed, nor how a trial is trained.
"""

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64

from flowerti.artifacts import checksums, layout
from flowerti.artifacts.damage import DamagedError, tell_damage
from flowerti.artifacts.records import Trial
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import ReplicationConfig, SweepConfig
from flowerti.sweep.question import SweepQuestion
from flowerti.sweep.rounds import trial_name
from flowerti.sweep.tuning import choose_factors

_QUESTION = b"flowerti_question"
_TRUE_IDS = b"flowerti_true_ids"
_KEYS = b"flowerti_keys"
_SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("arm", pa.string()),
        ("ratio", pa.float64()),
        ("repetition", pa.int32()),
        ("num_steps", pa.int64()),
        ("num_synthetic", pa.int64()),
        ("learning_rate_factor", pa.float64()),
        ("predictions", pa.list_(pa.int32())),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """All trials of a sweep, and what they are compared with."""

    question: SweepQuestion
    true_ids: dict[str, Int64[np.ndarray, "_"]]
    """By split, in the order of the predictions."""
    trials: list[Trial]

    def factors(self) -> dict[str, float]:
        """The factor of the learning rate of each arm, chosen anew from its trials on validation."""
        tuned = [trial for trial in self.trials if trial.split == "validation" and trial.repetition == 0]
        return choose_factors(tuned, self.true_ids["validation"], self.question)

    def of(self, split: str) -> list[Trial]:
        """The trials of a split, each at its arm's learning rate."""
        chosen = self.factors()
        return [t for t in self.trials if t.split == split and t.learning_rate_factor == chosen[t.arm]]


def write_predictions(
    run: RunDirectory,
    question: SweepQuestion,
    true_ids: Mapping[str, Int64[np.ndarray, "_"]],
    trials: Sequence[Trial],
    keys: Mapping[str, str],
) -> None:
    """Write one row for each trial, once.

    The question, the true classes, and the keys of the trials by their names go into the file's metadata.
    """
    metadata = {
        _QUESTION: json.dumps(dataclasses.asdict(dataclasses.replace(question, pools=dict(question.pools)))),
        _TRUE_IDS: json.dumps({split: ids.tolist() for split, ids in true_ids.items()}),
        _KEYS: json.dumps(dict(keys)),
    }
    table = pa.Table.from_pylist([dataclasses.asdict(trial) for trial in _distinct(trials)], schema=_SCHEMA)
    stream = io.BytesIO()
    table = table.replace_schema_metadata(metadata)
    with pq.ParquetWriter(stream, table.schema, compression="zstd") as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({checksums.FIELD: checksums.BLANK})
    run.write_checked(layout.SWEEP_PREDICTIONS, stream.getvalue())


def _distinct(trials: Sequence[Trial]) -> list[Trial]:
    """Each trial once: the first repetition of an arm is used to choose its learning rate and in its mean."""
    keys = [(t.split, t.arm, t.ratio, t.repetition, t.learning_rate_factor) for t in trials]
    return list(dict(zip(keys, trials, strict=True)).values())


def kept_trials(run: RunDirectory) -> dict[str, tuple[str, Trial]]:
    """Key and trial of all that `write_predictions` wrote, by the trial's name.

    None where it wrote nothing, or where the file is damaged, which is told.
    """
    if not run.exists(layout.SWEEP_PREDICTIONS):
        return {}
    try:
        table = _read_table(run, may_lack=False)
        keys = json.loads((table.schema.metadata or {}).get(_KEYS, b"{}"))
        trials = [Trial(**row) for row in table.to_pylist()]
    except (TypeError, ValueError) as error:
        tell_damage(error if isinstance(error, DamagedError) else DamagedError(layout.SWEEP_PREDICTIONS, error))
        return {}
    named = {trial_name(t.split, t.arm, t.ratio, t.repetition, t.learning_rate_factor): t for t in trials}
    return {name: (keys[name], trial) for name, trial in named.items() if name in keys}


def _read_table(run: RunDirectory, *, may_lack: bool) -> pa.Table:
    content = run.read_checked(layout.SWEEP_PREDICTIONS, may_lack=may_lack)
    try:
        # not through a Python stream: pyarrow's threads then abort one process in fourteen at its exit (arrow#50482)
        return pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(run, error) from error


def _damaged(run: RunDirectory, error: Exception) -> ValueError:
    return ValueError(f"{run.uri}/{layout.SWEEP_PREDICTIONS} is damaged ({error}): delete it, and run again")


def read_predictions(run: RunDirectory) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises:
        ValueError: the file is missing or damaged; names it.
    """
    if not run.exists(layout.SWEEP_PREDICTIONS):
        where = f"{run.uri}/{layout.SWEEP_PREDICTIONS}"
        raise ValueError(f"{where} is missing: run the sweep of this run directory to its end")
    table = _read_table(run, may_lack=True)
    try:
        metadata = table.schema.metadata or {}
        asked, true_ids = json.loads(metadata[_QUESTION]), json.loads(metadata[_TRUE_IDS])
        trials = [Trial(**row) for row in table.to_pylist()]
        config = _config_of(asked.pop("config"))
        replication = ReplicationConfig(**asked.pop("replication"))
    except (pa.ArrowException, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _damaged(run, error) from error
    names = tuple(asked.pop("class_names"))
    question = SweepQuestion(config=config, replication=replication, class_names=names, **asked)
    ids = {split: np.array(of_split, dtype=np.int64) for split, of_split in true_ids.items()}
    return Predictions(question=question, true_ids=ids, trials=trials)


def _config_of(settings: dict[str, Any]) -> SweepConfig:
    """The settings as they were before JSON, which has no tuples.

    A run of an earlier version may have settings that are gone: they said which arms were run, which the trials say as
    well.
    """
    known = {field.name for field in dataclasses.fields(SweepConfig)}
    given: dict[str, Any] = {name: value for name, value in settings.items() if name in known}
    given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    # before there was a choice images were added
    return SweepConfig(**{"mixing": ("added",), **given})
