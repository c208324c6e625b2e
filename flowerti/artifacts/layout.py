"""Paths in a run directory; no other module defines one.

This module only builds names: it opens no file and does not know how anything is computed.
"""

from collections.abc import Sequence

from flowerti.artifacts.identity import ALL_CLASSES, of_learning, slug

CONFIG = "config.json"
CENSUS = "data.json"
SPLITS = "splits.json"
ALIKE = "alike.json"
"""Groups of images that a re-split kept together."""
SPARE = "spare.json"
"""Digests of training images that a long tail left out; where draws of training images are wanted."""
SEEN = "seen.json"
"""How many images the base was trained on."""
CHECKED_BASE = "base.json"
"""That the base's files hold what its configs ask for."""
CLASSIFIER_REPORT = "classifier/report.json"
CLASSIFIER_NOTES = "classifier/train"
"""Ray Train's internal files on a shared store."""
SELECTION = "selection.json"
CEILING = "ceiling.json"
CEILING_CURVE = "ceiling_curve.json"
CURATION = "curation.json"
"""What the filters kept of the drawn images; only where some are asked for."""
SWEEP_INTENTS = "sweep/intent"
"""The log of plans; append-only."""
SWEEP_TABLE = "sweep/table.json"
SWEEP_PREDICTIONS = "sweep/predictions.parquet"
"""All trials' predictions, from which the table can be computed again."""
SWEEP_COSTS = "sweep/costs.json"
SWEEP_NOTES = "sweep/tune"
"""Ray Tune's internal files on a shared store."""
IMAGE_HASHES = "image_hashes.json"
"""Hashes of the data set's images, kept while their files have the same size and times; it may be lost."""
MANIFEST = "files.json"
"""What the report rests on: every file that was there when it was written."""
IMAGE_SCORES = "scores/images.json"
"""Of every single synthetic image; the same beside either split."""
SUMMARY = "summary.json"
PAGE = "report.html"
PAGE_RECORD = "page.json"
"""What the page shows that the summary does not hold: small images, confusions, curves."""
RESULT = "result.json"
"""How the last run in this directory ended, or that it is running."""
LOCK = "lock"
"""Who runs in this directory: a file of each run that holds or asks for it."""
NOTES = "notes"
"""What reading the files of other folders told; may be deleted at any time."""

CONCEPTS = "concepts"
FEATURES = "features"
FIGURES = "figures"
SYNTHETIC = "synthetic"
TEST_OPENINGS = "test_openings"
"""The log of openings of the test split; append-only."""
TIMINGS = "timings"
TRIALS = "sweep/trials"


def concept_folder(class_name: str, learning: int = 0) -> str:
    """What was learnt for a class, or for all together; each learning but the first has a folder of its own in it."""
    name = ALL_CLASSES if class_name == ALL_CLASSES else slug(class_name)
    return of_learning(f"{CONCEPTS}/{name}", learning)


def learned_record(class_name: str, technique: str, learning: int = 0) -> str:
    """The record of what a technique learnt for a class; written last."""
    return f"{concept_folder(class_name, learning)}/{technique}.json"


def learned_file(class_name: str, name: str, learning: int = 0) -> str:
    """A file that a technique wrote for a class."""
    return f"{concept_folder(class_name, learning)}/{name}"


def checkpoint(class_name: str, technique: str, learning: int = 0) -> str:
    """The last checkpoint of a class while a technique learns it."""
    return f"{concept_folder(class_name, learning)}/checkpoints/{technique}.safetensors"


def shard(class_name: str, source: str, begin: int, learning: int = 0) -> str:
    """The synthetic images of a class and source from index `begin` on."""
    return f"{shards(class_name, source, learning)}.{begin:06d}.parquet"


def shards(class_name: str, source: str, learning: int = 0) -> str:
    """What the names of all shards of a class and source begin with; a full stop follows, then the index."""
    return of_learning(f"{SYNTHETIC}/{slug(class_name)}.{source}", learning, separator=".")


def num_rows(files: Sequence[str], num_images: int) -> list[int]:
    """How many images each shard of a set holds, as the names of the shards say.

    Args:
        files: all shards of one class, source and learning, in order.
        num_images: of the whole set.

    Raises:
        ValueError: the names are not those of consecutive shards of so many images; names the first.
    """
    if len(files) == 1:
        return [num_images]
    begins = [file.rsplit(".", 2)[1] for file in files]
    ends = [*begins[1:], str(num_images)]
    if not all(begin.isdecimal() and int(begin) < int(end) for begin, end in zip(begins, ends, strict=True)):
        raise ValueError(f"{files[0]} and {len(files) - 1} more are not the shards of a set of {num_images} images")
    return [int(end) - int(begin) for begin, end in zip(begins, ends, strict=True)]


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


def notes(folder: str) -> str:
    """What reading the files of a folder told; may be deleted at any time."""
    return f"{NOTES}/{folder}.json"


def timing(stage: str) -> str:
    """What a stage cost when it last did its work."""
    return f"{TIMINGS}/{stage}.json"


def claim(token: str) -> str:
    """The file of a run that holds the directory, or asks for it."""
    return f"{LOCK}/{token}.json"


def figure(name: str) -> str:
    """A figure of the report."""
    return f"{FIGURES}/{name}"
