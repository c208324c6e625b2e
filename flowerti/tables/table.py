"""A table of named rows: a registry of interchangeable objects that other modules look up by name or iterate over.

This module does not know what the rows are.
"""

from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar, runtime_checkable

from flowerti.tables.plugins import load_plugins_of_environment


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

    @property
    def so_far(self) -> tuple[Row, ...]:
        """The rows added until now, without asking plugins: for modules that are still being imported.

        A plugin imports the package itself, which it cannot while one of the package's modules waits for it.
        """
        return tuple(self._rows.values())

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
