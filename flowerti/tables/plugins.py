"""Plugins: functions that add rows to tables, called once in the run and in each of its workers.

A plugin, "module:function", is a function without arguments; the run's config names it, so that a resumed run and every
worker have the same rows. This module does not know what the rows are.
"""

import importlib
import os
from collections.abc import Callable, Iterable

_VARIABLE = "FLOWERTI_PLUGINS"
"""Environment variable with the plugins of the run, for workers; read on every access to a table."""

_loaded: set[str] = set()


def load_plugins(plugins: Iterable[str]) -> None:
    """Call each plugin once in this process, and export it to child processes through the environment.

    Raises:
        ValueError: a plugin is not of the form module:function, or cannot be imported; names it.
    """
    names = [*_of_environment(), *plugins]
    os.environ[_VARIABLE] = ",".join(dict.fromkeys(names))
    load_plugins_of_environment()


def plugins_environment() -> dict[str, str]:
    """The environment variable with the plugins, for workers on other machines; empty if there are none."""
    return {_VARIABLE: os.environ[_VARIABLE]} if _of_environment() else {}


def load_plugins_of_environment() -> None:
    """Call the plugins that the environment names and that were not called yet."""
    for name in _of_environment():
        if name not in _loaded:
            _loaded.add(name)  # before the call, because a plugin accesses tables itself
            _function(name)()


def _of_environment() -> list[str]:
    return [name for name in os.environ.get(_VARIABLE, "").split(",") if name]


def _function(name: str) -> Callable[[], object]:
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"plugins names {name!r}, which cannot be loaded ({error}): name a module and a function in it, as "
            "module:function"
        ) from error
