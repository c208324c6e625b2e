"""No stage comes by an image or a label of the test split before the plan of the sweep is written."""

import ast
from pathlib import Path

import pytest

from flowerti import study
from flowerti.artifacts.locked_protocol import state_intent
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.sweep import SweepIntent
from flowerti.config.experiment import Experiment

PACKAGE = Path(study.__file__).parent
STAGES = [*sorted((PACKAGE / "cluster").glob("*.py")), *sorted((PACKAGE / "report").glob("*.py"))]
STAGES += [PACKAGE / "pipeline.py", PACKAGE / "plan.py", PACKAGE / "cli.py"]


def plan() -> SweepIntent:
    return SweepIntent(
        primary_contrast="", arms=[], ratios=[], replication={"num_seeds": 1}, run_seed=0, weak_classes=[], rule="",
        alpha=0.05, max_rest_drop=0.0, num_trials_validation=0, settings={},
    )  # fmt: skip


def test_readers_of_the_test_split_are_refused_until_the_plan_is_written(experiment: Experiment, run: RunDirectory):
    from flowerti.cluster.classify import class_ids
    from flowerti.cluster.image_sets import real_set

    found = study.prepare(experiment, run)
    readers = (
        lambda: found.records_of("test"),
        lambda: found.records_of("test", "azalea"),
        lambda: real_set(found, "test"),
        lambda: class_ids(found, "test"),
    )
    for read in readers:
        with pytest.raises(ValueError, match="the test split is opened only after it is written"):
            read()
    for split in ("train", "validation"):
        assert len(found.records_of(split)) == len(class_ids(found, split)) == 6
    state_intent(run, plan())
    assert found.records_of("test") == found.dataset.of("test")
    assert [len(read()) for read in readers[:2]] == [6, 2]
    assert len(real_set(found, "test").addresses) == len(class_ids(found, "test")) == 6


def reads_past_the_guard(code: str) -> list[int]:
    """Lines that ask a study's data set itself for its records."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Attribute) and node.attr in ("of", "records") and "dataset" in ast.unparse(node.value)
    ]


@pytest.mark.parametrize("file", STAGES, ids=lambda file: file.name)
def test_no_stage_asks_the_data_set_past_the_guard(file: Path):
    assert reads_past_the_guard(file.read_text(encoding="utf-8")) == []


def test_a_way_past_the_guard_would_be_seen():
    assert reads_past_the_guard("x = study.dataset.of('test')") == [1]
    assert reads_past_the_guard("for r in dataset.records: ...") == [1]
    assert reads_past_the_guard("study.records_of('test')") == []
