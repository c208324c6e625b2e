"""`flowerti check`: a look at images, base and settings before anything is started.

All problems are told at once; the exit code is 2 where there is one. This module does not know what is looked for.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flowerti.boundary import EXIT_CODES_HELP
from flowerti.commands.start import Start, find_start, split
from flowerti.config.experiment import BaseConfig, DataConfig

if TYPE_CHECKING:
    from flowerti.checkup.image_census import ImageCensus
    from flowerti.data.dataset import Dataset

_COMMAND = "flowerti check"
_HELP = f"""usage: flowerti check FOLDER [--base PATH] [--json] [options of flowerti run]
       flowerti check --preset NAME | --config FILE | --run-dir DIR [--json] [options of flowerti run]

Look at images, base and settings without starting anything: classes and splits, sizes, copies and near
duplicates, files that cannot be read, what is left out, what a run would do, and all problems at once.
Without --base only the images are looked at.

  --json    the same as JSON on one line

{EXIT_CODES_HELP}"""


@dataclass(kw_only=True, slots=True)
class _Found:
    census: "ImageCensus | None" = None
    lines: list[str] = field(default_factory=list)
    """What settings were chosen, and what a run would do."""
    problems: list[str] = field(default_factory=list)


def check(arguments: list[str]) -> int:
    """Print what was found; 0 where nothing would keep a run from starting, otherwise 2."""
    if {"-h", "--help"} & set(arguments):
        print(_HELP)
        raise SystemExit(0)
    values, rest = split(arguments, _COMMAND, "--json", "--take-over")
    found = _look(values, rest)
    if values.json:
        print(json.dumps(dataclasses.asdict(found)))
    else:
        _tell(found)
    return 2 if found.problems else 0


def _look(values: argparse.Namespace, rest: Sequence[str]) -> _Found:
    from flowerti.base_files import verify_base
    from flowerti.checkup.image_census import look_at
    from flowerti.checkup.problems import problems_of, tried
    from flowerti.checkup.told import plan_lines

    found = _Found()
    is_bare = bool(values.folder) and not values.base and not any(one.startswith("--base.path") for one in rest)
    # a wrong option is refused as ever; what is wrong with a folder or a base is a problem among others
    start = None if is_bare else _started(found.problems, values, rest)
    data = _data_of(found.problems, values) if start is None else start.experiment.data
    listed = None if data is None else _listed(found.problems, data, start)
    if data is not None and listed is not None and listed.records:
        found.census = look_at(listed, data)
        if start is not None and found.census.unreadable and not data.skip_unreadable:
            unreadable = found.census.unreadable
            found.problems.append(
                f"{len(unreadable)} image(s) cannot be read, such as {unreadable[0]}: replace them, or leave them out "
                "with --data.skip-unreadable"
            )
    if start is not None:
        found.problems += problems_of(start.experiment, start.run, listed)
        found.lines = [*start.lines, *(tried(found.problems, lambda: plan_lines(start.experiment)) or [])]
    elif values.base:
        tried(found.problems, lambda: verify_base(BaseConfig(path=values.base)))
    found.problems = list(dict.fromkeys(found.problems))
    return found


def _started(problems: list[str], values: argparse.Namespace, rest: Sequence[str]) -> Start | None:
    from flowerti.checkup.problems import tried

    if not values.folder:
        return find_start(values, rest, _COMMAND)
    return tried(problems, lambda: find_start(values, rest, _COMMAND))


def _data_of(problems: list[str], values: argparse.Namespace) -> DataConfig | None:
    """How a folder alone would be read."""
    from flowerti.checkup.problems import tried
    from flowerti.choosing.folder_kind import kind_of

    kind = tried(problems, lambda: kind_of(values.folder))
    return None if kind is None else DataConfig(kind=kind, root=values.folder)


def _listed(problems: list[str], data: DataConfig, start: Start | None) -> "Dataset | None":
    """All images; where a class lacks some in a split, that is a problem, and they are listed all the same."""
    from flowerti.checkup.problems import tried
    from flowerti.data.access import list_records

    pooled = tried(problems, lambda: list_records(replace(data, left_out_classes=()), 0, is_pooled=True))
    if pooled is None or start is None:
        return pooled
    experiment = start.experiment
    is_pooled = experiment.imbalance.resplit
    return tried(problems, lambda: list_records(data, experiment.seed, is_pooled=is_pooled)) or pooled


def _tell(found: _Found) -> None:
    from flowerti.checkup.told import census_lines

    for line in census_lines(found.census) if found.census else []:
        print(line)
    for line in found.lines:
        print(line)
    for problem in found.problems:
        print(f"problem: {problem}")
    print("no problems" if not found.problems else f"{len(found.problems)} problem(s)")
