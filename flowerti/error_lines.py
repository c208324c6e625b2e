"""Says an error in one line: which file or field, what is wrong, what to do, and with which code the process ends.

This module does not know who prints the line, or where the error comes from.
"""

import errno
import os
from dataclasses import dataclass

from flowerti.artifacts.masking import masked

MAX_LENGTH = 300
BAD_INPUT, FAILED = 2, 3
"""Exit codes; 0 is for what is done, and signals have their own."""

_CUT = " ... "
_ADVICE = {
    errno.ENOENT: (BAD_INPUT, "there is no such file or folder: check the path"),
    errno.EACCES: (BAD_INPUT, "permission denied: check who may read and write it"),
    errno.EPERM: (BAD_INPUT, "permission denied: check who may read and write it"),
    errno.EISDIR: (BAD_INPUT, "it is a folder where a file should be: remove or rename it"),
    errno.ENOTDIR: (BAD_INPUT, "a file stands where a folder should be: remove or rename it"),
    errno.EEXIST: (BAD_INPUT, "something of that name exists already: remove or rename it"),
    errno.ENOTEMPTY: (BAD_INPUT, "it is a folder that is not empty: remove or rename it"),
    errno.ENAMETOOLONG: (BAD_INPUT, "the name is longer than the file system allows: choose a shorter one"),
    errno.ELOOP: (BAD_INPUT, "its links lead in a circle: correct them"),
    errno.EROFS: (BAD_INPUT, "its file system is read-only: choose another place"),
    errno.EINVAL: (BAD_INPUT, "the system does not accept it: check the path"),
    errno.ENOSPC: (FAILED, "no space is left on the disk: free some, and start the same command again"),
    errno.EDQUOT: (FAILED, "the disk quota is used up: free some space, and start the same command again"),
    errno.EFBIG: (FAILED, "the file grows larger than is allowed: raise the limit (ulimit -f)"),
    errno.EIO: (FAILED, "the disk or the network file system failed: check it, and start the same command again"),
    errno.EMFILE: (FAILED, "too many files are open: raise the limit (ulimit -n)"),
    errno.ENFILE: (FAILED, "too many files are open on this machine: close some"),
    errno.ENOMEM: (FAILED, "memory is used up: close other programs or use a larger machine"),
    errno.EPIPE: (FAILED, "whoever read the output has ended"),
}


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """An error as it is told."""

    text: str
    """One line without secrets, at most `MAX_LENGTH` characters."""
    exit_code: int
    is_expected: bool
    """False for what only a mistake in the program explains."""


def error_line(error: BaseException, max_length: int = MAX_LENGTH) -> ErrorLine:
    """The line of an error; notes that were added to it are told as well."""
    cause = _of_worker(error)
    text, exit_code, is_expected = _told(cause)
    notes = [note for one in dict.fromkeys((error, cause)) for note in getattr(one, "__notes__", ())]
    return ErrorLine(
        text=shortened(one_line(" ".join([text, *(f"({note})" for note in notes)])), max_length),
        exit_code=exit_code,
        is_expected=is_expected,
    )


def one_line(text: str) -> str:
    """A text without secrets, line breaks and signs that steer a terminal."""
    shown = "".join(sign if sign.isprintable() else " " for sign in masked(text))
    return " ".join(shown.encode("utf-8", "backslashreplace").decode().split())


def shortened(text: str, max_length: int) -> str:
    """A text cut in its middle: it begins with the file or field, and ends with what to do."""
    if len(text) <= max_length:
        return text
    tail = (max_length - len(_CUT)) // 2
    return text[: max_length - len(_CUT) - tail].rstrip() + _CUT + text[-tail:].lstrip()


def _of_worker(error: BaseException) -> BaseException:
    """What was raised in a Ray worker, without the worker's traceback, which Ray has in the text of its own error."""
    cause = getattr(error, "cause", None)
    names = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return cause if "ray" in names and isinstance(cause, BaseException) else error


def _told(error: BaseException) -> tuple[str, int, bool]:
    if isinstance(error, UnicodeEncodeError):
        where = ascii(error.object[max(0, error.start - 40) : error.end + 40])
        return f"{where} holds bytes that are no UTF-8: rename it", BAD_INPUT, True
    if isinstance(error, ValueError):
        return str(error) or type(error).__name__, BAD_INPUT, True
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, SystemExit):
        return f"a library ended the process with {error.code!r}: --debug shows where", FAILED, False
    if isinstance(error, MemoryError):
        return _ADVICE[errno.ENOMEM][1], FAILED, True
    if isinstance(error, RecursionError):
        return "the input is nested too deeply: make it flatter", BAD_INPUT, True
    if isinstance(error, ImportError):
        return f"{error}: install the package, or the extra that holds it", FAILED, True
    if type(error).__module__.split(".")[0] in ("ray", "torch"):
        return f"{type(error).__name__}: {error}", FAILED, True
    return f"{type(error).__name__}: {error} (a mistake in flowerti? --debug shows where)", FAILED, False


def _of_system(error: OSError) -> tuple[str, int, bool]:
    number = error.errno or 0
    code, advice = _ADVICE.get(number, (FAILED, ""))
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    if names and advice:
        return f"{' -> '.join(names)}: {advice}", code, True
    # pyarrow and the network name the file in the text, if at all
    text = str(error).removeprefix(f"[Errno {number}] ").partition(". Detail: ")[0]
    if advice and text == os.strerror(number):
        text = "a file or the output"
    return f"{text or type(error).__name__}{': ' if advice else ''}{advice}", code, True
