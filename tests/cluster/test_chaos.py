"""Workers, nodes and drivers are killed at seeded random moments in every stage; the outcome is that of a quiet run.

`pytest -m slow tests/cluster/test_chaos.py` makes up to 20 kills in five runs, and two in one that ends at the tokens.
"""

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from nodes import Driver, add_node, free_gpus, learnt, on_nodes, several_nodes, workers_of
from tiny_run import tiny_experiment, without_times

from flowerti.config.experiment import Experiment

pytestmark = pytest.mark.ray
TOKENS = "personalize.textual_inversion"
STAGES = ("classify", TOKENS, "personalize.lora", "sample", "score", "sweep")
VICTIMS = ("worker", "node", "driver", "worker")
_FINISHED = (
    "classifier/report.json",
    "concepts/*/*.json",
    "synthetic/*.parquet",
    "sweep/trials/*.json",
)
_MAX_DELAY_S = 3.0


class Chaos:
    """A run on a cluster, and someone who breaks both."""

    def __init__(self, cluster: Any, experiment: Experiment, folder: Path, until: str, seed: str) -> None:
        self._cluster, self._experiment, self._folder, self._until = cluster, experiment, folder, until
        self._random = random.Random(seed)
        self._finished: dict[Path, int] = {}
        self.num_kills = 0
        self._driver = self._start()

    def _start(self) -> Driver:
        return Driver(self._experiment, self._folder, until=self._until)

    def kill(self, victim: str, stage: str) -> None:
        """Kill a worker, a node or the driver, some time after the stage began."""
        if not self._driver.wait_for(stage):
            return  # what was left of the stage was nothing
        time.sleep(self._random.uniform(0.1, _MAX_DELAY_S))
        self._remember()
        self.num_kills += {"worker": self._kill_worker, "node": self._kill_node, "driver": self._kill_driver}[victim]()

    def _kill_worker(self) -> bool:
        deadline = time.monotonic() + 30
        while self._driver.is_running and time.monotonic() < deadline:
            if workers := workers_of(self._cluster):
                self._random.choice(workers).kill()
                return True
            time.sleep(0.05)
        return False

    def _kill_node(self) -> bool:
        node = self._random.choice(self._cluster.list_all_nodes()[1:])
        self._cluster.remove_node(node, allow_graceful=False)
        add_node(self._cluster)
        return True

    def _kill_driver(self) -> bool:
        was_running = self._driver.is_running
        self._driver.kill()
        deadline = time.monotonic() + 30
        while workers_of(self._cluster) and time.monotonic() < deadline:
            time.sleep(0.2)
        left = [worker.name() for worker in workers_of(self._cluster)]
        assert left == [], "workers outlive their driver"
        self._remember()
        self._driver = self._start()
        return was_running

    def _remember(self) -> None:
        found = [path for pattern in _FINISHED for path in self._folder.glob(pattern)]
        self._finished |= {path: path.stat().st_mtime_ns for path in found if path not in self._finished}

    def finish(self) -> None:
        """Let the run end, and look for what was done twice or left behind."""
        self._driver.finish()
        repeated = [path.name for path, changed in self._finished.items() if path.stat().st_mtime_ns != changed]
        assert repeated == []
        assert workers_of(self._cluster) == []
        free, total = free_gpus(self._cluster)
        assert free == total > 0


@pytest.mark.slow
def test_two_kills_change_no_token(quiet, tiny_base, tmp_path):
    folder = tmp_path / "run"
    with several_nodes(num_workers=2) as cluster:
        experiment = on_nodes(tiny_experiment(tiny_base), cluster.address)
        chaos = Chaos(cluster, experiment, folder, "personalize", "short")
        chaos.kill("worker", "classify")
        chaos.kill("driver", "select")
        chaos.finish()
    assert chaos.num_kills == 2
    assert learnt(folder) == learnt(quiet)
    assert len(learnt(quiet)) == 3


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("stage", STAGES)
def test_four_kills_in_a_stage_change_no_number(stage, quiet, tiny_base, tmp_path):
    if not (quiet / "summary.json").exists():
        Driver(tiny_experiment(tiny_base), quiet).finish(timeout_s=1200)
    folder = tmp_path / "run"
    with several_nodes(num_workers=2) as cluster:
        experiment = on_nodes(tiny_experiment(tiny_base), cluster.address)
        chaos = Chaos(cluster, experiment, folder, "report", stage)
        for victim in VICTIMS:
            # what the technique says comes at its end, what the selection says at its beginning
            chaos.kill(victim, "select" if stage == TOKENS and victim != "worker" else stage)
        chaos.finish()
    found, expected = (without_times(json.loads((f / "summary.json").read_text())) for f in (folder, quiet))
    assert found == expected
    print(json.dumps({"stage": stage, "num_kills": chaos.num_kills}))
    assert chaos.num_kills >= 3
