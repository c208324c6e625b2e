"""A small experiment with single values replaced, and the message with which it is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flowerti import study
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import Experiment

CLASSES = ("azalea", "sword lily", "zinnia")


def changed(experiment: Experiment, stage: str, **values: Any) -> Experiment:
    if stage in experiment.techniques:
        settings = dataclasses.replace(experiment.techniques[stage], **values)
        return dataclasses.replace(experiment, techniques={**experiment.techniques, stage: settings})
    return dataclasses.replace(experiment, **{stage: dataclasses.replace(getattr(experiment, stage), **values)})


def refusal(experiment: Experiment, run: RunDirectory) -> str:
    """The message of a refusal, after checking that it is one line and came before any file was written."""
    before = {name: run.read_bytes(name) for name in run.names("")}
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the callers look at the message
        study.prepare(experiment, run)
    message = str(caught.value)
    assert "\n" not in message
    assert {name: run.read_bytes(name) for name in run.names("")} == before
    return message


def add_held_out(images: Path, class_name: str, split: str) -> None:
    for index in (2, 3):
        level = np.full((10, 10, 3), 10 * index + len(split), dtype=np.uint8)
        Image.fromarray(level).save(images / split / class_name / f"{index}.png")
