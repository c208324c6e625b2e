"""Classes learnt on three nodes with a fake GPU each, one of which is lost on the way: the same tokens."""

import time
from pathlib import Path
from typing import Any

import pytest
from nodes import Driver, free_gpus, learnt, on_nodes, several_nodes
from tiny_run import tiny_experiment

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_node_lost_during_inversion_changes_nothing(quiet, tiny_base, tmp_path):
    folder = tmp_path / "run"
    with several_nodes(num_workers=3) as cluster:
        experiment = on_nodes(tiny_experiment(tiny_base), cluster.address, num_workers=3)
        driver = Driver(experiment, folder, until="personalize")
        assert driver.wait_for("select")
        wait_for_first_checkpoint(driver, folder)
        cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
        driver.finish()
        wait_until_missed(cluster)
        assert free_gpus(cluster) == (2.0, 2.0), "no GPU lease is left behind"
    assert learnt(folder) == learnt(quiet)
    assert len(learnt(quiet)) == 3


def wait_until_missed(cluster: Any, timeout_s: float = 60) -> None:
    """Ray counts a lost node's GPU until some heartbeats have failed to come, and the run may end before that."""
    deadline = time.monotonic() + timeout_s
    while free_gpus(cluster)[1] > 2.0 and time.monotonic() < deadline:
        time.sleep(1)


def wait_for_first_checkpoint(driver: Driver, folder: Path) -> None:
    while not list((folder / "concepts").glob("*/checkpoints/*")):
        assert driver.is_running, driver.log()
        time.sleep(0.05)
