"""What a technique must bring: an `Implementation`, a handful of functions that all else here is independent of.

A technique learns one two-dimensional tensor for a class. Everything that is the same for all - batches, steps,
checkpoints, records - lies beside this module, which does not know any technique.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from jaxtyping import Float
from torch import Tensor

from flowerti.artifacts.records import ConceptNeighbour, Learned, Neighbour
from flowerti.config.experiment import ScheduleConfig
from flowerti.config.techniques import Technique
from flowerti.diffusion import Base
from flowerti.personalization.denoising import EncodedImages, Losses
from flowerti.personalization.trainer import AfterStep

C = TypeVar("C", bound=ScheduleConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What was learnt for a class, as it is stored."""

    learned: Learned
    files: Mapping[str, bytes]
    """The content of each file by its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Implementation(Generic[C]):
    """The code of a technique; C is its config.

    A base that a function is given draws as what the technique needs was learnt: a token that it needs is
    `base.token`. Functions raise ValueError for what is wrong with config, base or files.
    """

    check: Callable[[Path, C], None]
    """Refuses a config that the base in a folder cannot serve, before the base is loaded."""
    start: Callable[[Base, EncodedImages, C, str, int], Float[Tensor, "rows columns"]]
    """The tensor before the first step, float32 on the base's device, from the class's name and a seed."""
    losses: Callable[[Base, Sequence[EncodedImages]], Losses]
    """The loss function for a batch of the classes with these images: one, unless the technique shares batches."""
    export: Callable[[Base, Float[Tensor, "rows columns"], str], dict[str, bytes]]
    """Files of what was learnt for a class of a name, by their names in the class's folder; no other technique may
    write files of the same names."""
    apply: Callable[[Base, Content], AbstractContextManager[Base]]
    """Makes a loaded base draw as learnt while the context lasts: gives the base to encode prompts with. Its networks
    are the same objects, whose outputs may be changed by hooks until the context ends."""
    num_vectors: Callable[[C], int] = lambda config: 0
    """Rows of the placeholder token that it makes; 0 for none."""
    details: Callable[[C], dict[str, str | int | float]] = lambda config: {}
    """What the record says about its settings."""
    neighbours: Callable[[Base, Float[Tensor, "rows columns"]], list[Neighbour]] = lambda base, learnt: []
    """Vocabulary tokens near what was learnt."""
    neighbours_among: Callable[[Sequence[Content]], list[ConceptNeighbour]] = lambda contents: []
    """What of one class is near to what of another."""
    after_step: Callable[[Base, C], AfterStep | None] = lambda base, config: None
    """What each step is followed by, if anything."""
    can_compile: bool = False
    """Whether the U-Net may be compiled while it learns: not where hooks change the U-Net from class to class."""


def implementation_of(technique: Technique) -> Implementation[Any]:
    """Import the code of a technique.

    Raises:
        ValueError: there is no such module or object, or the object is something else.
    """
    module, _, name = technique.implementation.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"technique {technique.name!r}: {technique.implementation} cannot be loaded: {error}"
        ) from error
    if not isinstance(found, Implementation):
        raise ValueError(f"technique {technique.name!r}: {technique.implementation} is no Implementation")
    return found
