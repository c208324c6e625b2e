"""Results of a run as Arrow tables whose columns are the fields of the run's records.

Each table is read from the files of its stage, so that it is there before the report is. This module computes nothing.
"""

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any, Literal

import pyarrow as pa

from flowerti.artifacts import layout
from flowerti.artifacts.records import Census, ClassifierReport, Selection, SweepRow, SweepTable
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.scores import Distance, Scores
from flowerti.artifacts.sweep import SweepClassRow
from flowerti.reading.stage_results import result_of

_TYPES: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_CLASSES = pa.schema(
    [
        ("class_id", pa.int64()),
        ("class_name", pa.string()),
        *((f"num_{split}", pa.int64()) for split in ("train", "validation", "test")),
        *((score, pa.float64()) for score in ("precision", "recall", "f1")),
        ("is_weak", pa.bool_()),
        ("reason", pa.string()),
    ]
)


def arms_table(run: RunDirectory) -> pa.Table:
    """`artifacts.records.SweepRow`: every arm of the sweep at every level, on validation and on test.

    Raises:
        ValueError: the stage sweep is not done.
    """
    return _table_of(SweepRow, _sweep(run).rows)


def arms_by_class_table(run: RunDirectory) -> pa.Table:
    """`artifacts.sweep.SweepClassRow`: the same for each weak class.

    Raises:
        ValueError: the stage sweep is not done.
    """
    return _table_of(SweepClassRow, _sweep(run).classes)


def classes_table(run: RunDirectory) -> pa.Table:
    """All classes by id: images of each split, how the first classifier did on validation, and which are weak.

    Raises:
        ValueError: the stage select is not done.
    """
    chosen = {one.class_name: one for one in result_of("select", run, layout.SELECTION, Selection).selected}
    report = result_of("classify", run, layout.CLASSIFIER_REPORT, ClassifierReport)
    scores = {score.class_name: score for score in report.classes}
    rows = [
        {
            **dataclasses.asdict(scores[count.class_name]),
            **dataclasses.asdict(count),
            "class_id": class_id,
            "is_weak": count.class_name in chosen,
            "reason": chosen[count.class_name].reason if count.class_name in chosen else None,
        }
        for class_id, count in enumerate(result_of("classify", run, layout.CENSUS, Census).counts)
    ]
    return pa.Table.from_pylist(rows, schema=_CLASSES)


def distances_table(run: RunDirectory) -> pa.Table:
    """`artifacts.scores.Distance`: every set of images beside real ones of validation, and of test once confirmed.

    Raises:
        ValueError: the stage score is not done.
    """
    rows = result_of("score", run, layout.scores("validation"), Scores).distances
    if run.exists(layout.scores("test")):
        rows = rows + result_of("confirm", run, layout.scores("test"), Scores).distances
    return _table_of(Distance, rows)


def _sweep(run: RunDirectory) -> SweepTable:
    return result_of("sweep", run, layout.SWEEP_TABLE, SweepTable)


def _table_of(kind: type, rows: Sequence[Any]) -> pa.Table:
    """Records as a table, which has their columns also where there are none."""
    schema = pa.schema([(name, _type_of(hint)) for name, hint in typing.get_type_hints(kind).items()])
    return pa.Table.from_pylist([dataclasses.asdict(row) for row in rows], schema=schema)


def _type_of(hint: Any) -> pa.DataType:
    """The column of a field: a text for one of several words, and null for what may be None."""
    if typing.get_origin(hint) is Literal:
        return pa.string()
    (plain,) = [one for one in typing.get_args(hint) or (hint,) if one is not type(None)]
    return _TYPES[plain]
