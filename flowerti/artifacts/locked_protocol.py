"""The locked protocol of a run: its plans as they were written, and every time that the test split was opened.

Two append-only logs that name each other. A plan is added before the first trial, and again whenever it differs from
the last one; an opening is added before test labels or test images are used to make a number from inputs that had not
been tried. No clock is read: what came first is told by the logs. This module does not know how a number is made.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from flowerti.artifacts import layout
from flowerti.artifacts.append_only import Entry, append_to_log, read_log
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.siblings import sibling_records
from flowerti.artifacts.sweep import SweepIntent


@dataclass(frozen=True, kw_only=True, slots=True)
class StatedIntent:
    """A plan, and what of the test split had been seen when it was written."""

    plan: SweepIntent
    num_openings_before: int
    """Openings in this run before; 1 where the run held numbers on test that no opening was recorded for."""
    num_sibling_openings_before: int | None
    """The same in sibling runs of the same data; None where they were not counted."""
    is_before_first_opening: bool
    """Whether no opening was known."""
    last_opening: str
    """Hash of the last entry in the log of openings; empty for none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """One time that the test split was opened."""

    artifact: str
    """The file or folder of the run directory that was to be made."""
    key: str
    """Of all inputs of that artifact."""
    intent: str
    """Hash of the plan in force."""
    data_fingerprint: str
    resumed: bool
    """Whether the same had been opened before and its artifact was not (or no longer) there: it is not counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TestOpenings:
    """How often the test split of this data was opened to make a number from inputs not tried before."""

    __test__: ClassVar[bool] = False  # pytest would take a class of this name for tests

    own: int
    """In this run; a run that goes through once opens it twice, for the final trials and for the second scoring."""
    siblings: int | None
    """With other inputs, in the runs beside this one in its parent folder; null where they were not counted."""
    before_intent: int
    """In this run and its siblings before the present plan was written; 0 is as it should be."""
    intent: str
    """Hash of the present plan, an entry of sweep/intent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanChange:
    """A plan that differs from the one before it."""

    intent: str
    """Its hash."""
    num_openings_before: int
    """Test openings before it was written, in this run and its siblings."""
    changed: list[str]
    """The fields that differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedProtocol:
    """Both logs, checked."""

    intents: list[Entry[StatedIntent]]
    openings: list[Entry[Opening]]

    @property
    def plan_changes(self) -> list[PlanChange]:
        """All changes of the plan, in order."""
        return [
            PlanChange(
                intent=after.sha256,
                num_openings_before=_before(after.record),
                changed=differing_fields(before.record.plan, after.record.plan),
            )
            for before, after in zip(self.intents, self.intents[1:], strict=False)
        ]


def read_protocol(run: RunDirectory) -> LockedProtocol:
    """Both logs of a run.

    Raises:
        ValueError: an entry was changed or removed; as `append_only.read_log`, or one log names an entry that the other
            lacks.
    """
    intents = read_log(run, layout.SWEEP_INTENTS, StatedIntent)
    openings = read_log(run, layout.TEST_OPENINGS, Opening)
    problem = f"{{}}: an entry was removed from {run.uri}/{{}}: restore it, or choose another run directory"
    if not {entry.record.intent for entry in openings} <= {entry.sha256 for entry in intents}:
        raise ValueError(problem.format(layout.TEST_OPENINGS, layout.SWEEP_INTENTS))
    if not {entry.record.last_opening for entry in intents} <= {"", *(entry.sha256 for entry in openings)}:
        raise ValueError(problem.format(layout.SWEEP_INTENTS, layout.TEST_OPENINGS))
    return LockedProtocol(intents=intents, openings=openings)


def state_intent(run: RunDirectory, plan: SweepIntent) -> list[str]:
    """Write the plan down, unless it is the last one that was written.

    Returns:
        The fields in which it differs from the last one; empty for the first plan, and for an unchanged one.

    Raises:
        ValueError: as `read_protocol`.
    """
    protocol = read_protocol(run)
    changed = differing_fields(protocol.intents[-1].record.plan, plan) if protocol.intents else []
    if changed or not protocol.intents:
        own = len(_keys(protocol.openings, plan.data_fingerprint)) or int(_has_unrecorded(run))
        siblings = _num_in_siblings(run, protocol.openings, plan.data_fingerprint)
        stated = StatedIntent(
            plan=plan,
            num_openings_before=own,
            num_sibling_openings_before=siblings,
            is_before_first_opening=own + (siblings or 0) == 0,
            last_opening=protocol.openings[-1].sha256 if protocol.openings else "",
        )
        append_to_log(run, layout.SWEEP_INTENTS, stated)
    return changed


def require_intent(run: RunDirectory) -> LockedProtocol:
    """The protocol of a run that may open its test split.

    Raises:
        ValueError: no plan was written, or as `read_protocol`.
    """
    protocol = read_protocol(run)
    if not protocol.intents:
        raise ValueError(
            f"{run.uri}/{layout.SWEEP_INTENTS} holds no plan: the test split is opened only after it is written, by "
            "the sweep: run the stages in their order"
        )
    return protocol


def open_test(run: RunDirectory, artifact: str, key: str, data_fingerprint: str, is_made: bool) -> None:
    """Record that the test split is about to be opened; to be called before anything of it is read.

    Args:
        run: where.
        artifact: the file or folder that is made.
        key: hash of all inputs of the artifact: the same key again is no new opening.
        data_fingerprint: of the census.
        is_made: whether the artifact is there, so that nothing need be read.

    Raises:
        ValueError: no plan was written, or as `read_protocol`.
    """
    protocol = require_intent(run)
    is_known = key in _keys(protocol.openings, data_fingerprint)
    if is_known and is_made:
        return
    opening = Opening(
        artifact=artifact,
        key=key,
        intent=protocol.intents[-1].sha256,
        data_fingerprint=data_fingerprint,
        resumed=is_known,
    )
    append_to_log(run, layout.TEST_OPENINGS, opening)


def count_openings(run: RunDirectory) -> TestOpenings:
    """Count the openings of the present plan's data.

    Raises:
        ValueError: as `require_intent`.
    """
    protocol = require_intent(run)
    present = protocol.intents[-1]
    fingerprint = present.record.plan.data_fingerprint
    return TestOpenings(
        own=len(_keys(protocol.openings, fingerprint)),
        siblings=_num_in_siblings(run, protocol.openings, fingerprint),
        before_intent=_before(present.record),
        intent=present.sha256,
    )


def differing_fields(before: SweepIntent, after: SweepIntent) -> list[str]:
    """Names of the fields in which two plans differ; of a dictionary its keys, as in settings.num_bootstrap."""
    first, second = dict(_flat(before)), dict(_flat(after))
    return [name for name in first | second if first.get(name) != second.get(name)]


def _flat(plan: SweepIntent) -> Iterator[tuple[str, Any]]:
    # as JSON has it: a list that was read may have been a tuple
    for name, value in json.loads(json.dumps(dataclasses.asdict(plan))).items():
        if isinstance(value, dict):
            yield from ((f"{name}.{key}", item) for key, item in value.items())
        else:
            yield name, value


def _keys(openings: Sequence[Entry[Opening]], data_fingerprint: str) -> set[str]:
    return {entry.record.key for entry in openings if entry.record.data_fingerprint == data_fingerprint}


def _before(stated: StatedIntent) -> int:
    return stated.num_openings_before + (stated.num_sibling_openings_before or 0)


def _has_unrecorded(run: RunDirectory) -> bool:
    """Whether the run holds numbers on test, as one that was begun by a version without these logs."""
    finals = f"{layout.TRIALS}/test."
    return run.exists(layout.scores("test")) or any(name.startswith(finals) for name in run.names(layout.TRIALS))


def _num_in_siblings(run: RunDirectory, own: Sequence[Entry[Opening]], data_fingerprint: str) -> int | None:
    """Keys that sibling runs opened the same data's test split for, and this run did not; None if unknown."""
    records = sibling_records(run, layout.TEST_OPENINGS)
    if records is None:
        return None
    found = {str(record.get("key")) for record in records if record.get("data_fingerprint") == data_fingerprint}
    return len(found - _keys(own, data_fingerprint))
