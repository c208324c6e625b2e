"""Exports a run: checks what is asked, and writes each kind into a folder of its name.

The run directory is only read. This module does not know any kind.
"""

import importlib
from collections.abc import Callable
from pathlib import Path

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.export.contents import Contents, read_contents
from flowerti.export.destination import appearing_whole, check_destination
from flowerti.export.kinds import KINDS, Kind
from flowerti.export.request import ExportRequest


def export_run(run: RunDirectory, out_dir: str, request: ExportRequest) -> list[Path]:
    """Write what a run made for other programs.

    All kinds are written to a folder beside `out_dir` that takes its name at the end, so that a failure leaves nothing.

    Args:
        run: the run directory, which stays as it is.
        out_dir: a local folder, missing or empty, that lies neither in the run nor in its data set.
        request: what is wanted.

    Returns:
        The folder of each kind, in the order of the request.

    Raises:
        ValueError: the folder is unfit, the run does not hold what is asked for, or its images may not leave; says
            what to do.
    """
    outside = [run.path("config.json").rpartition("/")[0]] if run.is_local else []
    check_destination(out_dir, outside)
    contents = read_contents(run, request)
    root = contents.experiment.data.root
    folder = check_destination(out_dir, [*outside, *([root] if root else [])])
    with appearing_whole(folder) as temporary:
        for name in request.what:
            (temporary / name).mkdir()
            _code_of(KINDS[name])(contents, temporary / name)
    return [folder / name for name in request.what]


def _code_of(kind: Kind) -> Callable[[Contents, Path], None]:
    module, _, name = kind.implementation.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"kind of export {kind.name!r}: {kind.implementation} cannot be found ({error})") from error
