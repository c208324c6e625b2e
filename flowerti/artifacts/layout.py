"""Paths in a run directory; no other module defines one.

This module only builds names: it opens no file and does not know how anything is computed.
"""

from flowerti.artifacts.identity import slug

CONFIG = "config.json"
CENSUS = "data.json"
SPLITS = "splits.json"
ALIKE = "alike.json"
"""Groups of images that a re-split kept together."""
SPARE = "spare.json"
"""Digests of training images that a long tail left out; where draws of training images are wanted."""
SEEN = "seen.json"
"""How many images the base was trained on."""
CLASSIFIER_REPORT = "classifier/report.json"
CLASSIFIER_NOTES = "classifier/train"
"""Ray Train's internal files on a shared store."""
SELECTION = "selection.json"
SWEEP_INTENTS = "sweep/intent"
"""The log of plans; append-only."""
SWEEP_TABLE = "sweep/table.json"
SWEEP_PREDICTIONS = "sweep/predictions.parquet"
"""All trials' predictions, from which the table can be computed again."""
SWEEP_COSTS = "sweep/costs.json"
SWEEP_NOTES = "sweep/tune"
"""Ray Tune's internal files on a shared store."""
SUMMARY = "summary.json"
PAGE = "report.html"
RESULT = "result.json"

CONCEPTS = "concepts"
FEATURES = "features"
FIGURES = "figures"
SYNTHETIC = "synthetic"
TEST_OPENINGS = "test_openings"
"""The log of openings of the test split; append-only."""
TRIALS = "sweep/trials"


def concept_folder(class_name: str) -> str:
    """What was learnt for a class."""
    return f"{CONCEPTS}/{slug(class_name)}"


def learned_record(class_name: str, technique: str) -> str:
    """The record of what a technique learnt for a class; written last."""
    return f"{concept_folder(class_name)}/{technique}.json"


def learned_file(class_name: str, name: str) -> str:
    """A file that a technique wrote for a class."""
    return f"{concept_folder(class_name)}/{name}"


def checkpoint(class_name: str, technique: str) -> str:
    """The last checkpoint of a class while a technique learns it."""
    return f"{concept_folder(class_name)}/checkpoints/{technique}.safetensors"


def shard(class_name: str, source: str, begin: int) -> str:
    """The synthetic images of a class and source from index `begin` on."""
    return f"{SYNTHETIC}/{slug(class_name)}.{source}.{begin:06d}.parquet"


def features(network: str, size_px: int) -> str:
    """The folder of one network's features at one size."""
    return f"{FEATURES}/{network}-{size_px}"


def scores(reference: str) -> str:
    """The scores beside the real images of a split."""
    return f"scores/{reference}.json"


def trial(name: str) -> str:
    """A finished trial of the sweep."""
    return f"{TRIALS}/{name}.json"


def log_entry(folder: str, sequence: int, sha256: str) -> str:
    """An entry of an append-only log."""
    return f"{folder}/{sequence:04d}.{sha256[:16]}.json"


def timing(stage: str) -> str:
    """What a stage cost when it last did its work."""
    return f"timings/{stage}.json"


def figure(name: str) -> str:
    """A figure of the report."""
    return f"{FIGURES}/{name}"
