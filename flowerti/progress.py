"""What stages report while they work, as data, and who listens.

A stage gets a `Progress` and tells it facts; every listener is a function of one event: the console here, log files and
trackers elsewhere. Whether a stage did any work is said by the stage (`did_work`) and not read from its words. This
module does not know the stages.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Info:
    """A sentence for a person."""

    stage: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A number that changes as the work goes on."""

    stage: str
    name: str
    """As in "azalea/evaluation_loss"."""
    step: int
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Advance:
    """How much of a stage's work is done."""

    stage: str
    done: int
    total: int
    unit: str
    """What is counted, in the plural, as in "images"."""


Event = Info | Metric | Advance
Listener = Callable[[Event], None]


class Progress:
    """What one stage reports to."""

    def __init__(self, stage: str = "", listeners: Sequence[Listener] = ()) -> None:
        """Without listeners everything is heard by nobody, as in tests."""
        self._stage, self._listeners = stage, tuple(listeners)
        self.has_worked = False

    def info(self, text: str) -> None:
        """Say something to a person."""
        self._tell(Info(stage=self._stage, text=text))

    def metric(self, name: str, step: int, value: float) -> None:
        """Report a number at a step."""
        self._tell(Metric(stage=self._stage, name=name, step=step, value=value))

    def advance(self, done: int, total: int, unit: str) -> None:
        """Report how much is done."""
        self._tell(Advance(stage=self._stage, done=done, total=total, unit=unit))

    def did_work(self) -> None:
        """Say that the stage does work of its own, and does not only find what is there: its time is then kept."""
        self.has_worked = True

    def _tell(self, event: Event) -> None:
        for listen in self._listeners:
            listen(event)


def console(number_every_s: float = 5.0) -> Listener:
    """A listener that prints a line for each event, with the minutes and seconds since now.

    A metric, or how far a stage is, is printed again only after `number_every_s`; the end of a stage's work always is.
    """
    from rich.console import Console

    output, began = Console(highlight=False, soft_wrap=True), time.monotonic()
    printed_at: dict[str, float] = {}

    def listen(event: Event) -> None:
        now = time.monotonic()
        if isinstance(event, Metric | Advance):
            name = event.name if isinstance(event, Metric) else event.stage
            is_end = isinstance(event, Advance) and event.done == event.total
            if not is_end and now - printed_at.get(name, -math.inf) < number_every_s:
                return
            printed_at[name] = now
        seconds = int(now - began)
        output.print(f"{seconds // 60:3d}:{seconds % 60:02d} {line_of(event)}", markup=False)

    return listen


def line_of(event: Event) -> str:
    """An event as one line of text."""
    if isinstance(event, Metric):
        name = event.name.replace("/", ": ").replace("_", " ")
        return f"[{event.stage}] {name} {event.value:.4f} at step {event.step}"
    if isinstance(event, Advance):
        return f"[{event.stage}] {event.done} of {event.total} {event.unit}"
    return f"[{event.stage}] {event.text}"
