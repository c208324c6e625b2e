"""Temporary folders of the driver that are gone when it ends, whatever ends it short of a kill.

This module does not know what lies in them.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from flowerti import stopping


@contextmanager
def scratch_folder(name: str) -> Iterator[str]:
    """A new folder `flowerti-<name>-...` that its owner alone can read, deleted with the block or a forced end."""
    # Ray's processes may still write into it when the driver is stopped
    with tempfile.TemporaryDirectory(prefix=f"flowerti-{name}-", ignore_cleanup_errors=True) as folder:
        with stopping.at_forced_end(lambda: shutil.rmtree(folder, ignore_errors=True)):
            yield folder
