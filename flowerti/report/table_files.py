"""Every table of the page as a CSV file that the page itself holds, in a link below it.

The file has what the table shows; numbers in full are in `summary.json`. This module knows nothing about what a table
says.
"""

import csv
import html
import io
import re
from html.parser import HTMLParser
from urllib.parse import quote

_PARTS = re.compile(r'<h[23] id="(?P<id>[\w-]+)"|<div class="wide"><table.*?</table></div>', re.DOTALL)
_NUMBER = re.compile(r"[+\N{MINUS SIGN}-]?\d[\d.,]*")


def with_table_files(page: str) -> str:
    """The page with a link below each table, named after the section that it stands in."""
    counts: dict[str, int] = {}
    section = "table"

    def replaced(match: re.Match[str]) -> str:
        nonlocal section
        if match["id"]:
            section = match["id"]
            return match[0]
        counts[section] = counts.get(section, 0) + 1
        name = f"{section}-{counts[section]}.csv"
        return f"{_scrollable(match[0], name)}\n{_link(match[0], name)}"

    return _PARTS.sub(replaced, page)


def _scrollable(table: str, name: str) -> str:
    """A table wider than the window can be moved by the keyboard as well."""
    label = html.escape(name.removesuffix(".csv").replace("-", " "))
    return table.replace('<div class="wide">', f'<div class="wide" tabindex="0" role="group" aria-label="{label}">', 1)


def _link(table: str, name: str) -> str:
    address = f"data:text/csv;charset=utf-8,{quote(csv_of(table), safe=',.:;()|/+')}"
    return f'<p class="csv"><a download="{name}" href="{html.escape(address)}" title="{name}">CSV</a></p>'


def csv_of(table: str) -> str:
    """The cells of an HTML table as CSV; a cell that spans columns is followed by empty ones."""
    cells = _Cells()
    cells.feed(table)
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([[_plain(cell) for cell in row] for row in cells.rows if row])
    return stream.getvalue()


def _plain(cell: str) -> str:
    """A number as programs read it; a text that a spreadsheet would compute is quoted."""
    text = " ".join(cell.split())
    if _NUMBER.fullmatch(text):
        return text.replace("\N{MINUS SIGN}", "-").lstrip("+").replace(",", "")
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


class _Cells(HTMLParser):
    """Rows of a table as lists of text."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._span = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self._span = int(dict(attrs).get("colspan") or 1)
            self.rows[-1].append("")
        elif tag in ("small", "code", "span") and self._span:
            self.rows[-1][-1] += " "

    def handle_data(self, data: str) -> None:
        if self._span:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.rows[-1].extend([""] * (self._span - 1))
            self._span = 0
