"""What a stage of a run left behind, or which stage is still to be run.

This module does not know what the records mean.
"""

from typing import TypeVar

from flowerti.artifacts.damage import damage_told
from flowerti.artifacts.run_directory import RunDirectory

T = TypeVar("T")


def result_of(stage: str, run: RunDirectory, name: str, kind: type[T]) -> T:
    """A record that a stage wrote.

    Args:
        stage: a stage of the pipeline.
        run: the run directory.
        name: the record's file.
        kind: its dataclass.

    Raises:
        ValueError: it is not there or is damaged; says which stage makes it.
    """
    with damage_told(lambda _: None):  # the error says it
        found = run.load(name, kind)
    if found is None:
        problem = "damaged" if run.exists(name) else "missing"
        raise ValueError(f"{run.uri}/{name} is {problem}: {advice(run, stage)}")
    return found


def advice(run: RunDirectory, stage: str) -> str:
    """What to do where a stage is not done."""
    return f"run the stage {stage} with `flowerti run --run-dir {run.uri} --until {stage}`"
