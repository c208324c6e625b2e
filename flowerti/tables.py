"""Tables of named rows: sources, techniques, arms, metrics, data sources; and how code from outside adds to them.

Whatever comes in several kinds is a row of one table, and everything that treats the kinds alike iterates over it. A
plugin, "module:function", is a function without arguments that adds rows; the run's config names it, so that a resumed
run and every worker have the same rows. This module does not know what the rows are.
"""

import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar, runtime_checkable

_VARIABLE = "FLOWERTI_PLUGINS"
"""Environment variable by which workers learn the plugins of the run; read when a table is first asked."""


@runtime_checkable
class Named(Protocol):
    """Anything that can be a row."""

    @property
    def name(self) -> str:
        """What configs and records call it."""
        ...


Row = TypeVar("Row", bound=Named)


class Table(Generic[Row]):
    """Rows by name, in the order in which they were added."""

    def __init__(self, kind: str, rows: Iterable[Row] = ()) -> None:
        """`kind` is what a row is called in errors, as in "source of images"."""
        self.kind = kind
        self._rows: dict[str, Row] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> Row:
        """Add a row at the end.

        Raises:
            ValueError: there is one of that name already.
        """
        if row.name in self._rows:
            raise ValueError(f"{self.kind} {row.name!r} exists already: choose another name")
        self._rows[row.name] = row
        return row

    def __getitem__(self, name: str) -> Row:
        """The row of that name.

        Raises:
            ValueError: there is none; lists those that exist.
        """
        load_plugins_of_environment()
        if name not in self._rows:
            raise ValueError(f"unknown {self.kind} {name!r}: choose among {', '.join(self._rows)}")
        return self._rows[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is a row of that name."""
        load_plugins_of_environment()
        return name in self._rows

    def __iter__(self) -> Iterator[Row]:
        """All rows, in their order."""
        load_plugins_of_environment()
        return iter(list(self._rows.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all rows, in their order."""
        return tuple(row.name for row in self)


_loaded: set[str] = set()


def load_plugins(plugins: Iterable[str]) -> None:
    """Call each plugin once in this process, and name it to the processes that this one starts.

    Raises:
        ValueError: a plugin is not of the form module:function, or cannot be imported; names it.
    """
    names = [*_of_environment(), *plugins]
    os.environ[_VARIABLE] = ",".join(dict.fromkeys(names))
    load_plugins_of_environment()


def plugins_environment() -> dict[str, str]:
    """The environment variable that tells workers on other machines of the plugins; empty where there are none."""
    return {_VARIABLE: os.environ[_VARIABLE]} if _of_environment() else {}


def load_plugins_of_environment() -> None:
    """Call the plugins that the environment names and that were not called yet."""
    for name in _of_environment():
        if name not in _loaded:
            _loaded.add(name)  # first: a plugin asks tables itself
            _function(name)()


def _of_environment() -> list[str]:
    return [name for name in os.environ.get(_VARIABLE, "").split(",") if name]


def _function(name: str) -> Callable[[], object]:
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"plugins names {name!r}, which cannot be loaded ({error}): name a module and a function in it, as "
            "module:function"
        ) from error
