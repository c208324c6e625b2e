"""What stages report reaches every listener as data, and the console as one line each."""

import re

import pytest

from flowerti.progress import Advance, Event, Info, Metric, Progress, console, line_of


def test_every_listener_hears_every_event_in_order():
    first: list[Event] = []
    second: list[Event] = []
    progress = Progress("sweep", [first.append, second.append])
    progress.info("three trials")
    progress.metric("azalea/evaluation_loss", 50, 0.25)
    progress.advance(2, 3, "trials")
    assert first == second
    assert first == [
        Info(stage="sweep", text="three trials"),
        Metric(stage="sweep", name="azalea/evaluation_loss", step=50, value=0.25),
        Advance(stage="sweep", done=2, total=3, unit="trials"),
    ]


def test_words_are_no_work_and_work_needs_no_words():
    progress = Progress("score")
    progress.info("looking around")
    progress.advance(0, 3, "questions")
    assert not progress.has_worked
    progress.did_work()
    assert progress.has_worked


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Info(stage="a", text="[bold]as it is[/bold]"), "[a] [bold]as it is[/bold]"),
        (Advance(stage="b", done=1, total=9, unit="images"), "[b] 1 of 9 images"),
        (
            Metric(stage="c", name="rose/evaluation_loss", step=5, value=0.125),
            "[c] rose: evaluation loss 0.1250 at step 5",
        ),
    ],
)
def test_an_event_is_one_line(event: Event, line: str, capsys: pytest.CaptureFixture[str]):
    assert line_of(event) == line
    console()(event)
    assert re.fullmatch(r"  0:00 (.*)\n", capsys.readouterr().out).group(1) == line  # pyright: ignore


def test_a_curve_that_comes_at_once_is_one_line(capsys: pytest.CaptureFixture[str]):
    listen = console(number_every_s=60.0)
    for step in range(20):
        listen(Metric(stage="classify", name="classifier/accuracy", step=step, value=0.5))
        listen(Metric(stage="classify", name="other/accuracy", step=step, value=0.5))
    listen(Info(stage="classify", text="done"))
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_how_far_a_stage_is_comes_now_and_then_and_at_its_end(capsys: pytest.CaptureFixture[str]):
    listen = console(number_every_s=60.0)
    for done in range(1, 101):
        listen(Advance(stage="sample", done=done, total=100, unit="images"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("] ")[1] for line in lines] == ["1 of 100 images", "100 of 100 images"]
