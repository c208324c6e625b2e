"""The command `flowerti`, also as `python -m flowerti`: the command line, with signals answered from the first moment.

Nothing is imported here before signals have a handler, because a Ctrl-C during an import would be a traceback.
"""

import signal
import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    from flowerti.stopping import SIGNALS, end_at_once, ended

    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end_at_once)
    from flowerti import cli

    return ended(cli.main())


if __name__ == "__main__":
    sys.exit(main())
