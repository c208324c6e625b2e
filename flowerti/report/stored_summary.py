"""The summary of a finished run, read back as the run wrote it.

This module does not know what a summary says, nor how the page shows it.
"""

from collections.abc import Sequence
from typing import Any

from flowerti.artifacts import layout
from flowerti.artifacts.manifest import Manifest, content_of, read_manifest
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.report.summary_schema import completed, validate_summary


def stored_summary(run: RunDirectory) -> dict[str, Any]:
    """The content of `summary.json`, with what its format has got since it was written.

    Returns:
        What `summary.schema.json` describes. A file that was taken out of its run directory without the list of files
        (`files.json`) is believed as it is.

    Raises:
        ValueError: the run is not finished, the file is of another version, or it is not what the run wrote; names it.
    """
    refuse_unfinished(run, (layout.SUMMARY,))
    summary = completed(run.read_json(layout.SUMMARY))
    validate_summary(summary)
    manifest = read_manifest(run)
    if manifest is not None:
        refuse_changed(run, manifest, (layout.SUMMARY,))
    return summary


def refuse_unfinished(run: RunDirectory, names: Sequence[str]) -> None:
    """Reject a run that has not written some of its report's files.

    Raises:
        ValueError: one is missing; names the first.
    """
    for name in names:
        if not run.exists(name):
            raise ValueError(
                f"{run.uri}/{name} is missing: the run is not finished, start it again with `flowerti run`"
            )


def refuse_changed(run: RunDirectory, manifest: Manifest, names: Sequence[str]) -> None:
    """Reject files that are not those of the report.

    Raises:
        ValueError: one of them is another; names the first.
    """
    for name in names:
        if content_of(run, name) != manifest.contents.get(name):
            raise ValueError(
                f"{run.uri}/{name} is not what the run wrote: start the run again with `flowerti run`, it writes the "
                "report anew"
            )
