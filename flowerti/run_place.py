"""Checks that a run may work in its directory: before the lock, and so before anything is written there.

This module does not look at the data, and does not know the stages.
"""

import dataclasses
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from flowerti.artifacts import layout
from flowerti.artifacts.masking import holds_credentials, masked
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import find_config
from flowerti.config.experiment import Experiment

_MIN_FREE_BYTES = 500_000_000
_IDENTITY = ("name", "seed", "data", "imbalance", "base")
"""Fields that identify a run: a different value of one of them requires another run directory."""
_FILES = (layout.CONFIG, layout.CENSUS, layout.SPLITS, layout.ALIKE, layout.SPARE, layout.SEEN, layout.SELECTION)
_FILES += (layout.CEILING, layout.CEILING_CURVE, layout.CURATION, layout.SUMMARY, layout.PAGE, layout.RESULT)
_FILES += (layout.IMAGE_HASHES, layout.MANIFEST)
_FOLDERS = ("classifier", "scores", "sweep", "timings", layout.LOCK, layout.CONCEPTS, layout.FEATURES, layout.FIGURES)
_FOLDERS += (layout.SYNTHETIC, layout.TEST_OPENINGS)


def check_place(experiment: Experiment, run: RunDirectory) -> None:
    """Check the run directory against the config, and that it can be written.

    Raises:
        ValueError: the directory is another run's, cannot be written, is full, or has a folder in a file's place; or
            the config holds credentials. Names it and says what to do.
    """
    _refuse_credentials(experiment)
    check_disk(run)
    _refuse_wrong_kinds(run)
    _refuse_other_config(experiment, run)


def _refuse_credentials(experiment: Experiment) -> None:
    for field, value in _texts(dataclasses.asdict(experiment), ""):
        if "://" in value and holds_credentials(value):
            raise ValueError(
                f"{field}: {masked(value)} holds credentials, which would be written to {layout.CONFIG}: leave them "
                "out, and set them in the environment"
            )


def _texts(value: Any, field: str) -> Iterator[tuple[str, str]]:
    """The texts among some settings, each with its field."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{field}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner, field)


def _refuse_wrong_kinds(run: RunDirectory) -> None:
    """Reject a folder that has a file's name and the other way round, which would fail hours later."""
    from pyarrow.fs import FileSelector, FileType

    if not run.is_local:
        return  # an object store has no folders
    root = Path(run.path(layout.CONFIG)).parent
    for info in run.filesystem.get_file_info(FileSelector(str(root), allow_not_found=True)):
        if info.base_name in _FILES and info.type == FileType.Directory:
            raise ValueError(f"{info.path} is a folder where a file should be: remove or rename it")
        if info.base_name in _FOLDERS and info.type == FileType.File:
            raise ValueError(f"{info.path} is a file where a folder should be: remove or rename it")


def _refuse_other_config(experiment: Experiment, run: RunDirectory) -> None:
    earlier = find_config(run)
    if earlier is None:
        return
    before, now = _identity(earlier), _identity(experiment)
    changed = [name for name in _IDENTITY if before[name] != now[name]]
    if changed:
        raise ValueError(
            f"run directory {run.uri} belongs to a run with another {', '.join(changed)}: "
            "choose another run directory, or delete this one"
        )


def _identity(experiment: Experiment) -> dict[str, Any]:
    # settings of download, error handling and display do not change the data set, nor does what a base has seen
    same = {
        "data": replace(experiment.data, download=False, skip_unreadable=False, show_images=True),
        "base": replace(experiment.base, training_images="", allow_seen_held_out=False),
    }
    return {name: same.get(name, getattr(experiment, name)) for name in _IDENTITY}


def check_disk(run: RunDirectory, num_learnt_bytes: int = 0) -> None:
    """Check that a local run directory can be written, and that its disk holds what is learnt.

    Raises:
        ValueError: it is no writable folder, or its disk is too full; names it.
    """
    if not run.is_local:
        return
    folder = Path(run.path(layout.CONFIG)).parent
    try:
        existing = next(p for p in (folder, *folder.parents) if p.exists())
        too_long = [part for part in folder.parts if len(os.fsencode(part)) > os.pathconf(existing, "PC_NAME_MAX")]
    except OSError as error:
        # as for a name that is too long, or links in a circle
        raise ValueError(f"run directory {run.uri}: {error.strerror}: choose another") from error
    if too_long:
        raise ValueError(f"run directory: the name {too_long[0][:40]}... in it is too long: choose another")
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(f"run directory {run.uri}: {existing} is not a writable folder: choose another")
    free = shutil.disk_usage(existing).free
    needed = _MIN_FREE_BYTES + num_learnt_bytes
    if free < needed:
        raise ValueError(
            f"run directory {run.uri}: {free // 10**6} MB are free on its disk, {needed // 10**6} MB are "
            "needed: free some or choose another disk"
        )
