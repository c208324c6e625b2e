"""The JSON schema of `summary.json`, generated from the class `Summary` and the records in it.

`python -m flowerti.report.schema_from_records` writes the file again; a test says when it is stale. Types come from the
annotations, descriptions from the docstrings, ranges from the tables below. This module reads no run.
"""

import ast
import dataclasses
import inspect
import json
import textwrap
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from flowerti.report.summary_record import FORMAT, PUBLISHED_NAMES, Summary

SCHEMA_FILE = Path(__file__).parents[1] / "summary.schema.json"
_SHARE = {"minimum": 0, "maximum": 1}
_RANGES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("accuracy", "balanced_accuracy", "precision", "share", "f1_validation", "p_value", "p"), _SHARE),
    **dict.fromkeys(("weak_gain_p", "content_gain_p", "gain_p", "holm_p"), _SHARE),
    **{f"{name}{end}": _SHARE for name in ("f1", "weak_f1", "macro_f1", "recall") for end in ("", "_low", "_high")},
    "rest_f1": _SHARE,
    "cosine": {"minimum": -1.001, "maximum": 1.001},
}
"""Ranges of numbers by their field, wherever it stands."""
_NEVER_NULL = ("ratio", "against_ratio", "recommended_ratio", "hours")
"""Numbers of at least 0 that are always known."""
_CHOICES = {
    "reference": ["validation", "test"],
    "split": ["validation", "test"],
    "first_split": ["train", "validation", "test"],
    "second_split": ["train", "validation", "test"],
    "verdict": ["token", "better_name_is_enough", "class_name_is_enough", "undecided"],
    "group": ["many", "medium", "few"],
    "unit": ["GPU-hour", "CPU-hour"],
}
_NEVER_EMPTY = (
    "arm", "against_arm", "closer", "data_fingerprint", "extractor", "metric", "primary_contrast", "recommendation",
    "source", "stage", "than",
)  # fmt: skip
_OF_ONE_FIELD = {
    "Summary.format": {"const": FORMAT},
    "Summary.duplicates": {"items": {"type": "array", "items": {"type": "string"}, "minItems": 2}},
    "MatrixRow.rank": {"minimum": 1},
    "Arm.source": {"minLength": 0},
}


def summary_schema() -> dict[str, Any]:
    """The schema of the file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "summary.json of a flowerti run",
        **_object(Summary),
    }


def _object(kind: type) -> dict[str, Any]:
    hints, notes = get_type_hints(kind), _field_docstrings(kind)
    properties = {}
    for field in dataclasses.fields(kind):
        schema = _value(field.name, hints[field.name]) | _OF_ONE_FIELD.get(f"{kind.__name__}.{field.name}", {})
        if field.name in notes:
            schema = {"description": notes[field.name], **schema}
        properties[PUBLISHED_NAMES.get(field.name, field.name)] = schema
    return {
        "description": (inspect.getdoc(kind) or "").splitlines()[0],
        "type": "object",
        "required": list(properties),
        # what later versions add is let through
        "properties": properties,
    }


def _value(name: str, hint: Any) -> dict[str, Any]:
    """The schema of a field by its name and type."""
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return _object(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (list, tuple):
        return {"type": "array", "items": _value(name, arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _value("", arguments[1])}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        (known,) = (_value(name, argument) for argument in arguments if argument is not type(None))
        return _or_null(known)
    return _plain(name, hint)


def _plain(name: str, hint: Any) -> dict[str, Any]:
    if hint is Any:
        return {}
    if hint is bool:
        return {"type": "boolean"}
    if hint is str:
        choices, length = _CHOICES.get(name), {"minLength": 1} if name in _NEVER_EMPTY else {}
        return {"enum": choices} if choices else {"type": "string", **length}
    if hint is int:
        return {"type": "integer", "minimum": 0}
    assert hint is float, f"{name}: no schema for {hint}"
    if name in _NEVER_NULL:
        return {"type": "number", "minimum": 0}
    # a number that is not finite becomes null
    return {"type": ["number", "null"], **_RANGES.get(name, {})}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if kind is None:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema if "null" in kind else {**schema, "type": [kind, "null"]}


def _field_docstrings(kind: type) -> dict[str, str]:
    """The strings under the fields of a dataclass, on one line each."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(node, ast.ClassDef)
    notes = {}
    for statement, following in zip(node.body, node.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
            text = ast.literal_eval(following.value)
            notes[ast.unparse(statement.target)] = " ".join(text.split())
    return notes


def schema_text() -> str:
    """The content of the schema's file."""
    return json.dumps(summary_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
