"""From the artifacts of a run to `summary.json`: what the report says, for programs.

Every failure and gap is named (`gaps`), every number is strict JSON. This module knows nothing about how a number was
computed, about the run directory or about the page.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from flowerti.artifacts.records import ClassCount, ClassifierReport, Learned, LossPoint, SweepTable
from flowerti.config.experiment import Experiment
from flowerti.config.techniques import techniques_for
from flowerti.report.findings import Findings
from flowerti.report.formats import p_value, signed
from flowerti.report.gaps import failures, left_out
from flowerti.report.summary_record import FORMAT, Summary, published
from flowerti.report.summary_rows import (
    AdapterRow,
    BaseRow,
    ClassifierScores,
    ConceptRow,
    LearnedRow,
    MetricRow,
    Models,
    NamedRow,
    NeighbourRow,
    QuotedSettings,
    SourceRow,
    SplitCounts,
)
from flowerti.scoring.metric_table import METRICS
from flowerti.tables.sources import SOURCES, judged_source


def build_summary(found: Findings) -> dict[str, Any]:
    """Gather a run in the shape of `summary.schema.json`, as strict JSON values.

    A number that is not finite becomes None and is named under `failures`, so that one bad cell
    neither hides nor takes the rest of the study down.
    """
    not_finite: list[str] = []
    summary = _strict(published(dataclasses.asdict(_record(found))), "", not_finite)
    summary["failures"] += [
        {"stage": "report", "class_name": "", "reason": f"{place} is not a finite number"} for place in not_finite
    ]
    return summary


def _record(found: Findings) -> Summary:
    experiment, sweep, scores = found.experiment, found.sweep, found.scores
    of_scores = {f.name: getattr(scores, f.name) for f in dataclasses.fields(scores) if f.name != "notes"}
    return Summary(
        format=FORMAT,
        preset=experiment.name,
        seed=experiment.seed,
        versions=found.versions,
        data_fingerprint=found.census.fingerprint,
        num_images=_num_images(found.census.counts),
        unreadable=found.census.unreadable,
        duplicates=found.census.duplicates,
        settings=_quoted_settings(experiment),
        models=_models(experiment, found.classifier, found.first_learned),
        base=_base(found),
        classifier=ClassifierScores(accuracy=found.classifier.accuracy, macro_f1=found.classifier.macro_f1),
        recommended_ratio=sweep.recommended_ratio,
        recommendation=sweep.recommendation,
        primary_contrast=_primary_contrast(sweep),
        verdict=sweep.verdict,
        test_openings=found.test_openings,
        plan_changes=found.plan_changes,
        selected=found.selection.selected,
        by_evidence=found.selection.by_evidence,
        passed_over=found.selection.passed_over,
        **_named(found),
        **_of_learned(found.first_learned),
        concept_neighbours=found.concept_neighbours,
        sets=found.sets,
        **of_scores,
        scoring_notes=scores.notes,
        filters=found.curation.rows if found.curation else [],
        filter_judges=found.curation.judges if found.curation else [],
        **_of_sweep(sweep),
        arm_costs=found.arm_costs,
        ceiling=found.ceiling,
        worth=found.worth,
        failures=failures(found.learned, sweep),
        left_out=left_out(found),
        timings=found.timings,
    )


def _of_sweep(sweep: SweepTable) -> dict[str, Any]:
    """The sweep's rows and what they rest on; what to do with them stands apart."""
    return {
        "sweep": sweep.rows,
        "judged_arm": sweep.judged_arm,
        "best_control": sweep.best_control,
        "sweep_warnings": sweep.warnings,
        "class_ratios": sweep.class_ratios,
        "contrasts": sweep.contrasts,
        "learning_rate_factors": sweep.learning_rate_factors,
        "replication": sweep.replication,
        "sweep_classes": sweep.classes,
        "sweep_groups": sweep.groups,
    }


def _named(found: Findings) -> dict[str, Any]:
    """The rows of the tables that this run used, so that the page needs no table to name them."""
    sources = [SOURCES[name] for name in found.experiment.sampling.sources]
    measured = {distance.metric for distance in found.scores.distances}
    return {
        "sources": [
            SourceRow(name=s.name, label=s.label, colour=s.colour, technique=s.technique, is_judged=s.is_judged)
            for s in sources
        ],
        "techniques": [NamedRow(name=t.name, label=t.label) for t in techniques_for(found.experiment.sampling.sources)],
        "arms": found.sweep.arms,
        "metrics": [MetricRow(name=m.name, label=m.label, kind=m.kind) for m in METRICS if m.name in measured],
    }


def _num_images(counts: Sequence[ClassCount]) -> SplitCounts:
    return SplitCounts(
        train=sum(count.num_train for count in counts),
        validation=sum(count.num_validation for count in counts),
        test=sum(count.num_test for count in counts),
    )


def _base(found: Findings) -> BaseRow:
    seen = found.seen
    return BaseRow(
        path=found.experiment.base.path,
        sha256=found.base_sha256,
        training_images_sha256=seen.fingerprint if seen else "",
        drawn=seen.drawn if seen else "",
        seen_in_training=_num_images(seen.counts) if seen else None,
        seen_classes=seen.counts if seen else [],
    )


def _quoted_settings(experiment: Experiment) -> QuotedSettings:
    return QuotedSettings(
        data_kind=experiment.data.kind,
        image_size_px=experiment.data.image_size_px,
        show_images=experiment.data.show_images,
        selection_rule=experiment.selection.rule,
        classifier_mode=experiment.classifier.mode,
        num_epochs=experiment.classifier.num_epochs,
        num_inference_steps=experiment.sampling.num_inference_steps,
        guidance_scale=experiment.sampling.guidance_scale,
        num_permutations=experiment.scoring.num_permutations,
        num_floor_splits=experiment.scoring.num_floor_splits,
        num_neighbours=experiment.scoring.num_neighbours,
        num_bootstrap=experiment.sweep.num_bootstrap,
        max_rest_drop=experiment.sweep.max_rest_drop,
    )


def _models(experiment: Experiment, classifier: ClassifierReport, learned: Sequence[Learned]) -> Models:
    return Models(
        base=experiment.base.path,
        base_revision=experiment.base.revision,
        base_sha256=next((one.base_sha256 for one in learned if not one.error), ""),
        backbone=classifier.backbone,
        backbone_sha256=classifier.weights_sha256,
    )


def _of_learned(learned: Sequence[Learned]) -> dict[str, Any]:
    """All that was learnt; and once more the tokens that the sweep judges, and everything beside them."""
    judged = SOURCES[judged_source()].technique
    tokens = [one for one in learned if one.technique == judged]
    return {
        "learned": [_learned_row(one) for one in learned],
        "concepts": [_concept_row(one) for one in tokens],
        "adapters": [_adapter_row(one) for one in learned if one.technique != judged],
        "neighbours": [
            NeighbourRow(class_name=one.class_name, vector=n.vector, token=n.token, cosine=n.cosine)
            for one in tokens
            for n in one.neighbours
        ],
    }


def _learned_row(one: Learned) -> LearnedRow:
    return LearnedRow(
        **_common(one),
        technique=one.technique,
        token=one.token,
        num_vectors=one.num_vectors,
        num_parameters=one.num_parameters,
        files=one.files,
        details=one.details,
    )


def _concept_row(one: Learned) -> ConceptRow:
    return ConceptRow(
        **_common(one),
        token=one.token,
        num_vectors=one.num_vectors,
        initializer_token=str(one.details.get("initializer_token", "")),
        embeddings_sha256=next(iter(one.files.values()), ""),
    )


def _adapter_row(one: Learned) -> AdapterRow:
    return AdapterRow(
        **_common(one),
        rank=int(one.details.get("rank", 0)),
        num_parameters=one.num_parameters,
        weights_sha256=next(iter(one.files.values()), ""),
    )


def _common(one: Learned) -> dict[str, Any]:
    return {
        "class_name": one.class_name,
        "num_images": one.num_images,
        "num_steps": one.num_steps,
        "best_step": one.best_step,
        **_losses(one.loss_curve, one.best_step),
        "seconds": one.seconds,
        "error": one.error,
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
    level = next((arm.level for arm in sweep.arms if arm.name == found.arm), "ratio")
    tried = "" if sweep.recommended_ratio else ", the best on validation, tried to check the refusal"
    return (
        f"{asked} At {level} {found.ratio:g}{tried}: {signed(found.difference)}, 95 % interval "
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
