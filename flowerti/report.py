"""From the artifacts of a run to `summary.json` and to the page that a person reads.

`build_summary` gathers what the stages returned, with every failure and gap named;
`validate_summary` checks it against `summary.schema.json`; `render_html` writes one self-contained
page from it, with the prose and layout of `templates/report.html.j2`. This module knows nothing
about how a number was computed, about the run directory or about drawing (`report_figures`).
"""

import base64
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from numbers import Integral, Real
from typing import Any

import jinja2
import jsonschema
from jsonschema.exceptions import best_match

from flowerti.artifacts import (
    Census,
    ClassifierReport,
    Concept,
    PictureSet,
    Scores,
    Selection,
    SweepTable,
    Timing,
    slug,
)
from flowerti.config import Experiment

FORMAT = "flowerti-summary-1"
SOURCE_NAMES = {
    "real": "real",
    "raw": "class name",
    "alternative_name": "other name",
    "token": "learnt token",
}
ARM_NAMES = SOURCE_NAMES | {
    "real": "real only",
    "balanced": "balanced sampling",
    "balanced_softmax": "balanced softmax",
    "augmented": "augmentation",
}
_MAX_GRIDS = 24
_NOT_MEASURED = "\N{EN DASH}"


def build_summary(
    experiment: Experiment,
    census: Census,
    classifier: ClassifierReport,
    selection: Selection,
    concepts: list[Concept],
    sets: list[PictureSet],
    scores: Scores,
    sweep: SweepTable,
    timings: list[Timing],
    versions: dict[str, str],
) -> dict[str, Any]:
    """Gather a run in the shape of `summary.schema.json`, as strict JSON values.

    A number that is not finite becomes None and is named under `failures`, so that one bad cell
    neither hides nor takes the rest of the study down.
    """
    learnt = [concept for concept in concepts if not concept.error]
    summary: dict[str, Any] = {
        "format": FORMAT,
        "preset": experiment.name,
        "seed": experiment.seed,
        "versions": versions,
        "data_fingerprint": census.fingerprint,
        "num_pictures": {
            split: sum(getattr(count, f"num_{split}") for count in census.counts)
            for split in ("train", "validation", "test")
        },
        "unreadable": census.unreadable,
        "duplicates": census.duplicates,
        "settings": _quoted_settings(experiment),
        "models": _models(experiment, classifier, learnt, scores),
        "classifier": {"accuracy": classifier.accuracy, "macro_f1": classifier.macro_f1},
        "recommended_ratio": sweep.recommended_ratio,
        "recommendation": sweep.recommendation,
        "primary_contrast": _primary_contrast(sweep),
        "selected": [dataclasses.asdict(chosen) for chosen in selection.selected],
        "by_evidence": [dataclasses.asdict(chosen) for chosen in selection.by_evidence],
        "concepts": [_concept_row(concept) for concept in concepts],
        "neighbours": [
            {"class_name": concept.class_name} | dataclasses.asdict(neighbour)
            for concept in learnt
            for neighbour in concept.neighbours
        ],
        "sets": [dataclasses.asdict(one) for one in sets],
        "distances": [dataclasses.asdict(distance) for distance in scores.distances],
        "comparisons": [dataclasses.asdict(comparison) for comparison in scores.comparisons],
        "sweep": [dataclasses.asdict(row) for row in sweep.rows],
        "failures": _failures(concepts, sweep),
        "left_out": _left_out(experiment, census, selection, concepts, sets, scores, sweep),
        "timings": [dataclasses.asdict(timing) for timing in timings],
    }
    not_finite: list[str] = []
    summary = _strict(summary, "", not_finite)
    summary["failures"] += [
        {"stage": "report", "class_name": "", "reason": f"{place} is not a finite number"} for place in not_finite
    ]
    return summary


def validate_summary(summary: Mapping[str, Any]) -> None:
    """Check a summary against `summary.schema.json`.

    Raises:
        ValueError: a value is not strict JSON, or a key is missing or wrong; names the key.
    """
    try:
        json.dumps(summary, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"summary.json: not strict JSON: {error}") from error
    error = best_match(_validator().iter_errors(summary))
    if error is not None:
        raise ValueError(f"summary.json: {error.json_path}: {error.message}")


def render_html(
    summary: Mapping[str, Any],
    classifier: ClassifierReport,
    census: Census,
    figures: Mapping[str, bytes],
) -> str:
    """Write the report as one page that needs no network, no script and no file beside it.

    Args:
        summary: what `build_summary` returned, or the same read back from `summary.json`.
        classifier: the classifier's curves and per-class scores.
        census: the counts of pictures.
        figures: PNG bytes by name, from `report_figures.figures`; a missing one is left out.
    """
    weak = [chosen["class_name"] for chosen in summary["selected"]]
    verdict, _, reason = summary["recommendation"].partition(": ")
    return _template().render(
        s=summary,
        verdict=verdict,
        reason=reason,
        images={name: base64.b64encode(png).decode() for name, png in figures.items()},
        classes=_class_rows(classifier, census, weak),
        mistaken={name: _mistaken_for(classifier, name) for name in weak},
        tested=_tested(summary),
        sources=SOURCE_NAMES,
        arms=ARM_NAMES,
        max_grids=_MAX_GRIDS,
    )


def _quoted_settings(experiment: Experiment) -> dict[str, Any]:
    return {
        "data_kind": experiment.data.kind,
        "image_size_px": experiment.data.image_size_px,
        "show_pictures": experiment.data.show_pictures,
        "selection_rule": experiment.selection.rule,
        "classifier_mode": experiment.classifier.mode,
        "num_epochs": experiment.classifier.num_epochs,
        "num_inference_steps": experiment.sampling.num_inference_steps,
        "guidance_scale": experiment.sampling.guidance_scale,
        "num_permutations": experiment.scoring.num_permutations,
        "num_floor_splits": experiment.scoring.num_floor_splits,
        "num_bootstrap": experiment.sweep.num_bootstrap,
        "max_rest_drop": experiment.sweep.max_rest_drop,
    }


def _models(
    experiment: Experiment, classifier: ClassifierReport, learnt: list[Concept], scores: Scores
) -> dict[str, str]:
    return {
        "base": experiment.base.path,
        "base_revision": experiment.base.revision,
        "base_sha256": learnt[0].base_sha256 if learnt else "",
        "backbone": classifier.backbone,
        "backbone_sha256": classifier.weights_sha256,
        "extractor": scores.extractor,
        "extractor_sha256": scores.weights_sha256,
    }


def _concept_row(concept: Concept) -> dict[str, Any]:
    kept = (
        "class_name",
        "token",
        "num_vectors",
        "initializer_token",
        "num_pictures",
        "num_steps",
        "best_step",
    )
    curve = concept.loss_curve
    return {name: getattr(concept, name) for name in kept} | {
        "first_loss": curve[0].loss if curve else None,
        "best_loss": next((point.loss for point in curve if point.step == concept.best_step), None),
        "embeddings_sha256": concept.embeddings_sha256,
        "seconds": concept.seconds,
        "error": concept.error,
    }


def _primary_contrast(sweep: SweepTable) -> str:
    asked = "Primary contrast: weak-class F1 with token pictures against real pictures only, on test"
    row = next((row for row in sweep.rows if (row.split, row.arm) == ("test", "token")), None)
    if row is None:
        return f"{asked}. It was not measured: the sweep has no such row."
    tried = "" if sweep.recommended_ratio else ", the best on validation, tried to check the refusal"
    return (
        f"{asked}, at ratio {row.ratio:g}{tried}: {_signed(row.weak_gain)}, 95 % interval "
        f"{_signed(row.weak_gain_low)} to {_signed(row.weak_gain_high)}, one-sided p {_p_value(row.weak_gain_p)}, "
        f"{row.num_seeds} seeds."
    )


def _failures(concepts: list[Concept], sweep: SweepTable) -> list[dict[str, str]]:
    of_classes = [
        {"stage": "invert", "class_name": concept.class_name, "reason": concept.error}
        for concept in concepts
        if concept.error
    ]
    return of_classes + [{"stage": "sweep", "class_name": "", "reason": text} for text in sweep.failures]


def _left_out(
    experiment: Experiment,
    census: Census,
    selection: Selection,
    concepts: list[Concept],
    sets: list[PictureSet],
    scores: Scores,
    sweep: SweepTable,
) -> list[str]:
    notes = []
    if not experiment.data.show_pictures:
        notes.append("Real pictures are not shown: data.show_pictures is off.")
    if census.unreadable:
        notes.append(f"Pictures that could not be opened and were skipped: {len(census.unreadable)}.")
    tried = {concept.class_name for concept in concepts}
    notes += [
        f"{chosen.class_name}: no token was tried." for chosen in selection.selected if chosen.class_name not in tried
    ]
    return notes + _missing_sets(experiment, selection, sets, scores) + _missing_arms(experiment, sweep)


def _missing_sets(experiment: Experiment, selection: Selection, sets: list[PictureSet], scores: Scores) -> list[str]:
    drawn = {(one.class_name, one.source) for one in sets}
    scored = {(distance.class_name, distance.source) for distance in scores.distances}
    names = [chosen.class_name for chosen in selection.selected]
    notes = []
    for source in experiment.sampling.sources:
        undrawn = [name for name in names if (name, source) not in drawn]
        unscored = [name for name in names if (name, source) in drawn - scored]
        if undrawn:
            notes.append(f"No pictures from the {SOURCE_NAMES[source]}: {', '.join(undrawn)}.")
        if unscored:
            notes.append(f"Pictures from the {SOURCE_NAMES[source]} have no distance: {', '.join(unscored)}.")
    return notes


def _missing_arms(experiment: Experiment, sweep: SweepTable) -> list[str]:
    on_validation = {(row.arm, row.ratio) for row in sweep.rows if row.split == "validation"}
    arms = {arm for arm, _ in on_validation}
    notes = []
    for arm in (*experiment.sweep.free_arms, *experiment.sampling.sources):
        missing = [f"{r:g}" for r in experiment.sweep.ratios if (arm, r) not in on_validation]
        if arm not in arms:
            notes.append(f"The sweep has no row for the arm {ARM_NAMES[arm]}.")
        elif arm in experiment.sampling.sources and missing:
            notes.append(f"The sweep's arm {ARM_NAMES[arm]} lacks the ratios {', '.join(missing)}.")
    if not any(row.split == "test" for row in sweep.rows):
        notes.append("The sweep has no row on the test split.")
    return notes


def _strict(value: Any, place: str, not_finite: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _strict(item, f"{place}.{key}".lstrip("."), not_finite) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item, f"{place}[{index}]", not_finite) for index, item in enumerate(value)]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if not isinstance(value, Real):
        raise ValueError(f"summary.json: {place} is a {type(value).__name__}: not a JSON value")
    if math.isfinite(value):
        return float(value)
    not_finite.append(place)
    return None


@cache
def _validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(files("flowerti").joinpath("summary.schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)


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
        fixed=_fixed,
        signed=_signed,
        p_value=_p_value,
        duration=_duration,
        slug=slug,
        decimals=_decimals,
    )
    return environment.get_template("report.html.j2")


def _fixed(value: float | None, num_decimals: int = 3) -> str:
    if value is None or not math.isfinite(value):
        return _NOT_MEASURED
    text = f"{value:.{num_decimals}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else text.lstrip("-")


def _signed(value: float | None, num_decimals: int = 3) -> str:
    text = _fixed(value, num_decimals)
    return text if value is None or value <= 0 or text == _NOT_MEASURED or not float(text) else f"+{text}"


def _p_value(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return _NOT_MEASURED
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return _NOT_MEASURED
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _decimals(values: Sequence[float | None], num_digits: int = 3) -> int:
    largest = max((abs(value) for value in values if value), default=1.0)
    return min(6, max(0, num_digits - 1 - math.floor(math.log10(largest))))


def _class_rows(classifier: ClassifierReport, census: Census, weak: list[str]) -> list[dict[str, Any]]:
    num_train = {count.class_name: count.num_train for count in census.counts}
    rows = [
        dataclasses.asdict(score) | {"num_train": num_train.get(score.class_name), "weak": score.class_name in weak}
        for score in classifier.classes
    ]
    return sorted(rows, key=lambda row: (row["f1"], row["class_name"]))


def _mistaken_for(classifier: ClassifierReport, class_name: str, num: int = 3) -> list[tuple[str, int]]:
    names = [score.class_name for score in classifier.classes]
    if class_name not in names or not classifier.confusion:
        return []
    true_id = names.index(class_name)
    row = list(enumerate(classifier.confusion[true_id]))
    wrong = sorted((pair for pair in row if pair[0] != true_id and pair[1]), key=lambda pair: -pair[1])
    return [(names[predicted_id], count) for predicted_id, count in wrong[:num]]


def _tested(summary: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {row["arm"]: row for row in summary["sweep"] if row["split"] == "test"}
