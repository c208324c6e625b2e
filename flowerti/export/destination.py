"""Where an export goes: an empty folder outside the run and the data set, which appears whole or not at all.

This module does not know what is written.
"""

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def check_destination(out_dir: str, outside: Sequence[str | Path]) -> Path:
    """Where an export may go.

    Args:
        out_dir: a local folder, missing or empty.
        outside: local folders that it must not lie in.

    Raises:
        ValueError: it is no local folder, is not empty, or lies in one of those; says what to do.
    """
    if not out_dir or "://" in out_dir:
        raise ValueError(f"OUT_DIR {out_dir!r} is no local folder: export to a disk and copy it from there")
    folder = Path(out_dir).expanduser().resolve()
    for other in outside:
        if folder.is_relative_to(Path(other).expanduser().resolve()):
            raise ValueError(f"OUT_DIR {out_dir} lies in {other}, which an export leaves as it is: choose another")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"OUT_DIR {out_dir} is a file: choose another name")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"OUT_DIR {out_dir} is not empty: choose a new folder")
    return folder


@contextmanager
def appearing_whole(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes its name when all is written and is removed when something fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".tmp-{uuid.uuid4().hex}-{folder.name[:40]}"
    temporary.mkdir()
    try:
        yield temporary
        if folder.is_dir():
            folder.rmdir()  # fails where somebody has put something there meanwhile
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
