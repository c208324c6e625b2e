"""Plans and openings: nothing is added twice, changes and late plans are told, and what was removed is seen."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from flowerti.artifacts import locked_protocol
from flowerti.artifacts.locked_protocol import count_openings, open_test, read_protocol, require_intent, state_intent
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.sweep import SweepIntent

DATA = "f" * 64
PLAN = SweepIntent(
    primary_contrast="token minus real",
    arms=["real", "token"],
    ratios=[1.0, 2.0],
    replication={"num_seeds": 3},
    run_seed=0,
    weak_classes=["rose"],
    rule="a rule",
    alpha=0.05,
    max_rest_drop=0.01,
    num_trials_validation=9,
    settings={"num_bootstrap": 100, "replace_probabilities": (0.5,)},
    data_fingerprint=DATA,
    base_sha256="b" * 64,
    version="1",
)


def plan(**changed: object) -> SweepIntent:
    return dataclasses.replace(PLAN, **changed)


def open_once(run: RunDirectory, key: str, is_made: bool = False, data: str = DATA) -> None:
    open_test(run, "scores/test.json", key, data, is_made)


def test_a_plan_is_written_once_and_an_unchanged_one_adds_nothing(run: RunDirectory):
    assert state_intent(run, PLAN) == []
    files = run.names("")
    assert files == run.names("sweep/intent")
    assert state_intent(run, dataclasses.replace(PLAN)) == []
    assert run.names("") == files
    (entry,) = read_protocol(run).intents
    assert entry.record.is_before_first_opening
    assert entry.record.plan.settings == {"num_bootstrap": 100, "replace_probabilities": [0.5]}
    counted = count_openings(run)
    assert (counted.own, counted.siblings, counted.before_intent, counted.intent) == (0, 0, 0, entry.sha256)


def test_a_changed_plan_is_appended_with_what_differs_and_when(run: RunDirectory):
    state_intent(run, PLAN)
    ratios = plan(ratios=[4.0])
    assert state_intent(run, ratios) == ["ratios"]
    open_once(run, "trials")
    open_once(run, "scores")
    later = dataclasses.replace(ratios, settings=PLAN.settings | {"num_bootstrap": 200, "new": 1}, alpha=0.1)
    assert state_intent(run, later) == ["alpha", "settings.num_bootstrap", "settings.new"]
    changes = read_protocol(run).plan_changes
    assert [(c.num_openings_before, c.changed) for c in changes] == [
        (0, ["ratios"]),
        (2, ["alpha", "settings.num_bootstrap", "settings.new"]),
    ]
    assert [e.record.is_before_first_opening for e in read_protocol(run).intents] == [True, True, False]
    counted = count_openings(run)
    assert (counted.own, counted.before_intent, counted.intent) == (2, 2, changes[-1].intent)


def test_going_back_to_an_earlier_plan_is_a_change_too(run: RunDirectory):
    for one in (PLAN, plan(alpha=0.1), PLAN):
        state_intent(run, one)
    assert [change.changed for change in read_protocol(run).plan_changes] == [["alpha"], ["alpha"]]


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(SweepIntent)])
def test_every_field_of_the_plan_changes_its_hash(run: RunDirectory, name: str):
    value = getattr(PLAN, name)
    other = {"x": 1} if isinstance(value, dict) else [] if isinstance(value, list) else type(value)(7)
    state_intent(run, PLAN)
    assert state_intent(run, plan(**{name: other}))[0].partition(".")[0] == name
    first, second = read_protocol(run).intents
    assert first.sha256 != second.sha256


def test_the_same_key_again_is_no_new_opening_and_a_resumed_one_is_not_counted(run: RunDirectory):
    state_intent(run, PLAN)
    open_once(run, "a")
    open_once(run, "a", is_made=True)
    assert count_openings(run).own == 1 == len(run.names("test_openings"))
    # a crash came between the opening and the artifact
    open_once(run, "a")
    assert [entry.record.resumed for entry in read_protocol(run).openings] == [False, True]
    assert count_openings(run).own == 1
    open_once(run, "b")
    assert count_openings(run).own == 2
    assert {entry.record.intent for entry in read_protocol(run).openings} == {count_openings(run).intent}


def test_an_artifact_that_no_opening_tells_of_is_counted_although_it_is_made(run: RunDirectory):
    state_intent(run, PLAN)
    open_once(run, "a", is_made=True)
    assert count_openings(run).own == 1


def test_openings_of_other_data_are_not_counted(run: RunDirectory):
    state_intent(run, PLAN)
    open_once(run, "a")
    changed = "e" * 64
    assert state_intent(run, plan(data_fingerprint=changed)) == ["data_fingerprint"]
    assert (count_openings(run).own, count_openings(run).before_intent) == (0, 0)
    open_once(run, "a", data=changed)
    assert count_openings(run).own == 1


@pytest.mark.parametrize("file", ["scores/test.json", "sweep/trials/test.real.0.0.json"])
def test_a_plan_in_a_run_with_numbers_on_test_that_nothing_tells_of_comes_late(run: RunDirectory, file: str):
    run.write_bytes(file, b"{}")
    state_intent(run, PLAN)
    (entry,) = read_protocol(run).intents
    assert not entry.record.is_before_first_opening
    assert count_openings(run).before_intent == 1


def test_validation_alone_opens_nothing(run: RunDirectory):
    for file in ("scores/validation.json", "sweep/trials/validation.real.0.0.json"):
        run.write_bytes(file, b"{}")
    state_intent(run, PLAN)
    assert count_openings(run).before_intent == 0


def test_without_a_plan_the_test_split_stays_shut(run: RunDirectory):
    for opens in (require_intent, count_openings, lambda run: open_once(run, "a")):
        with pytest.raises(ValueError, match="holds no plan: the test split is opened only after it is written"):
            opens(run)
    assert run.names("") == []


def sibling(folder: Path, *keys: str, data: str = DATA) -> None:
    run = RunDirectory(str(folder))
    state_intent(run, plan(data_fingerprint=data))
    for key in keys:
        open_once(run, key, data=data)


def test_sibling_runs_of_the_same_data_are_counted_by_what_they_tried(tmp_path: Path):
    sibling(tmp_path / "a", "1", "2")
    sibling(tmp_path / "b", "2", "3")
    sibling(tmp_path / "c", "4", data="e" * 64)
    run = RunDirectory(str(tmp_path / "own"))
    state_intent(run, PLAN)
    counted = count_openings(run)
    assert (counted.own, counted.siblings, counted.before_intent) == (0, 3, 3)
    open_once(run, "2")
    assert (count_openings(run).own, count_openings(run).siblings) == (1, 2), "the same inputs are no new opening"
    shutil.copytree(tmp_path / "own", tmp_path / "copy of own")
    assert count_openings(run).siblings == 2
    (entry,) = read_protocol(run).intents
    assert (entry.record.num_openings_before, entry.record.num_sibling_openings_before) == (0, 3)
    assert not entry.record.is_before_first_opening


def test_siblings_that_cannot_be_listed_are_unknown_and_not_none_at_all(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(locked_protocol, "sibling_records", lambda *_: None)
    state_intent(run, PLAN)
    assert count_openings(run).siblings is None
    assert read_protocol(run).intents[0].record.num_sibling_openings_before is None


def removed_at_the_end(run: RunDirectory, folder: str) -> None:
    """What the chain of one log cannot tell by itself."""
    run.delete(run.names(folder)[-1])


def test_a_removed_end_of_either_log_is_seen_in_the_other(run: RunDirectory):
    state_intent(run, PLAN)
    open_once(run, "a")
    state_intent(run, plan(alpha=0.1))
    last = run.names("test_openings")[-1]
    content = run.read_bytes(last)
    removed_at_the_end(run, "test_openings")
    with pytest.raises(ValueError, match=r"^sweep/intent: an entry was removed from .*/test_openings: restore it"):
        count_openings(run)
    run.write_bytes(last, content)
    open_once(run, "b")
    removed_at_the_end(run, "sweep/intent")
    with pytest.raises(ValueError, match=r"^test_openings: an entry was removed from .*/sweep/intent: restore it"):
        state_intent(run, PLAN)


def test_no_clock_and_no_place_enters_the_hash_of_a_plan(tmp_path: Path):
    hashes = set()
    for name in ("one", "two"):
        run = RunDirectory(str(tmp_path / name / "run"))
        state_intent(run, PLAN)
        hashes.add(count_openings(run).intent)
    assert len(hashes) == 1
