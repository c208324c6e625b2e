"""The page's record from a finished run: every class, confusions before and after, loss curves, the gallery.

This module does not know what a page looks like.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from flowerti.artifacts import layout
from flowerti.artifacts.page_record import ClassLine, Confusion, LossCurve, PageRecord
from flowerti.artifacts.records import Census, ClassifierReport
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.report.confusions import confusions_of, first_confusion
from flowerti.report.findings import Findings
from flowerti.report.gallery import Gallery
from flowerti.sweep.predictions import read_predictions

_NUM_MISTAKEN = 3


def page_record(
    found: Findings, gallery: Gallery | None = None, confusions: list[Confusion] | None = None
) -> PageRecord:
    """Gather what the page needs beside the summary.

    Args:
        found: what the run found.
        gallery: its images; None for none.
        confusions: of the sweep; the first classifier's where there are none.
    """
    weak = [chosen.class_name for chosen in found.selection.selected]
    return PageRecord(
        classes=class_lines(found.classifier, found.census),
        confusions=confusions or first_confusion(found.classifier, weak),
        loss_curves=[
            LossCurve(class_name=one.class_name, technique=one.technique, points=points)
            for one in found.first_learned
            if (points := [point for point in one.loss_curve if math.isfinite(point.loss)])
        ],
        gallery=gallery.images if gallery else [],
        num_not_shown=gallery.num_not_shown if gallery else 0,
        nearest=gallery.nearest if gallery else {},
    )


def class_lines(classifier: ClassifierReport, census: Census) -> list[ClassLine]:
    """Every class, worst first."""
    num_train = {count.class_name: count.num_train for count in census.counts}
    lines = [
        ClassLine(
            **dataclasses.asdict(score),
            num_train=num_train.get(score.class_name),
            mistaken_for=_mistaken_for(classifier, i),
        )
        for i, score in enumerate(classifier.classes)
    ]
    return sorted(lines, key=lambda line: (line.f1, line.class_name))


def _mistaken_for(classifier: ClassifierReport, true_id: int) -> list[str]:
    if not classifier.confusion:
        return []
    row = enumerate(classifier.confusion[true_id])
    wrong = sorted(((i, count) for i, count in row if i != true_id and count), key=lambda pair: -pair[1])
    return [f"{classifier.classes[i].class_name} ({count})" for i, count in wrong[:_NUM_MISTAKEN]]


def sweep_confusions(run: RunDirectory, summary: Mapping[str, Any]) -> list[Confusion]:
    """Real images alone, the verdict's arm, the best control and the judged arm, as far as there are predictions.

    Raises:
        ValueError: the file of predictions is damaged; names it.
    """
    verdict = summary["verdict"]
    if not run.exists(layout.SWEEP_PREDICTIONS) or verdict is None:
        return []
    ratios = {row["arm"]: row["ratio"] for row in summary["sweep"] if row["split"] == verdict["split"]}
    cells = [("real", 0.0), (verdict["arm"], verdict["ratio"] or ratios.get(verdict["arm"], 0.0))]
    cells += [(arm, ratios[arm]) for arm in (summary["best_control"], summary["judged_arm"]) if arm in ratios]
    return confusions_of(read_predictions(run), cells)
