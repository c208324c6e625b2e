"""Writes numbers and tables of the pages anew from the files under `results/`: `python docs/refresh.py`.

In the text a number is followed by a comment with its label, `0.49<!-- real F1 -->`. A comment at the end of the page
says for each label from which file it is, where in the file, and how it is written:

    <!-- numbers
    results/demo/summary.json
      real F1: sweep[split=test, arm=real]/weak_f1 .2f
      shown to help: contrasts[split=test, primary=true]/answer s
      copies: len(copies/copies) d
    -->

Lists are followed into all their rows, `[...]` keeps the rows with these values, and one value must remain, unless
`min`, `max` or `len` makes one of them. `* 100` and `/ 60` change the unit. Between `<!-- table: NAME -->` and
`<!-- /table -->` stands a table of `docs/tables.py`. `tests/test_prose_numbers.py` fails where a page is not what this
writes.
"""

import json
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tables

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "flowerti/demo/base/MODEL_CARD.md"]

MARKED = re.compile(r"(?P<text>[-+]?\d[\d.,]*(?:e[-+]?\d+)?|\b\w+)<!-- (?P<label>[^\n<>]+?) -->")
TABLE = re.compile(r"<!-- table: (?P<name>\S+) -->\n.*?<!-- /table -->", re.DOTALL)
_DEFINITIONS = re.compile(r"<!-- numbers\n(.*?)-->", re.DOTALL)
_NUMBER = re.compile(
    r"(?:(?P<of>min|max|len)\((?P<inner>.+)\)|(?P<path>.+?))(?: (?P<unit>[*/]) (?P<factor>[\d.]+))? (?P<form>\S+)"
)
_STEP = re.compile(r"(?P<key>[^/\[\]]+)(?:\[(?P<rows>[^\]]+)\])?(?:/|$)")
_OF: dict[str, Callable[[list[Any]], Any]] = {"min": min, "max": max, "len": len}
_UNITS = {"*": operator.mul, "/": operator.truediv}


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """A number of a page: where it comes from and how it is written."""

    file: str
    """Relative to the repository."""
    expression: str
    """As the heading of this module describes it."""

    def written(self) -> str:
        """The text that belongs into the page.

        Raises:
            ValueError: file or place do not exist, or several values remain; naming both.
        """
        match = _NUMBER.fullmatch(self.expression)
        if match is None:
            raise ValueError(f"{self.file}: {self.expression} has no path and format")
        found = list(self._values(match["inner"] or match["path"]))
        if not match["of"] and len(found) != 1:
            raise ValueError(f"{self.file}: {self.expression} stands for {len(found)} values in place of one")
        value = _OF[match["of"]](found) if match["of"] else found[0]
        if match["unit"]:
            value = _UNITS[match["unit"]](value, float(match["factor"]))
        return format(value, match["form"])

    def _values(self, path: str) -> list[Any]:
        values = [_document(self.file)]
        for step in _STEP.finditer(path):
            values = list(_followed(values, step["key"], step["rows"] or "", f"{self.file}: {path}"))
        return values


def definitions(text: str) -> dict[str, Number]:
    """What a page says about its numbers, by label.

    Raises:
        ValueError: a label stands twice, or before any file.
    """
    numbers: dict[str, Number] = {}
    file = ""
    for line in "".join(_DEFINITIONS.findall(text)).splitlines():
        if not line.startswith(" "):
            file = line
            continue
        label, _, expression = line.strip().partition(": ")
        if label in numbers or not file:
            raise ValueError(f"{label} is defined twice, or without a file")
        numbers[label] = Number(file=file, expression=expression)
    return numbers


def refreshed(text: str) -> str:
    """A page with its numbers and tables as the files have them now.

    Raises:
        ValueError: a label without definition, or what `Number.written` raises.
    """
    numbers = definitions(text)

    def number(match: re.Match[str]) -> str:
        if match["label"] not in numbers:
            raise ValueError(f"{match[0]}: nothing says where this number comes from")
        return f"{numbers[match['label']].written()}<!-- {match['label']} -->"

    def table(match: re.Match[str]) -> str:
        return f"<!-- table: {match['name']} -->\n\n{tables.TABLES[match['name']]()}\n\n<!-- /table -->"

    return TABLE.sub(table, MARKED.sub(number, text))


def _followed(values: list[Any], key: str, rows: str, where: str) -> Iterator[Any]:
    """What stands under the key, lists row by row, as far as the rows have the values that are asked for."""
    wanted = dict(condition.split("=", 1) for condition in rows.split(", ")) if rows else {}
    for value in values:
        if not isinstance(value, dict) or key not in value:
            raise ValueError(f"{where}: there is no {key}")
        below = value[key] if isinstance(value[key], list) else [value[key]]
        yield from (row for row in below if all(_written_in_json(row.get(name)) == of for name, of in wanted.items()))


def _written_in_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@cache
def _document(file: str) -> Any:
    if not (ROOT / file).is_file():
        raise ValueError(f"there is no {file}")
    return json.loads((ROOT / file).read_text(encoding="utf-8"))


def main() -> None:
    """Rewrite the pages that are not up to date, and name them."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fresh = refreshed(text)
        if fresh != text:
            page.write_text(fresh, encoding="utf-8")
            print(f"{page.relative_to(ROOT)} is written anew")


if __name__ == "__main__":
    main()
