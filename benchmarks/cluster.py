"""What a cluster costs beside the work: fan-out, the weights of an actor, sampling and scoring through Ray Data.

`python benchmarks/cluster.py --quick` prints one JSON object. All of it runs on this machine with two workers, so it
wants two free cores; on fewer, workers wait for each other and the numbers say so.
"""

import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.paired import print_result, ratio_of
from benchmarks.scoring import ray_pipeline
from flowerti.artifacts.records import Learned, SelectedClass, Selection
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster.personalize import personalize, spec_of
from flowerti.cluster.sample import plan_sets, sample
from flowerti.cluster.session import close, connect, device_of
from flowerti.config.experiment import BaseConfig, SamplingConfig
from flowerti.config.presets import demo
from flowerti.config.techniques import TECHNIQUES
from flowerti.generation.sampler import Sampler, ShardTask
from flowerti.plan import schedule
from flowerti.progress import Progress
from flowerti.study import Study, prepare

NUM_CLASSES, NUM_WORKERS = 3, 2
_WEIGHTS = "weights.safetensors"
_TENSOR_MIB = 16
_FEW_SHARDS = 2
Measured = tuple[dict[str, dict[str, float]], dict[str, Any]]
Part = Literal["fan_out", "weights", "sampling", "scoring"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Measures what a cluster costs."""

    quick: bool = False
    """Fewer pairs, steps and images; answers within ten minutes on two cores."""
    parts: tuple[Part, ...] = PARTS
    """What to measure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much is measured."""

    num_pairs: int
    num_steps: int
    """Of the inversion, per class."""
    weights_mib: int
    num_shards: int
    """Of images, drawn beyond those that only warm up."""


QUICK = Size(num_pairs=2, num_steps=60, weights_mib=128, num_shards=8)
FULL = Size(num_pairs=5, num_steps=200, weights_mib=2048, num_shards=16)


def main() -> None:
    """Measure and print."""
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    size, experiment = QUICK if options.quick else FULL, demo()
    experiment = replace(experiment, cluster=replace(experiment.cluster, num_workers=NUM_WORKERS))
    with tempfile.TemporaryDirectory(prefix="flowerti-") as folder:
        study = prepare(experiment, RunDirectory(f"{folder}/study"))
        connect(experiment.cluster)
        measures: dict[Part, Callable[[], Measured]] = {
            "fan_out": lambda: fan_out(study, size, folder),
            "weights": lambda: weights(size, folder),
            "sampling": lambda: sampling(study, size, folder),
            "scoring": lambda: scoring(study, size),
        }
        parts = {part: measures[part]() for part in options.parts}
    close()
    ratios = {name: ratio for measured, _ in parts.values() for name, ratio in measured.items()}
    print_result("cluster", ratios, {name: details for name, (_, details) in parts.items()})


def some_classes(study: Study) -> Selection:
    """The classes with fewest training images."""
    counts = sorted(study.census.counts, key=lambda count: count.num_train)[:NUM_CLASSES]
    chosen = [
        SelectedClass(class_name=c.class_name, num_train=c.num_train, f1_validation=0.0, reason="") for c in counts
    ]
    return Selection(selected=chosen, by_evidence=[])


def fan_out(study: Study, size: Size, folder: str) -> Measured:
    """Three classes over two workers against the best that could be, with and without the start of the actors.

    A first fan-out, which does not count, warms Ray and the files.
    """
    start_s = actor_start_s(study)
    inversion = replace(study.experiment.techniques["textual_inversion"], num_steps=size.num_steps)
    wall_s, ideal_s, warm_s = (np.zeros(size.num_pairs) for _ in range(3))
    driver_s = np.zeros(size.num_pairs)
    for pair in range(-1, size.num_pairs):
        # the tokens alone
        sampling = replace(study.experiment.sampling, sources=("raw", "token"))
        experiment = replace(study.experiment, sampling=sampling, techniques={"textual_inversion": inversion})
        fresh = replace(study, experiment=experiment, run=RunDirectory(f"{folder}/fan-out-{pair}"))
        begun, begun_cpu = time.perf_counter(), time.process_time()
        learned = personalize(fresh, some_classes(study), lambda technique: nullcontext(Progress()))
        wall_s[pair], driver_s[pair] = time.perf_counter() - begun, time.process_time() - begun_cpu
        ideal_s[pair], warm_s[pair] = (ideal_makespan_s(learned, start) for start in (0.0, start_s))
    ratios = {"fan_out_efficiency": ratio_of(ideal_s, wall_s), "fan_out_efficiency_warm": ratio_of(warm_s, wall_s)}
    return ratios, {
        "num_classes": NUM_CLASSES,
        "num_workers": NUM_WORKERS,
        "num_steps": size.num_steps,
        "wall_s": float(np.median(wall_s)),
        "ideal_s": float(np.median(ideal_s)),
        "actor_start_s": start_s,
        "driver_cpu_s_per_class": float(np.median(driver_s)) / NUM_CLASSES,
    }


def ideal_makespan_s(learned: Iterable[Learned], start_s: float) -> float:
    """The shortest time in which workers could do what was done, when each class begins with a start.

    Raises:
        RuntimeError: a class failed; says why.
    """
    if failed := [one.error for one in learned if one.error]:
        raise RuntimeError(f"a class was not learnt: {failed[0]}")
    return schedule([one.seconds for one in learned], NUM_WORKERS, start_s).makespan_s


def actor_start_s(study: Study) -> float:
    """From asking for as many actors as there are workers until their networks are loaded; imports included."""
    import ray

    cluster, spec = study.experiment.cluster, spec_of(study, TECHNIQUES["textual_inversion"])
    begun = time.perf_counter()
    actors: list[Any] = [
        ray.remote(spec.worker)
        .options(num_cpus=cluster.num_cpus_per_worker, num_gpus=cluster.num_gpus_per_worker)
        .remote(*spec.arguments, 1, device_of(cluster))
        for _ in range(NUM_WORKERS)
    ]
    ray.get([actor.__ray_ready__.remote() for actor in actors])
    seconds = time.perf_counter() - begun
    for actor in actors:
        ray.kill(actor)
    return seconds


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


def sampling(study: Study, size: Size, folder: str) -> Measured:
    """Images a second through Ray Data once warm, against as many processes in a bare loop.

    Warm: a stage over many shards less one over few, so that the start of the actors falls out.
    """
    config = study.experiment.sampling
    extra = size.num_shards * config.batch_size
    few, many = (_FEW_SHARDS * config.batch_size + more for more in (0, extra))
    ours, bare = np.zeros(size.num_pairs), np.zeros(size.num_pairs)
    loop = f"{folder}/bare"
    loaded = (study.experiment.base, config, RunDirectory(loop))
    with multiprocessing.get_context("spawn").Pool(NUM_WORKERS, _load_sampler, loaded) as pool:
        _draw_bare(pool, _with_images(study, few, loop))
        for pair in range(size.num_pairs):
            bare[pair] = _draw_bare(pool, _with_images(study, extra, loop))
            short = _draw(_with_images(study, few, f"{folder}/ray-few-{pair}"))
            ours[pair] = _draw(_with_images(study, many, f"{folder}/ray-many-{pair}")) - short
    if (ours <= 0).any():
        # the few took longer than the many: other work on the machine was larger than what is measured
        return {}, {"num_images": extra, "too_noisy": True}
    rates = {f"{name}_images_per_s": extra / float(np.median(spent)) for name, spent in (("bare", bare), ("ray", ours))}
    return {"sampling_rate_to_bare_loop": ratio_of(bare, ours)}, rates | {"num_images": extra}


def _with_images(study: Study, num: int, folder: str) -> Study:
    # without a learnt token only the images from the name are drawn
    config = replace(study.experiment.sampling, sources=("raw", "token"), num_per_class=num)
    return replace(study, experiment=replace(study.experiment, sampling=config), run=RunDirectory(folder))


def _draw(study: Study) -> float:
    chosen = some_classes(study).selected[0]
    begun = time.perf_counter()
    sample(study, Selection(selected=[chosen], by_evidence=[]), [], Progress())
    return time.perf_counter() - begun


_sampler: Sampler | None = None


def _load_sampler(base: BaseConfig, config: SamplingConfig, run: RunDirectory) -> None:
    global _sampler
    _sampler = Sampler(base, config, run, num_threads=1, device="cpu")


def _write_shard(task: ShardTask) -> None:
    assert _sampler is not None
    _sampler.write(task)


def _draw_bare(pool: Any, study: Study) -> float:
    (tasks,) = plan_sets(study, some_classes(study).selected[0].class_name, [])
    begun = time.perf_counter()
    pool.map(_write_shard, tasks, chunksize=1)
    spent = time.perf_counter() - begun
    for task in tasks:
        study.run.delete(task.file)  # else the next loop would find it
    return spent


def scoring(study: Study, size: Size) -> Measured:
    """Features a second through Ray Data once warm, against a bare loop; as in `benchmarks/scoring.py`."""
    records = [record for split in ("validation", "test") for record in study.dataset.of(split)]
    ratio, details = ray_pipeline([record.address for record in records], size.num_pairs)
    return {"scoring_rate_to_bare_loop": ratio}, details


if __name__ == "__main__":
    main()
