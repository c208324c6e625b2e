"""Numbers as the page writes them: decimals, signs, p-values, durations, counts; a dash where nothing was measured."""

import math
from collections.abc import Sequence

_NOT_MEASURED = "\N{EN DASH}"


def fixed(value: float | None, num_decimals: int = 3) -> str:
    """A number with that many decimals and a true minus sign; never minus zero."""
    if value is None or not math.isfinite(value):
        return _NOT_MEASURED
    text = f"{value:.{num_decimals}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else text.lstrip("-")


def signed(value: float | None, num_decimals: int = 3) -> str:
    """As `fixed`, with a plus before what is above zero."""
    text = fixed(value, num_decimals)
    return text if value is None or value <= 0 or text == _NOT_MEASURED or not float(text) else f"+{text}"


def p_value(value: float | None) -> str:
    """A p-value with four decimals, or that it is below them."""
    if value is None or not math.isfinite(value):
        return _NOT_MEASURED
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def duration(seconds: float | None) -> str:
    """Seconds as seconds, minutes or hours."""
    if seconds is None or not math.isfinite(seconds):
        return _NOT_MEASURED
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def times(num: int) -> str:
    """How often something happened, in words."""
    return {0: "never", 1: "once", 2: "twice"}.get(num, f"{num} times")


def decimals(values: Sequence[float | None], num_digits: int = 3) -> int:
    """Decimals, at most 6, that leave the largest of the values `num_digits` digits."""
    largest = max((abs(value) for value in values if value), default=1.0)
    return min(6, max(0, num_digits - 1 - math.floor(math.log10(largest))))


def level(kind: str, number: float) -> str:
    """The level of an arm; a dash for an arm without.

    A probability is "p 0.3", a share of steps "first 0.3", and a ratio has a multiplication sign.
    """
    if kind == "none" or number == 0:
        return _NOT_MEASURED
    if kind == "share":
        return f"first {number:g}"
    return f"p {number:g}" if kind == "probability" else f"{number:g}\N{MULTIPLICATION SIGN}"
