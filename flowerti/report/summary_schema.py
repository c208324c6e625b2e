"""Whether a summary keeps to `summary.schema.json`, the contract with programs that read it.

This module knows nothing about where the values come from.
"""

import dataclasses
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema
from jsonschema.exceptions import best_match

from flowerti.report.summary_record import FORMAT
from flowerti.tables.arms import Arm

_ARM_BEFORE = {
    field.name: field.default for field in dataclasses.fields(Arm) if field.default is not dataclasses.MISSING
}


def validate_summary(summary: Mapping[str, Any]) -> None:
    """Check a summary against `summary.schema.json`.

    Raises:
        ValueError: the summary is of another version, a value is not strict JSON, or a key is missing or wrong; names
            the key.
    """
    found = summary.get("format", FORMAT)
    if found != FORMAT:
        raise ValueError(
            f"summary.json: its format is {found!r}, not {FORMAT!r}: it was written by an older version of flowerti "
            "(or by a newer one), run the experiment again"
        )
    try:
        json.dumps(summary, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"summary.json: not strict JSON: {error}") from error
    error = best_match(_validator().iter_errors(summary))
    if error is not None:
        raise ValueError(f"summary.json: {error.json_path}: {error.message}")


def completed(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary with what its format has got since it was written: nothing found, arms as all of them were before."""
    arms = summary.get("arms")
    if isinstance(arms, list) and all(isinstance(arm, dict) for arm in arms):
        summary = {**summary, "arms": [_ARM_BEFORE | arm for arm in arms]}
    return {"filters": [], "filter_judges": [], **summary}


@cache
def _validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(files("flowerti").joinpath("summary.schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)
