"""Features computed in this process in place of Ray's workers."""

import json
from typing import Any

import numpy as np
import pytest

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster import features
from flowerti.cluster.extractors import BackboneChoice
from flowerti.cluster.feature_worker import FeatureWorker
from flowerti.config.experiment import BaseConfig, ClusterConfig
from flowerti.progress import Progress


def compute_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have missing features computed in this process; returns the sets that are, as they come."""
    computed: list[str] = []

    def run(
        missing: dict[BackboneChoice, list[dict[str, Any]]],
        directory: RunDirectory,
        cluster: ClusterConfig,
        base: BaseConfig | None,
        progress: Progress,
    ) -> None:
        worker = FeatureWorker(tuple(missing), directory, 1, "cpu", base)
        wants = [chunk | {"backbone": place} for place, chunks in enumerate(missing.values()) for chunk in chunks]
        computed.extend(dict.fromkeys(want["set"] for want in wants))
        chunks = features._read_once(wants)
        answers = worker({"chunk": np.array([json.dumps(chunk) for chunk in chunks])})
        features._counted([{"file": str(file)} for file in answers["file"]], chunks, progress)

    monkeypatch.setattr(features, "_run", run)
    monkeypatch.setattr(features, "connect", lambda cluster: None)
    return computed
