"""Rows from outside: functions that add rows to tables, called once in the run and in each of its workers.

A plugin, "module:register...", is a function without arguments; the run's config names it, so that a resumed run and
every worker have the same rows. This module does not know what the rows are.
"""

import importlib
import os
from collections.abc import Callable, Iterable

_VARIABLE = "FLOWERTI_PLUGINS"
"""Environment variable by which workers learn the plugins of the run; read when a table is first asked."""
_PREFIX = "register"
"""What the names of plugins begin with."""

_loaded: set[str] = set()


def load_plugins(plugins: Iterable[str]) -> None:
    """Call each plugin once in this process, and name it to the processes that this one starts.

    Raises:
        ValueError: a plugin is not of the form module:function, or cannot be imported; names it.
    """
    load_plugins_of_environment()
    names = list(plugins)
    for name in names:
        _load(name)
    # last: a name that was refused must not reach the processes that this one starts
    os.environ[_VARIABLE] = ",".join(dict.fromkeys([*_of_environment(), *names]))


def plugins_environment() -> dict[str, str]:
    """The environment variable that tells workers on other machines of the plugins; empty where there are none."""
    return {_VARIABLE: os.environ[_VARIABLE]} if _of_environment() else {}


def load_plugins_of_environment() -> None:
    """Call the plugins that the environment names and that were not called yet."""
    for name in _of_environment():
        _load(name)


def _load(name: str) -> None:
    if name in _loaded:
        return
    _loaded.add(name)  # first: a plugin asks tables itself
    try:
        _function(name)()
    except BaseException:
        _loaded.discard(name)
        raise


def _of_environment() -> list[str]:
    return [name for name in os.environ.get(_VARIABLE, "").split(",") if name]


def _function(name: str) -> Callable[[], object]:
    module, _, function = name.partition(":")
    if not function.startswith(_PREFIX):
        # a config may come with somebody's run directory: it cannot have just any function called
        raise ValueError(
            f"plugins names {name!r}: the function's name must begin with {_PREFIX!r}, as module:{_PREFIX}"
        )
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"plugins names {name!r}, which cannot be loaded ({error}): name a module and a function in it, as "
            "module:register"
        ) from error
