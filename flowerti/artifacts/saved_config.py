"""The config of a run, beside its results.

A config that does not match its checksum is refused: nothing else says whose results lie there. This module does not
know what the settings mean.
"""

import json

from flowerti.artifacts import checksums, layout
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import Experiment, from_json, to_json
from flowerti.tables import load_plugins


def write_config(run: RunDirectory, experiment: Experiment) -> None:
    """Save the settings of a run."""
    fields = json.loads(to_json(experiment)) | {checksums.FIELD: checksums.BLANK}
    run.write_checked(layout.CONFIG, (json.dumps(fields, indent=2) + "\n").encode())


def find_config(run: RunDirectory) -> Experiment | None:
    """The settings of the run in this directory; None if no run was started there.

    Raises:
        ValueError: the file is damaged, was changed, or is of another version; names it.
    """
    try:
        content = run.read_bytes(layout.CONFIG)
    except FileNotFoundError:
        return None
    where = f"{run.uri}/{layout.CONFIG}"
    if checksums.contradiction_in(layout.CONFIG, content):
        raise ValueError(
            f"{where} was changed after the run wrote it: to keep its results, bring it back; else choose another run "
            "directory, or delete this one"
        )
    return from_json(content.decode(errors="replace"), file_name=where)


def load_saved_plugins(run: RunDirectory) -> None:
    """Load the plugins that the run in this directory had; a config of an earlier version names them as well.

    Raises:
        ValueError: the file is damaged, or as `tables.load_plugins`; names it.
    """
    if not run.exists(layout.CONFIG):
        return
    names = run.read_json(layout.CONFIG).get("plugins")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{run.uri}/{layout.CONFIG} is damaged: its plugins are no list of words")
    load_plugins(tuple(names))


def read_config(run: RunDirectory) -> Experiment:
    """The settings of the run in this directory.

    Raises:
        ValueError: no run was started there, or as `find_config`.
    """
    experiment = find_config(run)
    if experiment is None:
        raise ValueError(f"{run.uri}/{layout.CONFIG} is missing: no run was started in this directory")
    return experiment
