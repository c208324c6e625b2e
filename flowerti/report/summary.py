"""From the artifacts of a run to `summary.json`: what the report says, for programs.

Every failure and gap is named (`gaps`), every number is strict JSON. This module knows nothing about how a number was
computed, about the run directory or about the page.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from flowerti.artifacts.records import Adapter, Census, ClassifierReport, Concept, LossPoint, SweepTable
from flowerti.artifacts.scores import Scores
from flowerti.config.experiment import Experiment
from flowerti.report.findings import Findings
from flowerti.report.formats import p_value, signed
from flowerti.report.gaps import failures, left_out
from flowerti.report.summary_schema import FORMAT


def build_summary(found: Findings) -> dict[str, Any]:
    """Gather a run in the shape of `summary.schema.json`, as strict JSON values.

    A number that is not finite becomes None and is named under `failures`, so that one bad cell
    neither hides nor takes the rest of the study down.
    """
    experiment, classifier, sweep = found.experiment, found.classifier, found.sweep
    learnt = [concept for concept in found.concepts if not concept.error]
    summary: dict[str, Any] = {
        "format": FORMAT,
        "preset": experiment.name,
        "seed": experiment.seed,
        "versions": found.versions,
        "data_fingerprint": found.census.fingerprint,
        "num_pictures": _num_images(found.census),
        "unreadable": found.census.unreadable,
        "duplicates": found.census.duplicates,
        "settings": _quoted_settings(experiment),
        "models": _models(experiment, classifier, learnt),
        "classifier": {"accuracy": classifier.accuracy, "macro_f1": classifier.macro_f1},
        "recommended_ratio": sweep.recommended_ratio,
        "recommendation": sweep.recommendation,
        "primary_contrast": _primary_contrast(sweep),
        "selected": _rows(found.selection.selected),
        "by_evidence": _rows(found.selection.by_evidence),
        "concepts": [_concept_row(concept) for concept in found.concepts],
        "neighbours": [
            {"class_name": concept.class_name, **row} for concept in learnt for row in _rows(concept.neighbours)
        ],
        "concept_neighbours": _rows(found.concept_neighbours),
        "adapters": [_adapter_row(adapter) for adapter in found.adapters],
        "sets": _rows(found.sets),
        **_of_scores(found.scores),
        "sweep": _rows(sweep.rows),
        "best_control": sweep.best_control,
        "sweep_warnings": sweep.warnings,
        "class_ratios": _rows(sweep.class_ratios),
        "contrasts": _rows(sweep.contrasts),
        "sweep_classes": _rows(sweep.classes),
        "sweep_groups": _rows(sweep.groups),
        "arm_costs": _rows(found.arm_costs),
        "failures": failures(found.concepts, found.adapters, sweep),
        "left_out": left_out(found),
        "timings": _rows(found.timings),
    }
    not_finite: list[str] = []
    summary = _strict(summary, "", not_finite)
    summary["failures"] += [
        {"stage": "report", "class_name": "", "reason": f"{place} is not a finite number"} for place in not_finite
    ]
    return summary


_PUBLISHED_NAMES = {"num_images": "num_pictures", "floor_num_images": "floor_num_pictures", "image": "picture"}
"""Fields whose key in summary.json is older than their name: programs that read the file rely on it."""


def _rows(records: Sequence[Any]) -> list[dict[str, Any]]:
    return [published(dataclasses.asdict(record)) for record in records]


def published(value: Any) -> Any:
    """A record, or anything made of records, with the names that `summary.json` gives its fields."""
    if isinstance(value, dict):
        return {_PUBLISHED_NAMES.get(name, name): published(item) for name, item in value.items()}
    return [published(item) for item in value] if isinstance(value, list) else value


def _num_images(census: Census) -> dict[str, int]:
    return {
        split: sum(getattr(count, f"num_{split}") for count in census.counts)
        for split in ("train", "validation", "test")
    }


def _of_scores(scores: Scores) -> dict[str, Any]:
    """The records of scoring under their own names; only the notes are told apart from those of others."""
    found = published(dataclasses.asdict(scores))
    return {"scoring_notes": found.pop("notes"), **found}


def _quoted_settings(experiment: Experiment) -> dict[str, Any]:
    return {
        "data_kind": experiment.data.kind,
        "image_size_px": experiment.data.image_size_px,
        "show_pictures": experiment.data.show_images,
        "selection_rule": experiment.selection.rule,
        "classifier_mode": experiment.classifier.mode,
        "num_epochs": experiment.classifier.num_epochs,
        "num_inference_steps": experiment.sampling.num_inference_steps,
        "guidance_scale": experiment.sampling.guidance_scale,
        "num_permutations": experiment.scoring.num_permutations,
        "num_floor_splits": experiment.scoring.num_floor_splits,
        "num_neighbours": experiment.scoring.num_neighbours,
        "num_bootstrap": experiment.sweep.num_bootstrap,
        "max_rest_drop": experiment.sweep.max_rest_drop,
    }


def _models(experiment: Experiment, classifier: ClassifierReport, learnt: list[Concept]) -> dict[str, str]:
    return {
        "base": experiment.base.path,
        "base_revision": experiment.base.revision,
        "base_sha256": learnt[0].base_sha256 if learnt else "",
        "backbone": classifier.backbone,
        "backbone_sha256": classifier.weights_sha256,
    }


def _concept_row(concept: Concept) -> dict[str, Any]:
    kept = (
        "class_name",
        "token",
        "num_vectors",
        "initializer_token",
        "num_images",
        "num_steps",
        "best_step",
    )
    return published({name: getattr(concept, name) for name in kept}) | {
        **_losses(concept.loss_curve, concept.best_step),
        "embeddings_sha256": concept.embeddings_sha256,
        "seconds": concept.seconds,
        "error": concept.error,
    }


def _adapter_row(adapter: Adapter) -> dict[str, Any]:
    kept = ("class_name", "rank", "num_parameters", "num_images", "num_steps", "best_step")
    return published({name: getattr(adapter, name) for name in kept}) | {
        **_losses(adapter.loss_curve, adapter.best_step),
        "weights_sha256": adapter.weights_sha256,
        "seconds": adapter.seconds,
        "error": adapter.error,
    }


def _losses(curve: Sequence[LossPoint], best_step: int) -> dict[str, float | None]:
    return {
        "first_loss": curve[0].loss if curve else None,
        "best_loss": next((point.loss for point in curve if point.step == best_step), None),
    }


def _primary_contrast(sweep: SweepTable) -> str:
    asked = f"Primary contrast, stated before the run: {sweep.primary_contrast}"
    found = next((contrast for contrast in sweep.contrasts if contrast.primary), None)
    if found is None:
        return f"{asked} It was not measured."
    tried = "" if sweep.recommended_ratio else ", the best on validation, tried to check the refusal"
    return (
        f"{asked} At ratio {found.ratio:g}{tried}: {signed(found.difference)}, 95 % interval "
        f"{signed(found.low)} to {signed(found.high)}, one-sided p {p_value(found.p)}."
    )


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
