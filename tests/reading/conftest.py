"""A run with tokens and drawn images that nobody learnt or drew; lets tests import the helpers of other folders."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("export", "report")]


# flowerti is imported in the fixtures: at the top it would be imported before its type checks are installed
@pytest.fixture
def run_dir(tmp_path: Path, tiny_base: Path, base: Any) -> Path:
    """The run directory of a data set of files in tmp_path/data: weak classes, tokens and images, no results."""
    from small_export import make_run

    make_run(tmp_path, tiny_base, base)
    return tmp_path / "run"


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The run directory of a finished run, with results and without images."""
    import json

    from finished_run import FOURTEEN, census, classifier, experiment, run, selection

    from flowerti.artifacts import layout
    from flowerti.artifacts.manifest import write_manifest
    from flowerti.artifacts.run_directory import RunDirectory
    from flowerti.artifacts.saved_config import write_config
    from flowerti.report import Findings, build_summary

    directory, parts = RunDirectory(str(tmp_path / "finished")), run()
    write_config(directory, experiment())
    directory.save(layout.CENSUS, census(FOURTEEN), "k")
    directory.save(layout.CLASSIFIER_REPORT, classifier(FOURTEEN), "k")
    directory.save(layout.SELECTION, selection(FOURTEEN[:3]), "k")
    directory.save(layout.SWEEP_TABLE, parts["sweep"], "k")
    directory.save(layout.scores("validation"), parts["scores"], "k")
    content = json.dumps(build_summary(Findings(**parts))).encode()
    directory.write_bytes(layout.SUMMARY, content)
    write_manifest(directory, {layout.SUMMARY: content})
    return tmp_path / "finished"
