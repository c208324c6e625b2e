"""The interface of a technique: an `Implementation`, the only code that is specific to it.

A technique trains one two-dimensional tensor per class. Everything that techniques have in common (batches, steps,
checkpoints, records) is in other modules of this package. This module does not know any technique.
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
from flowerti.config.prior import PriorConfig
from flowerti.config.techniques import Technique
from flowerti.diffusion import Base
from flowerti.personalization.denoising import EncodedImages, Losses
from flowerti.personalization.trainer import AfterStep

C = TypeVar("C", bound=ScheduleConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """A stored result: its record and files."""

    learned: Learned
    files: Mapping[str, bytes]
    """The content of each file by its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Implementation(Generic[C]):
    """The code of a technique; C is its config.

    If the technique depends on another one, functions receive a base with that one applied: its token is `base.token`.
    Functions raise ValueError for an invalid config, base or file.
    """

    check: Callable[[Path, C], None]
    """Rejects a config that is incompatible with the base in a folder, before the base is loaded."""
    start: Callable[[Base, EncodedImages, C, str, int], Float[Tensor, "rows columns"]]
    """The tensor before the first step, float32 on the base's device, from the class's name and a seed."""
    losses: Callable[[Base, Sequence[EncodedImages]], Losses]
    """The loss function for a batch of the classes with these images: one, unless the technique shares batches."""
    export: Callable[[Base, Float[Tensor, "rows columns"], str], dict[str, bytes]]
    """Serializes the tensor of a class: content by file name in the class's folder; file names must not collide with
    those of other techniques."""
    apply: Callable[[Base, Content], AbstractContextManager[Base]]
    """Context manager that applies the result to a loaded base and yields the base to encode prompts with. Its networks
    are the same objects, whose outputs may be changed by hooks until the context exits."""
    derived: Callable[[Content], dict[str, bytes]] = lambda content: {}
    """Those of its files that follow from the others, as far as these are there: content by file name."""
    num_vectors: Callable[[C], int] = lambda config: 0
    """Number of rows of the placeholder token that it adds; 0 for none."""
    details: Callable[[C], dict[str, str | int | float]] = lambda config: {}
    """Settings to store in the record, beside the bytes of the files."""
    prior: Callable[[C], PriorConfig | None] = lambda config: None
    """What is to stay as it is while the class is learnt; the worker adds it to the data. A technique whose classes
    share batches has none."""
    neighbours: Callable[[Base, Float[Tensor, "rows columns"]], list[Neighbour]] = lambda base, learnt: []
    """Nearest vocabulary tokens of the result."""
    neighbours_among: Callable[[Sequence[Content]], list[ConceptNeighbour]] | None = None
    """Nearest results of other classes; None for none, so that no file is read for them."""
    after_step: Callable[[Base, C], AfterStep | None] = lambda base, config: None
    """A function to call after each step; optional."""
    num_bytes: Callable[[Path], int] = lambda folder: 0
    """Bytes of a class's files on the base in a folder, which must fit on the disk; 0 for next to none."""
    can_compile: bool = False
    """Whether the U-Net may be compiled for training: not if hooks change the U-Net from class to class."""


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
