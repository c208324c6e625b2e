"""One self-contained page from `summary.json`: no network, no script, no file beside it.

Prose and layout are those of `templates/report.html.j2` and the sections beside it. This module knows nothing about the
run directory or about drawing (`figures`).
"""

import base64
import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any

import jinja2

from flowerti.artifacts.records import Census, ClassifierReport
from flowerti.report import formats, names, repetition_sentences, score_tables
from flowerti.report.base_sentences import spoilt_weak_classes, what_the_base_has_seen
from flowerti.report.ceiling_sentences import told_ceiling, told_worth
from flowerti.report.headline import evidence, headline

_MAX_STRIPS = 24
"""Strips of images on the page, of classes and again of copies; the others are left to the folder of figures."""
_MAX_CHANGES = 3
"""Changes of the plan on the first screen, the last ones; the summary holds all."""
_MAX_ROWS = 20
"""Pairs in a list of copies or near duplicates on the page; the summary holds all."""


def render_html(
    summary: Mapping[str, Any],
    classifier: ClassifierReport,
    census: Census,
    figures: Mapping[str, bytes],
) -> str:
    """Write the report.

    Args:
        summary: what `build_summary` returned, or the same read back from `summary.json`.
        classifier: the classifier's curves and per-class scores.
        census: the counts of images.
        figures: PNG bytes by name, from `figures.draw_figures`; a missing one is left out.
    """
    weak = [chosen["class_name"] for chosen in summary["selected"]]
    verdict, _, reason = summary["recommendation"].partition(": ")
    labels = _labels(summary)
    return _template().render(
        s=summary,
        **labels,
        verdict=verdict,
        reason=reason,
        headline=headline(summary, labels["arm_name"]),
        evidence=evidence(summary, labels["arm_name"]),
        images={name: base64.b64encode(png).decode() for name, png in figures.items()},
        classes=_class_rows(classifier, census, weak),
        mistaken={name: _mistaken_for(classifier, name) for name in weak},
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
        seen=what_the_base_has_seen(summary),
        basis=repetition_sentences.basis(summary),
        caution=repetition_sentences.caution(summary),
        spoilt=spoilt_weak_classes(summary),
        ceiling_told=told_ceiling(summary),
        worth_told=told_worth(summary),
    )


def _labels(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What sources, arms, metrics and techniques are called, all from the summary: the page asks no table."""
    arms = {row["name"]: row["label"] for row in summary["arms"]}
    levels = {row["name"]: row["level"] for row in summary["arms"]}
    (judged,) = (row for row in summary["sources"] if row["is_judged"])
    judged_arm = summary["judged_arm"]
    controls = {row["name"]: row["control"] for row in summary["arms"] if row["replaces"]}
    return {
        "judged": judged["name"],
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


@cache
def _template() -> jinja2.Template:
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
        strip_file=names.strip_file,
    )
    environment.globals.update(
        verdicts=names.VERDICT_NAMES,
        times=formats.times,
        max_strips=_MAX_STRIPS,
        max_rows=_MAX_ROWS,
        max_changes=_MAX_CHANGES,
        max_drawn_sets=score_tables.MAX_DRAWN_SETS,
    )
    return environment.get_template("report.html.j2")


def _class_rows(classifier: ClassifierReport, census: Census, weak: list[str]) -> list[dict[str, Any]]:
    num_train = {count.class_name: count.num_train for count in census.counts}
    rows = [
        dataclasses.asdict(score) | {"num_train": num_train.get(score.class_name), "weak": score.class_name in weak}
        for score in classifier.classes
    ]
    return sorted(rows, key=lambda row: (row["f1"], row["class_name"]))


def _recognition_rows(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return score_tables.in_set_order(summary["recognition"], lambda row: (row["class_name"], row["source"]))


def _mistaken_for(classifier: ClassifierReport, class_name: str, num: int = 3) -> list[tuple[str, int]]:
    class_names = [score.class_name for score in classifier.classes]
    if class_name not in class_names or not classifier.confusion:
        return []
    true_id = class_names.index(class_name)
    row = list(enumerate(classifier.confusion[true_id]))
    wrong = sorted((pair for pair in row if pair[0] != true_id and pair[1]), key=lambda pair: -pair[1])
    return [(class_names[predicted_id], count) for predicted_id, count in wrong[:num]]
