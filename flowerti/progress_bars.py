"""Shows how far a run is: on a terminal a bar for its stage, with what is done and what is left; lines elsewhere.

Sentences are printed above the bar. It only listens: this module knows the names of stages, and not what they do.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from flowerti.progress import Advance, Event, Listener, Metric, console, line_of


@contextmanager
def shown(stages: Sequence[str]) -> Iterator[Listener]:
    """A listener that shows what a run reports, on the standard output.

    Args:
        stages: as for `bars`.
    """
    terminal = Console(highlight=False)
    if not terminal.is_terminal:
        yield console()
        return
    with bars(stages, terminal) as listen:
        yield listen


@contextmanager
def bars(stages: Sequence[str], terminal: Console) -> Iterator[Listener]:
    """A listener that shows the stage at work on a terminal until the block ends.

    Args:
        stages: all stages, in their order; the parts of a stage are called after it, as in "personalize.lora".
        terminal: where.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=terminal) as live:
        yield _Bars(live, stages).listen


class _Bars:
    """One bar, of the stage that spoke last."""

    def __init__(self, shown: Progress, stages: Sequence[str]) -> None:
        self._shown, self._stages = shown, tuple(stages)
        self._stage = ""
        self._task = shown.add_task("run", total=None, unit="", note="")

    def listen(self, event: Event) -> None:
        """Show an event."""
        if event.stage != self._stage:
            self._begin(event.stage)
        if isinstance(event, Advance):
            if self._shown.tasks[-1].total not in (None, event.total):
                # another count within the stage: its speed says nothing about this one's
                self._begin(event.stage)
            self._shown.update(self._task, completed=event.done, total=event.total, unit=event.unit)
        elif isinstance(event, Metric):
            self._shown.update(self._task, note=line_of(event).partition("] ")[2])
        else:
            self._shown.console.print(Text(line_of(event)), soft_wrap=True)

    def _begin(self, stage: str) -> None:
        self._shown.remove_task(self._task)
        self._stage = stage
        self._task = self._shown.add_task(self._described(stage), total=None, unit="", note="")

    def _described(self, stage: str) -> str:
        whole = stage.partition(".")[0]
        if whole not in self._stages:
            return stage
        return f"{self._stages.index(whole) + 1} of {len(self._stages)}: {stage}"
