"""`flowerti status`, once and with --watch: what it prints, how it ends, and how little it reads."""

import argparse
from pathlib import Path

import pytest

from flowerti import cli
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import write_config
from flowerti.artifacts.watched_run import WatchedRun
from flowerti.commands.status import watch
from flowerti.config.presets import demo


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    started = RunDirectory(str(tmp_path / "run"))
    write_config(started, demo())
    return started


def ends(run: RunDirectory, state: str) -> None:
    run.write_json("result.json", {"state": state, "stage": "report", "reason": ""})


def test_once_is_a_line_for_every_stage(run: RunDirectory, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["status", run.uri]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "waiting  classify"
    assert lines[-1] == "waiting  report"


def test_watching_prints_what_is_new_until_the_run_is_done(run: RunDirectory, capsys: pytest.CaptureFixture[str]):
    steps = iter(
        [
            lambda: run.write_bytes("classifier/report.json", b""),
            lambda: None,
            lambda: run.write_bytes("sweep/trials/a.json", b""),
            lambda: ends(run, "done"),
        ]
    )
    assert watch(WatchedRun(run.uri), lambda: next(steps)()) == 0
    lines = capsys.readouterr().out.splitlines()
    num_stages = lines.index("waiting  report") + 1
    assert [line.split(maxsplit=1)[0] for line in lines[:num_stages]] == ["waiting"] * num_stages
    assert [line.split() for line in lines[num_stages:]] == [
        ["done", "classify"],
        ["begun", "sweep", "1", "trials"],
        ["done", "run", "report"],
    ]


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_a_run_that_failed_or_was_stopped_is_code_3(run: RunDirectory, state: str, capsys: pytest.CaptureFixture[str]):
    ends(run, state)
    assert cli.main(["status", run.uri, "--watch"]) == 3
    assert capsys.readouterr().out.startswith(state)


def test_on_a_terminal_the_lines_stay_in_one_place(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert watch(WatchedRun(run.uri), lambda: ends(run, "done")) == 0
    first, second = capsys.readouterr().out.split("\x1b[H\x1b[2J\x1b[3J")[1:]
    assert second == f"{'done':8} {'run':28} report\n{first}"


@pytest.mark.parametrize("every", ["0", "-1", "nan", "inf"])
def test_a_time_that_is_none_is_refused(run: RunDirectory, every: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["status", run.uri, "--watch", "--every", every]) == 2
    assert "--every" in capsys.readouterr().err


def test_watching_a_folder_without_a_run_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["status", str(tmp_path), "--watch"]) == 2
    assert "no run was started" in capsys.readouterr().err


def test_the_seconds_between_two_looks_are_those_that_were_asked(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        ends(run, "done")

    monkeypatch.setattr("flowerti.commands.status.time", argparse.Namespace(sleep=sleep))
    assert cli.main(["status", run.uri, "--watch", "--every", "0.25"]) == 0
    assert waited == [0.25]
