"""Asking for workers: what no node or machine can hold is refused at once and in one sentence."""

from typing import Any

import pytest

from flowerti.cluster import resources
from flowerti.cluster.resources import check_fit, check_local_fit, memory_for, slots
from flowerti.config.experiment import ClusterConfig

CPU_NODE, GPU_NODE = {"CPU": 8.0, "memory": 1e9}, {"CPU": 8.0, "GPU": 2.0}


def config(**changes: Any) -> ClusterConfig:
    return ClusterConfig(**({"num_cpus_per_worker": 1.0, "num_gpus_per_worker": 0.0} | changes))


@pytest.mark.parametrize(
    ("needs", "node", "expected"),
    [
        ({"CPU": 1.0}, {"CPU": 3.0}, 3),
        ({"CPU": 0.1}, {"CPU": 0.3}, 3),
        ({"CPU": 1.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 2.0}, 2),
        ({"CPU": 1.0, "GPU": 1.0}, {"CPU": 8.0}, 0),
        ({"GPU": 0.5}, {"GPU": 2.0}, 4),
        ({"GPU": 0.6}, {"GPU": 2.0}, 2),
        ({"GPU": 0.4}, {"GPU": 1.0}, 2),
        ({"GPU": 2.0}, {"GPU": 3.0}, 1),
        ({"GPU": 1 / 3}, {"GPU": 1.0}, 3),
    ],
)
def test_slots_of_a_node(needs: dict[str, float], node: dict[str, float], expected: int):
    assert slots(needs, node) == expected


def test_workers_that_no_node_can_hold_are_refused():
    check_fit(config(num_gpus_per_worker=2.0), [CPU_NODE, GPU_NODE], growth=None)
    with pytest.raises(ValueError, match=r"cluster\.num_gpus_per_worker: .* 1 CPU and 4 GPU.* 1 x \(8 CPU, 2 GPU\)"):
        check_fit(config(num_gpus_per_worker=4.0), [CPU_NODE, GPU_NODE], growth=None)
    with pytest.raises(ValueError, match=r"cluster\.num_cpus_per_worker: a worker asks for 9 CPU"):
        check_fit(config(num_cpus_per_worker=9.0), [CPU_NODE, CPU_NODE], growth=None)


def test_a_cluster_that_grows_is_judged_by_what_it_may_become():
    check_fit(config(num_gpus_per_worker=1.0), [CPU_NODE], growth={"CPU": 64, "GPU": 8})
    for growth in ({"CPU": 64}, {"CPU": 64, "GPU": 0}):
        with pytest.raises(ValueError, match=r"cluster\.num_gpus_per_worker"):
            check_fit(config(num_gpus_per_worker=1.0), [CPU_NODE], growth=growth)


def test_a_local_ray_must_have_the_gpus():
    check_local_fit(config(num_workers=4, num_gpus_per_worker=0.5), num_gpus=2, num_cpus=2)
    check_local_fit(config(num_workers=9), num_gpus=0, num_cpus=2)
    with pytest.raises(ValueError, match=r"cluster\.num_gpus_per_worker: 1 asked for, this machine has 0"):
        check_local_fit(config(num_gpus_per_worker=1.0), num_gpus=0, num_cpus=2)
    with pytest.raises(ValueError, match=r"cluster\.num_workers: 2 workers with 0.6 GPU each do not fit .* 1, 1 do"):
        check_local_fit(config(num_workers=2, num_gpus_per_worker=0.6), num_gpus=1, num_cpus=2)


def test_workers_that_train_together_must_fit_at_once():
    three = config(num_workers=4, num_workers_per_classifier=3)
    check_local_fit(three, num_gpus=0, num_cpus=3)
    with pytest.raises(ValueError, match=r"num_workers_per_classifier: 3 workers with 1 CPU each do not fit .* 2: "):
        check_local_fit(three, num_gpus=0, num_cpus=2)
    one_cpu = {"CPU": 1.0}
    check_fit(three, [one_cpu] * 3, growth=None)
    check_fit(three, [one_cpu] * 2, growth={"CPU": 64, "GPU": 0})
    for growth in (None, {"CPU": 2, "GPU": 0}):
        with pytest.raises(ValueError, match=r"num_workers_per_classifier: 3 workers .* holds 2 at once"):
            check_fit(three, [one_cpu] * 2, growth=growth)
    check_fit(config(num_workers=4), [one_cpu], growth=None)


def test_a_large_task_asks_for_memory_and_never_for_more_than_a_node_has(monkeypatch: pytest.MonkeyPatch):
    nodes = [{"CPU": 8.0, "memory": 8.0 * 2**30}, {"CPU": 8.0, "memory": 4.0 * 2**30}]
    monkeypatch.setattr(resources, "cluster_nodes", lambda: nodes)
    assert memory_for(2**30 - 1) is None
    assert memory_for(3 * 2**30) == 3 * 2**30
    assert memory_for(99 * 2**30) == 8 * 2**30
    monkeypatch.setattr(resources, "cluster_nodes", list)
    assert memory_for(3 * 2**30) is None, "what no node tells of is not asked for"
