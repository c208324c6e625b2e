"""What the cluster's benchmark compares is the same work; no Ray is started."""

from typing import Any

import numpy as np
import pytest

from benchmarks import cluster_fan_out, cluster_sampling, cluster_weights
from flowerti.artifacts.records import Census, ClassCount, Learned
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, DataConfig, Experiment, SamplingConfig
from flowerti.data.dataset import Dataset
from flowerti.study import Study


def learned(*seconds: float) -> list[Learned]:
    return [Learned(class_name=str(i), technique="t", num_steps=1, seconds=s) for i, s in enumerate(seconds)]


def test_the_ideal_is_the_best_share_of_three_classes_between_two_workers():
    assert cluster_fan_out.ideal_makespan_s(learned(10.0, 6.0, 5.0), 0.0) == 11.0
    # the longest alone; the other two on the second worker, which starts once
    assert cluster_fan_out.ideal_makespan_s(learned(10.0, 6.0, 5.0), 2.0) == 13.0
    with pytest.raises(RuntimeError, match="loss is nan"):
        cluster_fan_out.ideal_makespan_s([Learned(class_name="a", technique="t", error="loss is nan")], 0.0)


def test_every_place_gives_the_same_weights(tmp_path):
    arrays = cluster_weights.write_weights(str(tmp_path), 32)
    receiver = cluster_weights.Receiver(str(tmp_path))
    expected = sum(float(array.sum(dtype=np.float64)) for array in arrays.values())
    assert sum(array.nbytes for array in arrays.values()) == 32 * 2**20
    found = [receiver.mapped_file(), receiver.object_store(arrays), receiver.fresh_load()]
    assert found == pytest.approx([expected] * 3, rel=1e-12)


def test_the_bare_loop_draws_what_the_stage_would(tiny_base, tmp_path):
    """In this process; every loop finds nothing that an earlier one left."""

    class Pool:
        def __init__(self) -> None:
            self.written: list[str] = []

        def map(self, function: Any, tasks: list[Any], chunksize: int) -> None:
            for task in tasks:
                function(task)
                self.written.append(run.read_bytes(task.file).hex()[:8])

    run, config = RunDirectory(str(tmp_path)), SamplingConfig(num_per_class=4, batch_size=2, num_inference_steps=1)
    base, data = BaseConfig(path=str(tiny_base)), DataConfig(kind="herbarium")
    rose = ClassCount(class_name="rose", num_train=1, num_validation=0, num_test=0)
    study = Study(
        experiment=Experiment(name="x", data=data, base=base, sampling=config),
        run=run,
        dataset=Dataset(class_names=("rose",), records=()),
        census=Census(fingerprint="", counts=[rose], train_sha256={}, unreadable=[], duplicates=[]),
        base_sha256="b" * 64,
        alternative_names={},
        latin_names={},
    )
    cluster_sampling._load_sampler(base, config, run)
    pool = Pool()
    assert cluster_sampling._draw_bare(pool, study) > 0 and cluster_sampling._draw_bare(pool, study) > 0
    assert len(pool.written) == 4 and run.names("synthetic") == []
