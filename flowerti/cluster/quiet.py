"""Keeps back what Ray writes to the terminal while it starts: a warning about its token, that it started, log levels.

This module does not know how Ray is started, nor what a command prints itself.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from flowerti import stopping

_STDERR = 2


@contextmanager
def stderr_kept_back() -> Iterator[None]:
    """Keep back what the process writes to its standard error while the block runs; Python and C++ code alike.

    Where it fails its exception tells what went wrong, and the log of this module has the rest.
    """
    sys.stderr.flush()
    before = os.dup(_STDERR)
    with tempfile.TemporaryFile() as aside, stopping.at_forced_end(lambda: _give_back(before)):
        os.dup2(aside.fileno(), _STDERR)
        try:
            yield
        except Exception:
            aside.seek(0)
            logging.getLogger(__name__).debug(aside.read().decode(errors="replace").rstrip())
            raise
        finally:
            sys.stderr.flush()
            _give_back(before)
            os.close(before)


def _give_back(before: int) -> None:
    os.dup2(before, _STDERR)
