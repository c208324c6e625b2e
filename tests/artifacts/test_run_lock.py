"""Two runs on one directory: one holds it, the other is told who; the dead hold nothing. On a disk and on a store."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_files import local_files
from object_store import start_store

from flowerti import stopping
from flowerti.artifacts import run_lock
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.run_lock import Owner, TakenOver, claims_in, held, this_process


def silent(_text: str) -> None:
    pass


@pytest.fixture(scope="module")
def store_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("moto", reason="the S3 server is in the dependency group dev")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        store, server = start_store(tmp_path_factory.mktemp("store") / "log")
        yield store.uri("runs/{}")
        server.terminate()
        server.wait()


@pytest.fixture(params=["disk", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> RunDirectory:
    """A run directory that is still missing."""
    if request.param == "disk":
        return RunDirectory(str(tmp_path / "run"))
    return RunDirectory(request.getfixturevalue("store_uri").format(request.node.name))


def somebody(**changes: object) -> Owner:
    """An owner on another machine."""
    owner = dataclasses.replace(this_process(), host="far-away", machine="another", pid=1, is_holder=True)
    return dataclasses.replace(owner, **changes)  # pyright: ignore


def write(run: RunDirectory, owner: Owner) -> str:
    name = f"lock/{owner.token}.json"
    run.write_bytes(name, json.dumps(dataclasses.asdict(owner)).encode())
    return name


def set_age(run: RunDirectory, name: str, age_s: float) -> None:
    then = time.time() - age_s
    os.utime(run.path(name), (then, then))


def test_the_second_is_told_who_holds_it_and_the_first_goes_on(place: RunDirectory):
    with held(place, silent) as lock:
        (name,) = place.names("lock")
        written = json.loads(place.read_bytes(name))
        assert (written["pid"], written["host"]) == (os.getpid(), os.uname().nodename)
        assert written["token"] == lock.owner.token and written["is_holder"]
        with pytest.raises(ValueError, match=f"in use by process {os.getpid()} on {os.uname().nodename}") as caught:
            with held(place, silent):
                pytest.fail("both hold it")
        assert "\n" not in str(caught.value) and "--take-over" in str(caught.value)
        assert place.names("lock") == [name]
        lock.refresh()
        assert lock.lost == ""
    assert place.names("lock") == []


def test_the_next_run_holds_it_after_the_first_has_ended_or_failed(place: RunDirectory):
    for error in (KeyError, KeyboardInterrupt):
        with pytest.raises(error), held(place, silent):
            raise error
        assert place.names("lock") == []
    with held(place, silent):
        assert len(place.names("lock")) == 1


def test_a_run_that_wrote_nothing_leaves_no_folder(tmp_path: Path):
    run = RunDirectory(str(tmp_path / "runs" / "new" / "run"))
    with held(run, silent):
        assert (tmp_path / "runs" / "new" / "run" / "lock").is_dir()
    assert list(tmp_path.iterdir()) == []
    with held(run, silent):
        run.write_bytes("config.json", b"{}")
    assert local_files(tmp_path) == ["runs/new/run/config.json"]


def test_of_many_that_ask_at_once_one_at_a_time_holds_it(tmp_path: Path):
    run, start = RunDirectory(str(tmp_path)), threading.Barrier(6)
    inside, most, outcomes = [0], [0], list[str]()

    def ask() -> None:
        start.wait()
        try:
            with held(run, silent):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.05)
                inside[0] -= 1
            outcomes.append("held")
        except ValueError:
            outcomes.append("refused")

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert len(outcomes) == 6 and "held" in outcomes
    assert local_files(tmp_path) == []


def test_one_that_is_slow_to_ask_does_not_overwrite_the_holder(tmp_path: Path):
    """It saw nobody, slept, and writes when another holds the directory already."""
    run = RunDirectory(str(tmp_path))
    assert claims_in(run) == []
    with held(run, silent) as lock:
        late = somebody(is_holder=False)
        write(run, late)
        lock.refresh()
        assert lock.lost == "", "who only asks takes nothing"


def dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@pytest.mark.parametrize("died", ["its process is gone", "its id is another process's", "a zombie"])
def test_a_dead_process_of_this_machine_holds_nothing(died: str, place: RunDirectory):
    owner = dataclasses.replace(this_process(), is_holder=True)
    zombie = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert zombie.stdout is not None and zombie.stdout.read() == b""  # it has ended, and nobody has asked how
    changed = {
        "its process is gone": {"pid": dead_process()},
        "its id is another process's": {"process_started_s": owner.process_started_s - 3600},
        "a zombie": {"pid": zombie.pid, "process_started_s": time.time()},
    }
    name, heard = write(place, dataclasses.replace(owner, **changed[died])), list[str]()
    with held(place, heard.append):
        assert len(place.names("lock")) == 1 and name not in place.names("lock")
    assert len(heard) == 1 and "taking the run directory over" in heard[0]
    zombie.wait()


def test_an_owner_elsewhere_is_dead_after_the_stated_time(tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    name = write(run, somebody())
    for age_s in (0.0, run_lock.DEAD_AFTER_S - 5):
        set_age(run, name, age_s)
        with pytest.raises(ValueError, match="in use by process 1 on far-away"), held(run, silent):
            pass
    set_age(run, name, run_lock.DEAD_AFTER_S + 5)
    with held(run, silent):
        assert name not in run.names("lock")


def test_an_owner_elsewhere_is_dead_after_the_stated_time_on_a_store(store_uri: str, monkeypatch: pytest.MonkeyPatch):
    run = RunDirectory(store_uri.format("far"))
    write(run, somebody())
    with pytest.raises(ValueError, match="far-away"), held(run, silent):
        pass
    monkeypatch.setattr(run_lock, "DEAD_AFTER_S", 1.0)
    time.sleep(2.5)  # a store tells times in whole seconds
    with held(run, silent):
        assert len(run.names("lock")) == 1


def test_ages_do_not_depend_on_this_machines_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = RunDirectory(str(tmp_path))
    write(run, somebody())
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10_000)
    with pytest.raises(ValueError, match="far-away"), held(run, silent):
        pass


def test_a_lock_that_cannot_be_read_counts_until_it_is_old(tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    run.write_bytes("lock/x.json", b"{half")
    with pytest.raises(ValueError, match="in use by process 0 on an unknown host"), held(run, silent):
        pass
    set_age(run, "lock/x.json", run_lock.DEAD_AFTER_S + 5)
    with held(run, silent):
        assert "lock/x.json" not in run.names("lock")


def test_taking_over_ends_the_other(place: RunDirectory):
    def lose() -> None:
        with held(place, silent) as first, held(place, silent, take_over=True) as second:
            assert [claim.owner.token for claim in claims_in(place)] == [second.owner.token]
            second.refresh()
            first.refresh()
            assert second.lost == "" and first.lost
            assert len(place.names("lock")) == 1, "the loser writes nothing any more"
            raise RuntimeError("what the loser's work ends with")

    with pytest.raises(TakenOver, match="was taken over by process"):
        lose()
    assert place.names("lock") == []


def test_the_holder_writes_its_lock_again_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_lock, "REFRESH_EVERY_S", 0.05)
    run = RunDirectory(str(tmp_path))
    with held(run, silent):
        (name,) = run.names("lock")
        seen = set()
        for _ in range(100):
            seen.add(Path(run.path(name)).stat().st_mtime_ns)
            if len(seen) > 2:
                break
            time.sleep(0.05)
        assert len(seen) > 2


def test_a_store_that_fails_for_a_while_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_lock, "REFRESH_EVERY_S", 0.05)
    monkeypatch.setattr(stopping, "interrupt", lambda reason: pytest.fail(reason))
    run, heard = RunDirectory(str(tmp_path)), list[str]()
    with held(run, heard.append) as lock:
        write_json = RunDirectory.write_json

        def fail(*_: object) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(RunDirectory, "write_json", fail)
        for _ in range(100):
            if heard:
                break
            time.sleep(0.05)
        monkeypatch.setattr(RunDirectory, "write_json", write_json)
        lock.refresh()
        assert lock.lost == ""
    assert "could not be refreshed" in heard[0]
    assert local_files(tmp_path) == []


def test_a_lock_that_was_given_up_is_not_missed_and_not_written_again(place: RunDirectory):
    with held(place, silent) as lock:
        lock.give_up()
        lock.refresh()
        assert lock.lost == ""
        assert place.names("lock") == []
