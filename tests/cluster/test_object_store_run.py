"""The whole run on two nodes with its run directory on an S3 server: the same tokens as on a disk, and a status."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from nodes import Driver, learnt, on_nodes, several_nodes
from object_store import start_store
from tiny_run import tiny_experiment

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cli import main
from flowerti.config.experiment import Experiment
from flowerti.report import validate_summary

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(3600)]


def few_trials(tiny: Experiment) -> Experiment:
    """The sweep is not what a store makes slow."""
    sweep = replace(tiny.sweep, ratios=(1.0,), free_arms=("real",), negative_control=False)
    return replace(tiny, sweep=sweep)


def test_a_whole_run_lies_in_a_bucket(quiet, tiny_base, tmp_path: Path, monkeypatch, capsys):
    pytest.importorskip("moto", reason="the S3 server is in the dependency group dev")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store, server = start_store(tmp_path / "store.log")
    try:
        uri = store.uri("studies/tiny")
        with several_nodes(num_workers=2) as cluster:
            experiment = on_nodes(few_trials(tiny_experiment(tiny_base)), cluster.address)
            Driver(experiment, tmp_path / "run", run_dir=uri).finish(timeout_s=1800)
        assert not (tmp_path / "run").exists()
        assert main(["status", uri]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert {line.split()[0] for line in lines} == {"done"}
        assert [line.split()[1] for line in lines].count("textual_inversion") == 3
        run = RunDirectory(uri)
        validate_summary(json.loads(run.read_bytes("summary.json")))
        tokens = {name: run.read_bytes(f"concepts/{name}/learned_embeds.safetensors") for name in learnt(quiet)}
        assert tokens == learnt(quiet)
        assert not [name for name in run.names("") if "tmp" in name]
    finally:
        server.terminate()
        server.wait()
