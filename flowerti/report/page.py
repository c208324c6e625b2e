"""One self-contained page from `summary.json` and the page's record: no network, no file beside it.

Prose and layout are those of `templates/report.html.j2` and the sections beside it; the one script is
`templates/page.js.j2`, and the page says all without it. This module knows nothing about the run directory or about
drawing (`figures`).
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from flowerti.artifacts.page_record import GalleryImage, PageRecord
from flowerti.report import first_screen, formats, names, plots, repetition_sentences, score_tables
from flowerti.report.base_sentences import spoilt_weak_classes, what_the_base_has_seen
from flowerti.report.ceiling_sentences import told_ceiling, told_worth
from flowerti.report.glossary import TERMS, Glossary
from flowerti.report.headline import evidence, headline
from flowerti.report.table_files import with_table_files

_MAX_STRIPS = 24
"""Strips of copies on the page; the others are left to the folder of figures."""
NUM_FIRST = 8
"""Images of each set that the gallery shows without a script."""
_MAX_CHANGES = 3
"""Changes of the plan on the first screen, the last ones; the summary holds all."""
_MAX_ROWS = 20
"""Pairs in a list of copies or near duplicates on the page; the summary holds all."""


def render_html(summary: Mapping[str, Any], record: PageRecord, figures: Mapping[str, bytes]) -> str:
    """Write the report.

    Args:
        summary: what `build_summary` returned, or the same read back from `summary.json`.
        record: what the page shows beside it.
        figures: WebP bytes by the names of `figures.draw_figures`; a missing one is left out.
    """
    verdict, _, reason = summary["recommendation"].partition(": ")
    labels = _labels(summary)
    script = _script()
    page = _template().render(
        s=summary,
        record=record,
        **labels,
        **_drawings(summary, record, labels),
        **_sentences(summary, labels["arm_name"]),
        verdict=verdict,
        reason=reason,
        script=Markup(script),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        term=Glossary(),
        images={name: base64.b64encode(content).decode() for name, content in figures.items()},
        classes=record.classes,
        tested={row["arm"]: row for row in summary["sweep"] if row["split"] == "test"},
        held_out=score_tables.held_out_split(summary),
        name_tables=score_tables.name_tables(summary),
        comparison_tables=score_tables.comparison_tables(summary),
        verdict_counts=score_tables.verdict_counts(summary),
        distance_tables=score_tables.distance_tables(summary),
        matrix_tables=score_tables.matrix_tables(summary),
        copy_tables=score_tables.copy_tables(summary),
        recognition=_recognition_rows(summary),
        near_duplicates_disagree=any(p["first_class"] != p["second_class"] for p in summary["near_duplicates"]),
        num_p_values=score_tables.num_p_values(summary),
    )
    return with_table_files(page)


def _sentences(summary: Mapping[str, Any], arm_name: Callable[[str], str]) -> dict[str, Any]:
    """What the page says in words that depend on the numbers."""
    return {
        "headline": headline(summary, arm_name),
        "evidence": evidence(summary, arm_name),
        "seen": what_the_base_has_seen(summary),
        "basis": repetition_sentences.basis(summary),
        "caution": repetition_sentences.caution(summary),
        "spoilt": spoilt_weak_classes(summary),
        "ceiling_told": told_ceiling(summary),
        "worth_told": told_worth(summary),
    }


def _drawings(summary: Mapping[str, Any], record: PageRecord, labels: Mapping[str, Any]) -> dict[str, Any]:
    """The first screen's rows, the drawings' places, and the gallery by set."""
    arm_name, level_of = labels["arm_name"], labels["level_of"]
    named = {
        (row["arm"], row["ratio"]): f"{arm_name(row['arm'])}, {level_of(row['arm'], row['ratio'])}"
        if row["ratio"]
        else arm_name(row["arm"])
        for row in summary["sweep"]
    }
    sets: dict[tuple[str, str], list[GalleryImage]] = {}
    for image in record.gallery:
        sets.setdefault((image.class_name, image.source), []).append(image)
    return {
        "screen_split": first_screen.shown_split(summary),
        "compared": first_screen.compared(summary),
        "weak_lines": first_screen.weak_class_lines(summary),
        "commands": first_screen.first_commands(summary),
        "cell_name": lambda arm, ratio: named.get((arm, ratio), arm_name(arm)),
        "forest": plots.forest(summary, named),
        "panels": plots.ratio_panels(summary),
        "sparks": {
            (curve.class_name, curve.technique): plots.sparkline([point.loss for point in curve.points])
            for curve in record.loss_curves
        },
        "gallery": sets,
    }


def _labels(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What sources, arms, metrics and techniques are called, all from the summary: the page asks no table."""
    arms = {row["name"]: row["label"] for row in summary["arms"]}
    levels = {row["name"]: row["level"] for row in summary["arms"]}
    (judged,) = (row for row in summary["sources"] if row["is_judged"])
    judged_arm = summary["judged_arm"]
    controls = {row["name"]: row["control"] for row in summary["arms"] if row["replaces"]}
    return {
        "judged": judged["name"],
        "judged_technique": judged["technique"],
        "judged_arm": judged_arm,
        # what its images must change: the control that they are mixed into, or real images alone
        "judged_without": controls.get(judged_arm, "real"),
        "judged_level": "probability" if levels.get(judged_arm) == "probability" else "ratio",
        "level_of": lambda arm, number: formats.level(levels.get(arm, "ratio"), number),
        "sources": {row["name"]: row["label"] for row in summary["sources"]},
        "arm_name": lambda arm: arms.get(arm, arm),
        "metrics": {row["name"]: row["label"] for row in summary["metrics"]},
        "other_techniques": [
            {**row, "sources": [s["name"] for s in summary["sources"] if s["technique"] == row["name"]]}
            for row in summary["techniques"]
            if row["name"] != judged["technique"]
        ],
    }


def _template() -> jinja2.Template:
    return _environment().get_template("report.html.j2")


@cache
def _script() -> str:
    return _environment().get_template("page.js.j2").render()


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("flowerti"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        fixed=formats.fixed,
        signed=formats.signed,
        p_value=formats.p_value,
        duration=formats.duration,
        decimals=formats.decimals,
    )
    environment.globals.update(
        verdicts=names.VERDICT_NAMES,
        times=formats.times,
        terms=TERMS,
        panel_px=(plots.PANEL_WIDTH, plots.PANEL_HEIGHT),
        spark_px=(plots.SPARK_WIDTH, plots.SPARK_HEIGHT),
        line_px=plots.LINE_PX,
        num_first=NUM_FIRST,
        max_strips=_MAX_STRIPS,
        max_rows=_MAX_ROWS,
        max_changes=_MAX_CHANGES,
        max_drawn_sets=score_tables.MAX_DRAWN_SETS,
    )
    return environment


def _recognition_rows(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return score_tables.in_set_order(summary["recognition"], lambda row: (row["class_name"], row["source"]))
