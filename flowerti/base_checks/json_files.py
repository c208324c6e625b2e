"""Reads the JSON files of a base, and the values in them; whatever is wrong is told with the file's name.

This module does not know what the files mean. It needs neither torch nor diffusers.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_MOST_QUOTED = 90
"""Characters of another library's message that an error quotes."""


def refused(path: Path, problem: str) -> ValueError:
    """The error for a file or folder of a base that cannot be used."""
    return ValueError(f"base.path: {path} {problem}")


def quoted(error: BaseException | str) -> str:
    """The beginning of another library's message, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MOST_QUOTED else f"{text[: _MOST_QUOTED - 3]}..."


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        ValueError: it cannot be read, is no JSON or holds something else; names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise refused(path, f"is no readable JSON ({quoted(error)}): fetch it again") from error
    if not isinstance(content, dict):
        raise refused(path, f"holds a JSON {type(content).__name__}, not an object: fetch it again")
    return content


class Settings:
    """The values of a config file, read with the defaults of the library that wrote it."""

    def __init__(self, path: Path, defaults: Mapping[str, Any]) -> None:
        """Read the file.

        Args:
            path: of the file.
            defaults: what the library takes for a name that the file lacks.
        """
        self.path = path
        self._values = {**defaults, **read_object(path)}

    def get(self, name: str) -> Any:
        """A value as it stands in the file, its default, or None."""
        return self._values.get(name)

    def count(self, name: str) -> int:
        """A whole number of at least 1."""
        value = self.get(name)
        if type(value) is not int or value < 1:
            raise refused(self.path, f"says {name} {quoted(repr(value))}, which must be a whole number from 1 on")
        return value

    def number(self, name: str, low: float, high: float) -> float:
        """A number above `low` and up to `high`."""
        value = self.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not low < value <= high:
            bounds = f"above {low:g}" if math.isinf(high) else f"in ({low:g}, {high:g}]"
            raise refused(self.path, f"says {name} {quoted(repr(value))}, which must be a number {bounds}")
        return float(value)

    def one_of(self, name: str, known: tuple[str | None, ...]) -> Any:
        """A value that is supported."""
        value = self.get(name)
        if value not in known:
            names = ", ".join(str(one) for one in known if one is not None)
            raise refused(self.path, f"says {name} {quoted(repr(value))}, which is not supported: it must be {names}")
        return value

    def absent(self, *names: str) -> None:
        """Refuse settings that ask for something which is not supported."""
        for name in names:
            if self.get(name) not in (None, False):
                raise refused(self.path, f"sets {name} {quoted(repr(self.get(name)))}, which is not supported")
