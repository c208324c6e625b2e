"""The modules of settings as users import them, and experiments with single values replaced."""

import dataclasses
import importlib.util
import sys
from types import ModuleType
from typing import Any

from flowerti.config import experiment as hooked
from flowerti.config.presets import PRESETS

PARTS = (
    "base", "ceiling", "classifier", "cluster", "data", "schedule", "prior", "lora", "cross_attention", "dreambooth",
    "text_lora", "shared_lora", "textual_inversion", "techniques", "sampling", "filters", "replication", "scoring",
    "sweep",
)  # fmt: skip
"""Modules of settings, each before those that import it."""


def as_users_import_it() -> ModuleType:
    """The module without the type checks that tests add to it, which would refuse wrong types before it can."""
    parts = {name: sys.modules[name] for part in PARTS if (name := f"flowerti.config.{part}")}
    try:
        for name, part in parts.items():
            sys.modules[name] = without_checks(name, str(part.__file__))
        return without_checks("flowerti.config.experiment", hooked.__file__)
    finally:
        sys.modules |= parts


def without_checks(name: str, file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_of_users".replace(".", "_"), file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


config = as_users_import_it()
from_json, to_json, Experiment, SelectionConfig = (
    config.from_json,
    config.to_json,
    config.Experiment,
    config.SelectionConfig,
)


def demo() -> Any:
    return from_json(to_json(PRESETS["demo"]()))


STAGES = [f.name for f in dataclasses.fields(Experiment) if dataclasses.is_dataclass(f.type)]


def all_fields() -> dict[str, dataclasses.Field]:
    return fields_of(demo(), "")


def fields_of(part: Any, prefix: str) -> dict[str, dataclasses.Field]:
    found = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        name = f"{prefix}{field.name}"
        if field.name == "techniques":
            for technique, config in value.items():
                found |= fields_of(config, f"{technique}.")
            continue
        found |= fields_of(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: field}
    return found


def with_value(name: str, value: Any) -> Any:
    return replaced(demo(), name.split("."), value)


def replaced(part: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    if rest and name in getattr(part, "techniques", {}):
        config = replaced(part.techniques[name], rest, value)
        return dataclasses.replace(part, techniques=part.techniques | {name: config})
    return dataclasses.replace(part, **{name: replaced(getattr(part, name), rest, value) if rest else value})
