"""What lay in a run directory when its report was written: names, and what the content of each was.

It is there for `flowerti verify`, which by it tells what was deleted since, put in its place by another run, or changed
where a format has no place for a checksum. No stage reads it. This module does not know how anything is computed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from flowerti.artifacts import checksums, layout
from flowerti.artifacts.identity import key_of
from flowerti.artifacts.run_directory import RunDirectory

_HEADER_BYTES = 1 << 16
"""Of a safetensors file, which has its metadata first: its tensors are not read."""
_UNLISTED = (f"{layout.LOCK}/", f"{layout.SWEEP_NOTES}/", f"{layout.CLASSIFIER_NOTES}/")
_UNLISTED += (f"{layout.NOTES}/", layout.RESULT, layout.MANIFEST, layout.CONFIG, layout.IMAGE_HASHES)
_OF_CLOCKS = (f"{layout.TIMINGS}/", layout.SWEEP_COSTS)
"""Their content is another whenever a stage does its work again."""
_WITHOUT_CHECKSUM = (layout.SUMMARY, layout.PAGE, f"{layout.FIGURES}/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The files of a run directory when its report was written."""

    contents: dict[str, str]
    """By name the checksum that the file states, or of a file without a place for one the SHA-256 of its bytes; empty
    where only its presence is known."""
    run_name: str
    run_seed: int


def is_listed(name: str) -> bool:
    """Whether a file belongs to what a run leaves behind, and is not about the run being at work."""
    return not name.startswith(_UNLISTED)


def has_own_checksum(name: str) -> bool:
    """Whether a file states its own checksum; all others are told by the manifest, by a record or by a log."""
    if name.startswith(_WITHOUT_CHECKSUM) or name.startswith((layout.SWEEP_INTENTS, layout.TEST_OPENINGS)):
        return False
    if name.startswith(f"{layout.CONCEPTS}/"):
        return name.endswith(".json") or "/checkpoints/" in name
    return True


def content_of(run: RunDirectory, name: str) -> str:
    """What the manifest says of a file: see `Manifest.contents`."""
    if name.startswith(_OF_CLOCKS):
        return ""
    if name.startswith(_WITHOUT_CHECKSUM):
        return hashlib.sha256(run.read_bytes(name)).hexdigest()
    if not has_own_checksum(name):
        return ""
    return checksums.stated(run.read_bytes(name, _HEADER_BYTES if name.endswith(".safetensors") else None))


def write_manifest(run: RunDirectory, written: Mapping[str, bytes]) -> None:
    """List all files when the report is written.

    Args:
        run: the run directory; in an object store no file is read, and of most only the names are kept.
        written: the report's own files, by name.
    """
    contents = {name: content_of(run, name) if run.is_local else "" for name in run.names("") if is_listed(name)}
    contents |= {name: hashlib.sha256(content).hexdigest() for name, content in written.items()}
    run_name, run_seed = _identity(run)
    run.save(layout.MANIFEST, Manifest(contents=contents, run_name=run_name, run_seed=run_seed), _key(run))


def renew_manifest(run: RunDirectory, manifest: Manifest, written: Mapping[str, bytes]) -> None:
    """Note that some of the report's files were written again."""
    again = {name: hashlib.sha256(content).hexdigest() for name, content in written.items()}
    run.save(layout.MANIFEST, replace(manifest, contents=manifest.contents | again), _key(run))


def read_manifest(run: RunDirectory) -> Manifest | None:
    """The manifest of the present settings; None where no report was written with them."""
    return run.load(layout.MANIFEST, Manifest, _key(run))


def is_of_another_run(run: RunDirectory) -> bool:
    """Whether the manifest and the settings that lie in the directory are of two runs."""
    found = run.load(layout.MANIFEST, Manifest)
    return found is not None and (found.run_name, found.run_seed) != _identity(run)


def _identity(run: RunDirectory) -> tuple[str, int]:
    """Name and seed of a run, which stay while its other settings may change; empty and 0 without settings."""
    try:
        settings = json.loads(run.read_bytes(layout.CONFIG))
        return str(settings["name"]), int(settings["seed"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return "", 0


def _key(run: RunDirectory) -> str:
    """Of the settings: with others, files are replaced before there is a new report."""
    try:
        return key_of(run.read_bytes(layout.CONFIG).decode(errors="replace"))
    except FileNotFoundError:
        return key_of("")
