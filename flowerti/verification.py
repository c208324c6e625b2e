"""Whether all files of a run directory hold what was written: their checksums, the logs' hashes, and the manifest.

It reads every file once and changes nothing. This module needs neither torch nor Ray.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from flowerti.artifacts import layout
from flowerti.artifacts.damage import DamagedError, damage_told
from flowerti.artifacts.locked_protocol import read_protocol
from flowerti.artifacts.manifest import (
    Manifest,
    content_of,
    has_own_checksum,
    is_listed,
    is_of_another_run,
    read_manifest,
)
from flowerti.artifacts.records import Learned
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import read_config
from flowerti.error_lines import FAILED
from flowerti.stage_clock import read_timing

_NUM_READERS = 16
_PART_BYTES = 1 << 22


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A file that cannot be believed, or is missing."""

    file: str
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What was found in a run directory."""

    num_files: int
    findings: list[Finding]
    has_manifest: bool
    """Whether there is a report of the present settings, by which files that are missing are known."""


def verify(run: RunDirectory) -> Verified:
    """Check every file of a run directory.

    Raises:
        ValueError: no run was started there.
    """
    names = [name for name in run.names("") if is_listed(name)]
    if not names and not run.exists(layout.CONFIG):
        raise ValueError(f"{run.uri}/{layout.CONFIG} is missing: no run was started in this directory")
    with damage_told(lambda _: None):  # all of it is told at the end
        manifest = read_manifest(run)
        with ThreadPoolExecutor(_NUM_READERS) as readers:
            problems = list(readers.map(lambda name: _problem_of(run, name, manifest), names))
        found = {name: problem for name, problem in zip(names, problems, strict=True) if problem}
        for more in (_of_manifest(run, names, manifest), _of_records(run, names), _of_logs(run), _of_config(run)):
            found |= {name: problem for name, problem in more if name not in found}
    findings = [Finding(file=name, problem=problem) for name, problem in sorted(found.items())]
    return Verified(num_files=len(names), findings=findings, has_manifest=manifest is not None)


def _problem_of(run: RunDirectory, name: str, manifest: Manifest | None) -> str:
    """What is wrong with one file that is there, as far as itself and the manifest tell."""
    if has_own_checksum(name):
        try:
            run.read_checked(name)
        except DamagedError as error:
            return error.problem
    known = manifest.contents.get(name, "") if manifest else ""
    if known and content_of(run, name) != known:
        return "it is not the file that was there when the report was written"
    return ""


def _of_manifest(run: RunDirectory, names: list[str], manifest: Manifest | None) -> Iterator[tuple[str, str]]:
    if manifest is not None:
        missing = sorted(manifest.contents.keys() - set(names))
        yield from ((name, "it is missing") for name in missing)
    elif run.exists(layout.MANIFEST):
        try:
            run.read_checked(layout.MANIFEST)
        except DamagedError as error:
            yield layout.MANIFEST, error.problem
    elif run.exists(layout.SUMMARY):
        yield layout.MANIFEST, "it is missing, or an earlier version wrote the report"


def _of_records(run: RunDirectory, names: list[str]) -> Iterator[tuple[str, str]]:
    """What was learnt, against the hashes in its records."""
    for record in names:
        if not record.startswith(f"{layout.CONCEPTS}/") or not record.endswith(".json"):
            continue
        learned = run.load(record, Learned, None)
        for name, sha256 in (learned.files if learned else {}).items():
            file = f"{record.rpartition('/')[0]}/{name}"
            if file not in names:
                yield file, "it is missing"
            elif _sha256(run, file) != sha256:
                yield file, "its content is not what was learnt"


def _sha256(run: RunDirectory, name: str) -> str:
    """Hash of a file that may be larger than the memory."""
    digest = hashlib.sha256()
    with run.filesystem.open_input_stream(run.path(name)) as stream:
        while part := stream.read(_PART_BYTES):
            digest.update(part)
    return digest.hexdigest()


def _of_logs(run: RunDirectory) -> Iterator[tuple[str, str]]:
    try:
        read_protocol(run)
    except ValueError as error:
        yield f"{layout.SWEEP_INTENTS}, {layout.TEST_OPENINGS}", str(error)


def _of_config(run: RunDirectory) -> Iterator[tuple[str, str]]:
    """The settings, and what is of another run than they are."""
    try:
        experiment = read_config(run)
    except ValueError as error:
        yield layout.CONFIG, str(error)
        return
    if is_of_another_run(run):
        yield f"{layout.CONFIG}, {layout.MANIFEST}", "they are of two runs"
    for name in run.names(layout.TIMINGS):
        stage = name.rpartition("/")[2].removesuffix(".json")
        if read_timing(run, experiment, stage) is None:
            yield name, "it is of another run"


def tell_verified(run_dir: str, as_json: bool, tell: Callable[[str], None] = print) -> int:
    """Print what was found, a line each and one at the end, and return the exit code."""
    found = verify(RunDirectory(run_dir))
    code = FAILED if found.findings else 0
    if as_json:
        tell(json.dumps(asdict(found), indent=1))
        return code
    for one in found.findings:
        tell(f"{one.file}: {one.problem}")
    if found.findings:
        tell(f"{len(found.findings)} findings in {found.num_files} files: start the run again, it makes them anew")
    else:
        tell(f"{found.num_files} files are as they were written{'' if found.has_manifest else ' (no report yet)'}")
    return code
