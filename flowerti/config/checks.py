"""Validation of settings on construction: ranges, and types according to their annotations.

This module does not know any setting.
"""

import dataclasses
import math
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints


def require(condition: bool, field_name: str, problem: str) -> None:
    """Raise a `ValueError` that begins with the field if the condition does not hold."""
    if not condition:
        raise ValueError(f"{field_name} {problem}")


def check_kinds(config: Any, prefix: str) -> None:
    """Reject a value that does not match its annotation, whether it came from Python, a file or the command line.

    Integers are converted to floats where floats are expected, and lists to tuples, so that equal settings have equal
    hashes.
    """
    kinds = get_type_hints(type(config))
    for item in dataclasses.fields(config):
        value = _of_kind(getattr(config, item.name), kinds[item.name], f"{prefix}{item.name}")
        object.__setattr__(config, item.name, value)


def _of_kind(value: Any, kind: Any, field_name: str) -> Any:
    if get_origin(kind) is Annotated:
        return _of_kind(value, get_args(kind)[0], field_name)
    if get_origin(kind) is dict:
        require(isinstance(value, dict), field_name, "must be a table of names")
        return value
    if get_origin(kind) is tuple:
        require(isinstance(value, tuple | list), field_name, "must be a list")
        return tuple(_of_kind(one, get_args(kind)[0], field_name) for one in value)
    if get_origin(kind) is Literal:
        require(value in get_args(kind), field_name, f"must be one of {', '.join(get_args(kind))}, not {value!r}")
        return value
    if kind is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        require(is_number, field_name, f"must be a finite number, not {value!r}")
        return float(value)
    require(type(value) is kind, field_name, f"must be of type {kind.__name__}, not {value!r}")
    return value
