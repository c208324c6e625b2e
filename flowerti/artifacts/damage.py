"""Files of a run directory that cannot be believed: the error, and how it is told where the file is made anew instead.

A line goes to the logger `flowerti.damage`, which a worker's process has as well; a run hands it on to its listeners.
This module does not know which files there are.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOG = logging.getLogger("flowerti.damage")
_MAX_PROBLEM_LENGTH = 120


class DamagedError(ValueError):
    """A file does not hold what was written under its name."""

    def __init__(self, name: str, problem: object) -> None:
        """Takes the name in the run directory, and what is wrong with the file."""
        self.problem = " ".join(str(problem).split())[:_MAX_PROBLEM_LENGTH]
        super().__init__(name, self.problem)  # as it is made again on its way out of a worker

    def __str__(self) -> str:
        """One line."""
        return f"{self.args[0]} is damaged ({self.problem}): it is not used, the run makes it anew"


def tell_damage(error: DamagedError) -> None:
    """Tell a damaged file in one line."""
    _LOG.warning("%s", error)


@contextmanager
def damage_told(tell: Callable[[str], None]) -> Iterator[None]:
    """Hand what is told in this process to a function, in place of standard error, while the block runs."""
    handler = _Teller(tell)
    _LOG.addHandler(handler)
    propagated, _LOG.propagate = _LOG.propagate, False
    try:
        yield
    finally:
        _LOG.removeHandler(handler)
        _LOG.propagate = propagated


class _Teller(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())
