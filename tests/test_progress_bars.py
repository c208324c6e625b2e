"""On a terminal a run is a bar with its stage, its count and sentences above; a file gets plain lines."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console

from flowerti.progress import Listener, Progress
from flowerti.progress_bars import bars, shown

STAGES = ("classify", "personalize", "report")


def screen_after(names: tuple[str, ...]) -> tuple[str, str]:
    """What stands above the bar and in it after some stages, without colours and movements."""
    with on_terminal() as (listen, lines):
        for name in names:
            progress = Progress(name, [listen])
            progress.info("[bold]12 images[/bold] of café/rose")
            progress.metric("rose/evaluation_loss", 50, 0.25)
            progress.advance(3, 12, "images")
    return next(line for line in lines if line.startswith("[")), lines[-1]


@contextmanager
def on_terminal() -> Iterator[tuple[Listener, list[str]]]:
    """Bars on a terminal, and all lines of it after the block."""
    file, lines = io.StringIO(), list[str]()
    with bars(STAGES, Console(file=file, force_terminal=True, width=160, color_system=None)) as listen:
        yield listen, lines
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    lines += [line for line in re.split(r"[\r\n]+", text) if line.strip()]


def test_a_bar_says_stage_count_and_last_number():
    above, bar = screen_after(("personalize.lora",))
    assert above.startswith("[personalize.lora] [bold]12 images[/bold] of café/rose")
    assert bar.startswith("2 of 3: personalize.lora ")
    assert "3/12 images" in bar and "rose: evaluation loss 0.2500 at step 50" in bar


def test_the_bar_is_that_of_the_stage_that_spoke_last():
    assert screen_after(("classify", "report"))[1].startswith("3 of 3: report ")
    assert screen_after(("classify", "data"))[1].startswith("data ")


def test_another_count_begins_anew():
    with on_terminal() as (listen, lines):
        progress = Progress("classify", [listen])
        progress.advance(12, 12, "images")
        progress.advance(1, 4, "trials")
    assert "1/4 trials" in lines[-1] and "images" not in lines[-1]


def test_without_a_terminal_there_are_plain_lines(capsys: pytest.CaptureFixture[str]):
    with shown(STAGES) as listen:
        Progress("classify", [listen]).advance(12, 12, "images")
    assert capsys.readouterr().out == "  0:00 [classify] 12 of 12 images\n"
