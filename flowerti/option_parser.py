"""Parses options so that a refusal is a `ValueError` in one line, and not a box or a page of usage.

This module does not know which options there are.
"""

import argparse
import contextlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from typing import NoReturn, TypeVar

T = TypeVar("T")

_WIDE = "10000"
"""Columns of the terminal that tyro is told, so that it breaks no line."""
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_RULE = re.compile(r"[─╰╯-]{3,}")
_BORDER = re.compile(r"^[│|]\s?|\s*[│|]$")
_PLAIN_WORDS = {
    "invalid literal for int() with base 10:": "not a whole number:",
    "could not convert string to float:": "not a number:",
}


class OneLineParser(argparse.ArgumentParser):
    """A parser that raises where others print their usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
            ValueError: always; says what is wrong, and where the options are told.
        """
        raise ValueError(f"{message}: see `{self.prog} --help`")


def parse_options(kind: type[T], *, prog: str, description: str, default: T, arguments: Sequence[str]) -> T:
    """The options of a dataclass as tyro reads them.

    Args:
        kind: the dataclass.
        prog: the command, as help calls it.
        description: what help begins with.
        default: the values of options that are not given.
        arguments: the options.

    Raises:
        ValueError: an option is unknown, or a value is wrong; names it.
        SystemExit: help was asked for.
    """
    import tyro

    with contextlib.redirect_stderr(io.StringIO()) as told:
        try:
            columns = contextlib.nullcontext() if {"-h", "--help"} & set(arguments) else _wide_terminal()
            with columns:
                return tyro.cli(kind, prog=prog, description=description, default=default, args=arguments)
        except SystemExit as error:
            if not error.code:
                raise
            raise ValueError(f"{flattened(told.getvalue())}: see `{prog} --help`") from None


@contextlib.contextmanager
def _wide_terminal() -> Iterator[None]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _WIDE
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def flattened(box: str) -> str:
    """What a box of tyro's says, in one line: the problem, and the options that may have been meant."""
    sections: list[list[str]] = [[]]
    lines = _STYLE.sub("", box).strip().splitlines()
    for line in lines[1:] or lines:  # the first is the title
        text = _BORDER.sub("", line.strip()).strip()
        if _RULE.fullmatch(text):
            sections.append([])
        elif text:
            sections[-1].append(text)
    problem, *others = [section for section in sections if section] or [["wrong options"]]
    told = re.sub(r"^Error parsing (?:(--[^:]+: )|[^:]+: )?", lambda found: found[1] or "", " ".join(problem))
    for words, plain in _PLAIN_WORDS.items():
        told = told.replace(words, plain)
    meant = [line.split()[0] for section in others if _is_guess(section) for line in section if line[:2] == "--"]
    guess = f": did you mean {' or '.join(dict.fromkeys(meant))}?" if meant else ""
    return told.rstrip(".") + guess


def _is_guess(section: list[str]) -> bool:
    return any(word in section[0].lower() for word in ("meant", "similar"))
