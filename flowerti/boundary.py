"""The boundary between the program and a person: whatever ends a command is one line on stderr and an exit code.

0 is for what is done, 2 for bad input, 3 for what failed, 130 for Ctrl-C and 143 for SIGTERM. `--debug` shows the
traceback above the line. This module does not know the commands.
"""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from flowerti import stopping
from flowerti.artifacts.masking import masked
from flowerti.error_lines import MAX_LENGTH, error_line, one_line, shortened

DEBUG_OPTION = "--debug"
EXIT_CODES_HELP = (
    "Exit codes: 0 done, 2 bad input, 3 failed, 130 stopped by Ctrl-C, 143 stopped by SIGTERM. An error is one line; "
    f"{DEBUG_OPTION} shows the traceback as well."
)


def guarded(program: str, command: Callable[[list[str]], int], arguments: Sequence[str]) -> int:
    """Call a command with its arguments, and turn whatever ends it into one line on stderr and an exit code.

    Args:
        program: what the line begins with.
        command: gets the arguments without `--debug`, and returns the exit code.
        arguments: those of the command line.

    Raises:
        SystemExit: the command answered with help.
    """
    given = [argument for argument in arguments if argument != DEBUG_OPTION]

    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        if len(told) > 1:
            return  # the end was forced while it was being told
        with contextlib.suppress(OSError):  # nobody reads it any more
            print(f"{program}: {shortened(one_line(text), MAX_LENGTH - len(program) - 2)}", file=sys.stderr, flush=True)

    _take_any_text()
    with stopping.stops_watched(tell) as stops:
        try:
            _check(given)
            code = command(given)
            stops.raise_no_more()
            _flush()
            return code
        except BaseException as error:
            stops.raise_no_more()
            if isinstance(error, SystemExit) and not error.code and stops.number is None:
                raise  # help and version
            if DEBUG_OPTION in arguments:
                print(masked("".join(traceback.format_exception(error))), file=sys.stderr)
            return _ended(error, stops, tell)


def _ended(error: BaseException, stops: stopping.Stops, tell: Callable[[str], None]) -> int:
    """Tell what ended a command; what a signal's exception turned into on its way is the signal's."""
    if not getattr(error, "outlasts_stop", False) and (stops.number is not None or stopping.is_signalled(error)):
        number = stops.number or signal.SIGINT
        tell(stopping.sentence(number))
        return stopping.exit_code_of(number)
    if isinstance(error, BrokenPipeError):
        _forget_stdout()
    line = error_line(error)
    tell(line.text)
    return line.exit_code


def _check(arguments: list[str]) -> None:
    for argument in arguments:
        if any("\ud800" <= sign <= "\udfff" for sign in argument):
            raise ValueError(f"argument {argument!a} holds bytes that are no UTF-8: rename what it names")


def _take_any_text() -> None:
    """Print what the terminal's encoding lacks as an escape, instead of failing at it."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError as error:
        _forget_stdout()
        raise OSError(error.errno, error.strerror, "standard output") from error


def _forget_stdout() -> None:
    """Leave nothing to be written when the interpreter ends: it would fail again, with a text of its own."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
