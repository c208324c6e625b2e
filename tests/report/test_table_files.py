"""CSV files in links: what csv reads back is what the table shows, and no spreadsheet computes a class name."""

import csv
import io
import re
from urllib.parse import unquote

from flowerti.report.table_files import csv_of, with_table_files

TABLE = (
    '<div class="wide"><table><thead><tr><th>class</th><th>gain</th><th>n</th></tr></thead><tbody>'
    '<tr><th>=cmd|"x"!A1, &amp; co</th><td>\N{MINUS SIGN}0.020</td><td>1,024</td></tr>'
    "<tr><th>rose</th><td colspan='2'>+0.5</td></tr></tbody></table></div>"
)


def read(text):
    return list(csv.reader(io.StringIO(text)))


def test_cells_are_read_back_as_they_stand():
    assert read(csv_of(TABLE)) == [
        ["class", "gain", "n"],
        ['\'=cmd|"x"!A1, & co', "-0.020", "1024"],
        ["rose", "0.5", ""],
    ]


def test_each_table_has_a_link_named_after_its_section():
    page = with_table_files(f'<h2 id="weak">{TABLE}{TABLE}<h3 id="run">{TABLE}')
    links = re.findall('<a download="([^"]+)" href="data:text/csv;charset=utf-8,([^"]*)"', page)
    assert [name for name, _ in links] == ["weak-1.csv", "weak-2.csv", "run-1.csv"]
    assert {unquote(text) for _, text in links} == {csv_of(TABLE)}
    assert page.count('tabindex="0"') == 3
