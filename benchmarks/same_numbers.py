"""Whether two runs of the same experiment hold the same numbers: what was learnt, images, scores and predictions.

`python benchmarks/same_numbers.py BEFORE AFTER` compares two run directories on disk bit for bit and prints one JSON
object; the exit code is 1 where anything differs. Runs may be of different versions: files are found by what they are
called, and the order of records does not count.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.paired import print_result

_RENAMED = (("pictures", "images"), ("picture", "image"))
"""Words in names of fields, before and after."""
_NOT_NUMBERS = (
    "key", "seconds", "sha256", "checksum", "reason", "arms", "notes", "recommendation", "primary_contrast", "warnings",
    "failures",
)  # fmt: skip
"""Fields that say when, from what, or in which words; the numbers behind them are compared elsewhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Compares two runs."""

    before: Annotated[Path, tyro.conf.Positional]
    """A run directory."""
    after: Annotated[Path, tyro.conf.Positional]
    """Another one."""
    quick: bool = False
    """The same: comparing takes seconds."""


Parts = dict[str, str]
"""What is compared -> hash of it."""


def main() -> int:
    """Compare and print."""
    options = tyro.cli(Options)
    details = {name: compared(read(options.before), read(options.after)) for name, read in READERS.items()}
    print_result("same_numbers", {}, details)
    return int(any(part["different"] or part["on_one_side_only"] for part in details.values()))


def compared(before: Parts, after: Parts) -> dict[str, Any]:
    """How many parts are the same, and which are not."""
    both = before.keys() & after.keys()
    return {
        "compared": len(both),
        "different": sorted(name for name in both if before[name] != after[name]),
        "on_one_side_only": sorted(before.keys() ^ after.keys()),
    }


def _learned(run: Path) -> Parts:
    files = sorted([*run.glob("concepts/*/*.safetensors"), *run.glob("concepts/*/learning-*/*.safetensors")])
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _images(run: Path) -> Parts:
    found = {}
    for file in sorted(run.glob("synthetic/*.parquet")):
        digest = hashlib.sha256()
        for image in pq.read_table(file, columns=["image"]).column("image").to_pylist():
            digest.update(hashlib.sha256(image["bytes"]).digest())
        found[file.name] = digest.hexdigest()
    return found


def _predictions(run: Path) -> Parts:
    files = sorted(run.glob("sweep/trials/*.json"))
    return {file.name: _hash(json.loads(file.read_text())["predictions"]) for file in files}


def _records(pattern: str) -> Callable[[Path], Parts]:
    def read(run: Path) -> Parts:
        return {
            f"{file.relative_to(run)}: {place}": _hash(value)
            for file in sorted(run.glob(pattern))
            for place, value in _lists(json.loads(file.read_text()))
        }

    return read


def _lists(record: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each field of a record that holds numbers; lists of records without their order."""
    for name, value in record.items():
        if name in _NOT_NUMBERS:
            continue
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = sorted(json.dumps(_numbers(row), sort_keys=True) for row in value)
        yield _renamed(name), value


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {_renamed(name): _numbers(item) for name, item in value.items() if name not in _NOT_NUMBERS}
    return [_numbers(item) for item in value] if isinstance(value, list) else value


def _renamed(name: str) -> str:
    for old, new in _RENAMED:
        name = name.replace(old, new)
    return name


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


READERS: dict[str, Callable[[Path], Parts]] = {
    "learned": _learned,
    "images": _images,
    "classifier": _records("classifier/report.json"),
    "scores": _records("scores/*.json"),
    "predictions": _predictions,
    "sweep": _records("sweep/table.json"),
}


if __name__ == "__main__":
    sys.exit(main())
