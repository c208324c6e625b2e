"""A class's training as bytes: its tensor, optimiser moments, curve and position, in one safetensors file.

Random numbers need no state here, because each step's come from its number. This module does not know what checkpoints
are called or when they are written.
"""

import json

from safetensors import SafetensorError
from safetensors.torch import load, save

from flowerti.artifacts.records import LossPoint
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.tensor_files import metadata_in, metadata_of
from flowerti.personalization.train_state import TrainState

_TENSORS = ("learnt", "first_moment", "second_moment", "best", "start")


def to_bytes(state: TrainState, key: str) -> bytes:
    """Write a checkpoint; `key` says what the class is learnt from."""
    tensors = {name: getattr(state, name).detach().cpu().contiguous() for name in _TENSORS}
    curve = [[point.step, point.loss, point.seconds] for point in state.curve]
    metadata = {
        "key": key,
        "step": str(state.step),
        "seconds": repr(state.seconds),
        "curve": json.dumps(curve),
    }
    return save(tensors, metadata)


def from_bytes(content: bytes, key: str, device: str) -> TrainState | None:
    """Read a checkpoint; None where it was made from something else.

    Raises:
        ValueError: the content is damaged.
    """
    try:
        tensors = {name: tensor.to(device) for name, tensor in load(content).items()}
    except SafetensorError as error:
        raise ValueError(f"damaged ({error})") from error
    metadata = metadata_of(content)
    if metadata["key"] != key:
        return None
    return TrainState(
        step=int(metadata["step"]), seconds=float(metadata["seconds"]), curve=_curve(metadata["curve"]), **tensors
    )


def load_from(run: RunDirectory, name: str, key: str, device: str) -> TrainState | None:
    """Read a checkpoint of a run; None where there is none, or it was made from something else.

    Raises:
        ValueError: it is damaged; names the file and says what to do.
    """
    if not run.exists(name):
        return None
    try:
        return from_bytes(run.read_bytes(name), key, device)
    except ValueError as error:
        raise ValueError(f"{run.uri}/{name} is {error}: delete it to start the class anew") from error


def last_point_in(run: RunDirectory, name: str, key: str) -> LossPoint | None:
    """Step of a run's checkpoint and the evaluation loss known there, for somebody who watches.

    None where there is none, it was made from something else, or it cannot be read. Its tensors, which are megabytes
    for an adapter, are not.
    """
    try:
        metadata = metadata_in(run, name)
    except (FileNotFoundError, ValueError):
        # not written yet, or deleted because the class has just ended; the worker itself judges a damaged one
        return None
    if metadata.get("key") != key:
        return None
    return LossPoint(step=int(metadata["step"]), loss=_curve(metadata["curve"])[-1].loss)


def _curve(text: str) -> list[LossPoint]:
    return [LossPoint(step=step, loss=loss, seconds=seconds) for step, loss, seconds in json.loads(text)]
