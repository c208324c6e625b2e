"""The command `flowerti`, also as `python -m flowerti`: the command line, with signals answered from the first moment.

Nothing of the package is imported before signals have a handler, because a Ctrl-C during an import is a traceback.
"""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Run the command line; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end_at_once)
    from flowerti import cli
    from flowerti.stopping import ended

    return ended(cli.main())


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    """For the time in which nothing has begun: one line and the exit code, however deep in an import."""
    os.write(2, f"flowerti: stopped by {'Ctrl-C (SIGINT)' if number == signal.SIGINT else 'SIGTERM'}\n".encode())
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
