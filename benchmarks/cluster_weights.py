"""The weights' share of an actor's start, by the place that they come from."""

import os
import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.cluster_size import Measured, Size
from benchmarks.paired import ratio_of
from flowerti.artifacts.run_directory import RunDirectory

_WEIGHTS = "weights.safetensors"
_TENSOR_MIB = 16


class Receiver:
    """On a worker: takes the same weights from one of three places and touches every value once."""

    def __init__(self, folder: str) -> None:
        """Weights lie in a folder of this machine."""
        torch.set_num_threads(1)
        self._folder = folder

    def mapped_file(self) -> float:
        """A file of this node, as an actor maps its base."""
        from safetensors.torch import load_file

        return touch(load_file(f"{self._folder}/{_WEIGHTS}"))

    def object_store(self, arrays: Mapping[str, np.ndarray]) -> float:
        """Arrays in this node's shared memory; nothing is copied."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they may not be written to, and are not
            return touch({name: torch.from_numpy(array) for name, array in arrays.items()})

    def fresh_load(self) -> float:
        """The file read from the disk into memory of its own, as after a download that each actor makes anew."""
        from safetensors.torch import load

        forget_pages(f"{self._folder}/{_WEIGHTS}")
        return touch(load(RunDirectory(self._folder).read_bytes(_WEIGHTS)))

    def timed(self, place: str, reference: list[Any]) -> float:
        """Seconds until the weights are there and were touched."""
        import ray

        begun = time.perf_counter()
        if place == "object_store":
            self.object_store(ray.get(reference[0]))
        else:
            getattr(self, place)()
        return time.perf_counter() - begun


def touch(tensors: Mapping[str, torch.Tensor]) -> float:
    """Read every value once."""
    return float(sum(tensor.sum(dtype=torch.float64) for tensor in tensors.values()))


def forget_pages(file: str) -> None:
    """Have the kernel drop a file's pages from memory, where it knows how."""
    if not hasattr(os, "posix_fadvise"):
        return
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def write_weights(folder: str, num_mib: int) -> dict[str, np.ndarray]:
    """Random weights in a file, and as arrays."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    arrays = {str(i): rng.standard_normal(_TENSOR_MIB * 2**18, dtype=np.float32) for i in range(num_mib // _TENSOR_MIB)}
    save_file(arrays, f"{folder}/{_WEIGHTS}")
    return arrays


def weights(size: Size, folder: str) -> Measured:
    """The weights' share of an actor's start, by where they come from, against a load by each actor."""
    import ray

    arrays = write_weights(folder, size.weights_mib)
    begun = time.perf_counter()
    reference = [ray.put(arrays)]
    put_s = time.perf_counter() - begun
    receiver: Any = ray.remote(Receiver).options(num_cpus=1).remote(folder)
    places = ("mapped_file", "object_store", "fresh_load")
    seconds = {place: np.zeros(size.num_pairs) for place in places}
    for pair in range(-1, size.num_pairs):
        for i in range(len(places)):
            place = places[(pair + i) % len(places)]
            seconds[place][pair] = ray.get(receiver.timed.remote(place, reference))
    ray.kill(receiver)
    fresh_s = seconds.pop("fresh_load")
    ratios = {f"weights_{place}_to_fresh_load": ratio_of(fresh_s, of_place) for place, of_place in seconds.items()}
    middle = {f"{place}_s": float(np.median(of_place)) for place, of_place in seconds.items()}
    return ratios, middle | {
        "fresh_load_s": float(np.median(fresh_s)),
        "put_once_s": put_s,
        "weights_mib": size.weights_mib,
    }
