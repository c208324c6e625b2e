"""From a folder and a base to a complete experiment, and what a person should know about how it was chosen.

This module does not know the rules, and starts nothing.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowerti.choosing.facts import FEW, Facts, gather
from flowerti.choosing.rules import Choice, choose
from flowerti.config.experiment import Experiment, from_values
from flowerti.data.listing_notes import counted

_MAX_NAMED = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnRun:
    """An experiment on somebody's own images."""

    experiment: Experiment
    choices: tuple[Choice, ...]
    notes: tuple[str, ...]
    """What cannot be weak, or is left out."""


def choose_run(folder: str, base: str, plugins: tuple[str, ...] = ()) -> OwnRun:
    """Choose all settings.

    Args:
        folder: of images or Parquet files, or a table of paths.
        base: as `base.path`.
        plugins: as in the config.

    Raises:
        ValueError: the folder or the base cannot be used; names it and says what to do.
    """
    facts = gather(folder, base)
    choices = choose(facts)
    values: dict[str, Any] = {"name": run_name(folder), "plugins": plugins}
    for choice in choices:
        *tables, name = choice.field.split(".")
        inner = values
        for table in tables:
            inner = inner.setdefault(table, {})
        inner[name] = choice.value
    return OwnRun(experiment=from_values(values), choices=tuple(choices), notes=tuple(_notes(facts)))


def run_name(folder: str) -> str:
    """The name of a run on a folder: the folder's own, with what no file's name should have replaced."""
    path = Path(folder).expanduser().resolve()
    words = re.sub(r"[^\w.-]+", "-", path.stem if path.is_file() else path.name).strip("-.")
    return words or "images"


def chosen_lines(own: OwnRun, experiment: Experiment) -> list[str]:
    """A line for each choice that options did not change, and the notes.

    Args:
        own: what was chosen.
        experiment: the same after the options.
    """
    kept = [choice for choice in own.choices if value_of(experiment, choice.field) == choice.value]
    return [*(f"chosen: {choice.option} {shown(choice.value)} ({choice.why})" for choice in kept), *own.notes]


def value_of(experiment: Experiment, field: str) -> Any:
    """A setting by its place in the config."""
    found: Any = experiment
    for name in field.split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    return found


def shown(value: Any) -> str:
    """A value as on the command line."""
    if isinstance(value, tuple):
        return " ".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else shlex.quote(str(value))


def _notes(facts: Facts) -> list[str]:
    cut = facts.cut
    weak = {count.class_name for count in cut.weak}
    others = [count for count in cut.counts if count.class_name not in weak]
    if not others:
        return []
    named = ", ".join(
        f"{one.class_name} ({one.num_train} + {one.num_validation} + {one.num_test})" for one in others[:_MAX_NAMED]
    )
    more = f" and {len(others) - _MAX_NAMED} more" if len(others) > _MAX_NAMED else ""
    cause = f", which takes {FEW} images" if cut.is_made else ""
    return [
        f"cannot be weak: {counted(len(others), 'class').replace('classs', 'classes')} with too few images held out"
        f"{cause} (training + validation + test): {named}{more}; they are told apart like all others"
    ]


def toml_text(own: OwnRun) -> str:
    """The choices as a commented config file.

    Every setting that is not named has its default.
    """
    lines = [
        "# Settings of a run, chosen from the images, the base and this machine: flowerti run --config THIS_FILE",
        "# What is not named here has its default; `flowerti run --help-all` says what there is.",
        *(f"# {note}" for note in own.notes),
        "",
        f"name = {_toml(own.experiment.name)}",
    ]
    if own.experiment.plugins:
        lines.append(f"plugins = {_toml(own.experiment.plugins)}")
    tables: dict[str, list[Choice]] = {}
    for choice in own.choices:
        tables.setdefault(choice.field.rpartition(".")[0], []).append(choice)
    for table, choices in tables.items():
        lines += ["", f"[{table}]"]
        for choice in choices:
            lines += [f"# {choice.why}", f"{choice.field.rpartition('.')[2]} = {_toml(choice.value)}"]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        escaped = "".join(_escaped(sign) for sign in value)
        return f'"{escaped}"'
    return repr(value)


def _escaped(sign: str) -> str:
    if sign in '"\\':
        return f"\\{sign}"
    return sign if sign.isprintable() else f"\\U{ord(sign):08x}"


def is_same_data(experiment: Experiment, folder: str) -> bool:
    """Whether a run was started on this folder."""
    root = experiment.data.root
    return bool(root) and Path(root).expanduser().resolve() == Path(folder).expanduser().resolve()
