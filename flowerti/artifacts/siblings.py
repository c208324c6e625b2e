"""Records that the runs beside a run left in a log of the same name: those in its parent folder, on a local disk.

It reads nothing else of them, and takes what it can read: a sibling that is damaged, or no run at all, says nothing.
This module does not know what a record means.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowerti.artifacts.run_directory import RunDirectory


def sibling_records(run: RunDirectory, folder: str) -> list[dict[str, Any]] | None:
    """The records in the logs of the sibling runs, as JSON objects, in no order.

    Args:
        run: the run itself, which is left out.
        folder: the log's folder in a run directory, one level deep.

    Returns:
        None where siblings cannot be listed: the parent folder is not readable, or the run lies on an object store,
        where looking into each would take a request for every folder.
    """
    if not run.is_local:
        return None
    own = Path(run.path(folder)).parent.resolve()
    try:
        folders = [path / folder for path in own.parent.iterdir() if path != own]
    except OSError:
        return None
    return [record for path in folders for record in _records_in(path)]


def _records_in(folder: Path) -> Iterator[dict[str, Any]]:
    try:
        files = sorted(folder.glob("*.json"))
    except OSError:
        return
    for file in files:
        try:
            record = json.loads(file.read_bytes())["record"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(record, dict):
            yield record
