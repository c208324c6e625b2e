"""Serializes a class's training state: tensor, optimiser moments, loss curve and step, in one safetensors file.

No generator state is stored, because the random numbers of a step depend on its number. This module does not know how
checkpoints are named or when they are written.
"""

import json

from safetensors import SafetensorError
from safetensors.torch import load, save

from flowerti.artifacts import checksums
from flowerti.artifacts.damage import DamagedError, tell_damage
from flowerti.artifacts.records import LossPoint
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.tensor_files import metadata_in, metadata_of
from flowerti.personalization.train_state import TrainState

_TENSORS = ("learnt", "first_moment", "second_moment", "best", "start")


def to_bytes(state: TrainState, key: str) -> bytes:
    """A checkpoint for `RunDirectory.write_checked`; `key` identifies its inputs."""
    tensors = {name: getattr(state, name).detach().cpu().contiguous() for name in _TENSORS}
    curve = [[point.step, point.loss, point.seconds] for point in state.curve]
    metadata = {
        checksums.FIELD: checksums.BLANK,
        "key": key,
        "step": str(state.step),
        "seconds": repr(state.seconds),
        "curve": json.dumps(curve),
    }
    return save(tensors, metadata)


def from_bytes(content: bytes, key: str, device: str) -> TrainState | None:
    """Read a checkpoint; None if its key differs.

    Raises:
        ValueError: the content is damaged.
    """
    try:
        tensors = {name: tensor.to(device) for name, tensor in load(content).items()}
    except SafetensorError as error:
        raise ValueError(f"no checkpoint: {error}") from error
    metadata = metadata_of(content)
    if metadata["key"] != key:
        return None
    return TrainState(
        step=int(metadata["step"]), seconds=float(metadata["seconds"]), curve=_curve(metadata["curve"]), **tensors
    )


def load_from(run: RunDirectory, name: str, key: str, device: str) -> TrainState | None:
    """Read a checkpoint of a run; None if there is none, its key differs, or it is damaged, which is told."""
    try:
        return from_bytes(run.read_checked(name), key, device)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        tell_damage(error)
    except ValueError as error:
        tell_damage(DamagedError(name, error))
    return None


def last_point_in(run: RunDirectory, name: str, key: str) -> LossPoint | None:
    """Step and latest evaluation loss of a run's checkpoint, for progress reports.

    None if there is none, its key differs, or it cannot be read. Its tensors, several megabytes for an adapter, are not
    loaded.
    """
    try:
        metadata = metadata_in(run, name)
    except (FileNotFoundError, ValueError):
        # not written yet, or deleted because the class has just finished; the worker itself tells a damaged one
        return None
    if metadata.get("key") != key:
        return None
    try:
        return LossPoint(step=int(metadata["step"]), loss=_curve(metadata["curve"])[-1].loss)
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def _curve(text: str) -> list[LossPoint]:
    return [LossPoint(step=step, loss=loss, seconds=seconds) for step, loss, seconds in json.loads(text)]
