"""What a run waits for is told once it lasts, and only then; a real Ray's record of demands says what it is."""

import queue
from collections.abc import Iterator
from typing import Any

import pytest

from flowerti.cluster.session import close, connect
from flowerti.cluster.waiting import ClusterLoad, Waits, kinds_of, waits_told
from flowerti.config.experiment import ClusterConfig
from flowerti.progress import Event, Info, Progress

GPU_WORKER = (("CPU", 1.0), ("GPU", 1.0))


def load(count: int, demand: tuple[tuple[str, float], ...] = GPU_WORKER, **changes: Any) -> ClusterLoad:
    has: dict[str, Any] = {"total": {"CPU": 4.0, "GPU": 2.0}, "free": {"CPU": 3.0, "GPU": 0.0}, "num_nodes_starting": 0}
    return ClusterLoad(**(has | changes), demands={demand: count} if count else {})


@pytest.fixture
def waits() -> Waits:
    return Waits(kinds=kinds_of(ClusterConfig(num_cpus_per_worker=1.0, num_gpus_per_worker=1.0)))


def test_a_wait_is_told_with_what_there_is(waits: Waits):
    assert waits.look(load(3), 0.0) == waits.look(load(3), 5.0) == []
    assert waits.look(load(3), 10.0) == [
        "waiting for 1 CPU and 1 GPU per worker: 3 asked for, 3 CPU and 0 GPU free; the cluster has 4 CPU and 2 GPU"
    ]
    assert waits.look(load(3), 12.0) == []
    (again,) = waits.look(load(3, num_nodes_starting=2), 71.0)
    assert again.endswith("the cluster has 4 CPU and 2 GPU; nodes starting: 2")
    assert waits.look(load(3), 133.0) == [], "the pause doubles"
    assert len(waits.look(load(3), 192.0)) == 1


def test_work_that_gets_its_place_one_by_one_is_no_wait(waits: Waits):
    assert [waits.look(load(count), 5.0 * i) for i, count in enumerate([9, 8, 7, 6, 5, 4, 3, 2, 1, 0])] == [[]] * 10
    assert waits.look(load(1), 60.0) == [], "a new wait begins with patience again"
    assert len(waits.look(load(1), 67.0)) == 1


def test_what_others_wait_for_is_not_told(waits: Waits):
    for demand in ((("GPU", 4.0),), (("CPU", 1.0), ("GPU", 0.5)), ()):
        assert waits.look(load(1, demand), 0.0) == waits.look(load(1, demand), 60.0) == []
    # tasks of the same run that need no GPU
    waits.look(load(1, (("CPU", 1.0),)), 0.0)
    (told,) = waits.look(load(1, (("CPU", 1.0),)), 60.0)
    assert told.startswith("waiting for 1 CPU per worker: 1 asked for, 3 CPU free")


def test_a_fraction_of_a_gpu_is_recognised_as_ray_rounds_it():
    waits = Waits(kinds=kinds_of(ClusterConfig(num_cpus_per_worker=0.5, num_gpus_per_worker=1 / 3)))
    rounded = (("CPU", 0.5), ("GPU", 0.3333))
    waits.look(load(2, rounded), 0.0)
    assert len(waits.look(load(2, rounded), 60.0)) == 1


@pytest.fixture
def one_worker() -> Iterator[ClusterConfig]:
    config = ClusterConfig(num_workers=1, num_cpus_per_worker=2.0)
    connect(config)
    yield config
    close()


@pytest.mark.ray
def test_an_actor_behind_another_is_told_until_it_has_its_place(one_worker: ClusterConfig):
    import ray

    class Holder:
        def answer(self) -> int:
            return 7

    def actor() -> Any:
        return ray.remote(Holder).options(num_cpus=one_worker.num_cpus_per_worker).remote()

    said: queue.Queue[Event] = queue.Queue()
    with waits_told(one_worker, Progress("sample", [said.put]).info):
        holder = actor()
        assert ray.get(holder.answer.remote()) == 7
        behind = actor()
        answer = behind.answer.remote()
        text = "waiting for 2 CPU per worker: 1 asked for, 1 CPU free; the cluster has 3 CPU"
        assert said.get(timeout=120) == Info(stage="sample", text=text)
        ray.kill(holder)
        assert ray.get(answer, timeout=120) == 7
    assert said.empty()
