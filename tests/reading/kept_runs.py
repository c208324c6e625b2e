"""Two run directories of one data set, from the kept demo: its own settings and summary, and a changed copy."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import read_config, write_config

DEMO = Path(__file__).parents[2] / "results/demo"
SUMMARY: dict[str, Any] = json.loads((DEMO / "summary.json").read_text(encoding="utf-8"))
ADDED = "balanced_softmax_augmented+token_replace"


def write_run(folder: Path, summary: dict[str, Any], **changed: object) -> Path:
    """A run with this summary and the demo's settings, some of them changed."""
    run = RunDirectory(str(folder))
    write_config(run, dataclasses.replace(read_config(RunDirectory(str(DEMO))), **changed))
    run.write_json("summary.json", summary)
    return folder


def changed_summary() -> dict[str, Any]:
    """The demo's, with one arm left out, one number and one stage changed."""
    other = copy.deepcopy(SUMMARY)
    other["sweep"] = [row for row in other["sweep"] if row["arm"] != ADDED]
    real = next(row for row in other["sweep"] if (row["split"], row["arm"]) == ("test", "real"))
    real |= {"weak_f1": 0.5, "weak_f1_low": 0.4, "weak_f1_high": 0.625}
    other["timings"] = [*other["timings"][1:], {"stage": "personalize.lora", "seconds": 100.0, "gpu_seconds": 50.0}]
    other["recommendation"] = "Nothing helped."
    return other
