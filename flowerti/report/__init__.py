"""From the artifacts of a run to `summary.json`, the page that a person reads, and its figures.

`summary` gathers, `summary_schema` checks, `page` and the templates lay out, `figures` draws. Nothing here knows how a
number was computed, or where a run directory lies (`publish` does).
"""

from flowerti.report.findings import Findings as Findings
from flowerti.report.page import render_html as render_html
from flowerti.report.summary import build_summary as build_summary
from flowerti.report.summary_schema import validate_summary as validate_summary
