"""`flowerti.run`: the command `flowerti run` for a person's own Python, with parameters in the place of options.

This module does not know the stages, and hands every setting to the command as it is.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from flowerti.commands.run import carry_out, read_start
from flowerti.reading.run import Run


def run(
    folder: str | os.PathLike[str] = "",
    *,
    base: str | os.PathLike[str] = "",
    preset: str = "",
    run_dir: str | os.PathLike[str] = "",
    until: str = "report",
    settings: Mapping[str, Any] | None = None,
) -> Run:
    """Run an experiment, or what is missing of it, up to a stage; the same command goes on where this one ended.

    It may take hours. How far it is is printed, as on the command line; a script calls it below
    `if __name__ == "__main__"`, because its workers are processes.

    Args:
        folder: of images, as docs/data.md describes it; settings are chosen from them and the base.
        base: the text-to-image model for a folder, or in place of that of a preset.
        preset: a ready-made experiment in place of a folder.
        run_dir: where the run keeps everything; by default a folder in `runs/`. Alone, what was started there goes on.
        until: the last stage, a name in `flowerti.pipeline.STAGES`: "select" finds the weak classes.
        settings: single settings by their names in config.json, as in {"textual_inversion.num_steps": 500}.

    Returns:
        The run directory, opened.

    Raises:
        ValueError: something about the input is wrong, or another run holds the directory; nothing costly was done.
            Whatever ends a later stage is raised as it is, and the run can go on from there.
    """
    named = {"--preset": preset, "--base": os.fspath(base), "--run-dir": os.fspath(run_dir)}
    arguments = [os.fspath(folder)] if folder else []
    for option, value in named.items():
        arguments += [option, value] if value else []
    start, _, _ = read_start([*arguments, *options_of(settings or {})])
    carry_out(start, until)
    return Run(start.run.uri)


def options_of(settings: Mapping[str, Any]) -> list[str]:
    """Settings as options of the command line; True and False as the switches that they are there."""
    found: list[str] = []
    for name, value in settings.items():
        stage, _, field = name.replace("_", "-").rpartition(".")
        prefix = f"--{stage}." if stage else "--"
        if isinstance(value, bool):
            found.append(f"{prefix}{'' if value else 'no-'}{field}")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            found += [f"{prefix}{field}", *map(str, value)]
        else:
            found += [f"{prefix}{field}", str(value)]
    return found
