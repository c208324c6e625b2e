"""What lay in a run directory when its report was written: names, and what the content of each was.

It is there for `flowerti verify`, which by it tells what was deleted since, put in its place by another run, or changed
where a format has no place for a checksum. No stage reads it. This module does not know how anything is computed.
"""

import hashlib
from dataclasses import dataclass

from flowerti.artifacts import checksums, layout
from flowerti.artifacts.identity import key_of
from flowerti.artifacts.run_directory import RunDirectory

_HEADER_BYTES = 1 << 16
"""Of a safetensors file, which has its metadata first: its tensors are not read."""
_UNLISTED = (f"{layout.LOCK}/", f"{layout.SWEEP_NOTES}/", f"{layout.CLASSIFIER_NOTES}/")
_UNLISTED += (layout.RESULT, layout.MANIFEST, layout.CONFIG, layout.IMAGE_HASHES)
_OF_CLOCKS = ("timings/", layout.SWEEP_COSTS)
"""Their content is another whenever a stage does its work again."""
_WITHOUT_CHECKSUM = (layout.SUMMARY, layout.PAGE, f"{layout.FIGURES}/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The files of a run directory when its report was written."""

    contents: dict[str, str]
    """By name the checksum that the file states, or of a file without a place for one the SHA-256 of its bytes; empty
    where only its presence is known."""


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


def write_manifest(run: RunDirectory) -> None:
    """List all files; in an object store only what the report consists of is read, of the others the names are kept."""
    names = [name for name in run.names("") if is_listed(name)]
    contents = {name: content_of(run, name) if run.is_local or _is_report(name) else "" for name in names}
    run.save(layout.MANIFEST, Manifest(contents=contents), _key(run))


def read_manifest(run: RunDirectory) -> Manifest | None:
    """The manifest of the present settings; None where no report was written with them."""
    return run.load(layout.MANIFEST, Manifest, _key(run))


def _is_report(name: str) -> bool:
    return name.startswith(_WITHOUT_CHECKSUM)


def _key(run: RunDirectory) -> str:
    """Of the settings: with others, files are replaced before there is a new report."""
    return key_of(run.read_bytes(layout.CONFIG).decode(errors="replace") if run.exists(layout.CONFIG) else "")
