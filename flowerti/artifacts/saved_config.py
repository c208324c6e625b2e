"""The config of a run, beside its results.

This module does not know what the settings mean.
"""

from flowerti.artifacts import layout
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import Experiment, from_json, to_json
from flowerti.tables import load_plugins


def write_config(run: RunDirectory, experiment: Experiment) -> None:
    """Save the settings of a run."""
    run.write_bytes(layout.CONFIG, to_json(experiment).encode())


def find_config(run: RunDirectory) -> Experiment | None:
    """The settings of the run in this directory; None if no run was started there.

    Raises:
        ValueError: the file is damaged or of another version; names it.
    """
    if not run.exists(layout.CONFIG):
        return None
    text = run.read_bytes(layout.CONFIG).decode(errors="replace")
    return from_json(text, file_name=f"{run.uri}/{layout.CONFIG}")


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
