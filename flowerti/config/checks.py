"""How settings are checked when they are built: by range, and by the kinds that their annotations allow.

This module knows no setting.
"""

import dataclasses
import math
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints


def require(condition: bool, field_name: str, problem: str) -> None:
    """Refuse a setting by the name of its field."""
    if not condition:
        raise ValueError(f"{field_name} {problem}")


def check_kinds(config: Any, prefix: str) -> None:
    """Refuse a value that its annotation does not allow, whether it came from Python, a file or the command line.

    Whole numbers become floats where floats belong, and lists tuples, so that equal settings hash to equal keys.
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
