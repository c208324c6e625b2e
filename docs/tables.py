"""The tables of README and docs as Markdown, from files under `results/`; `docs/refresh.py` writes them into the pages.

This script knows nothing about how a run works.
"""

import json
import math
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"
RUNS = {
    "demo": "drawn herbarium, its own base",
    "flowers102-64": "Oxford 102 at 64 px, official split",
    "flowers102-64-long-tail": "Oxford 102 at 64 px, long tail",
    "flowers102-64-few-2": "Oxford 102 at 64 px, twelve classes of two images",
}
WITH_ADAPTERS = "flowers102-64"
STUDY = {"azalea": (198.1, 127.7), "sword lily": (206.6, 146.6), "canna lily": (210.3, 161.9)}
"""FID of raw name and token in Kutsenko and Najafi (2024)."""

Row = dict[str, Any]


def results() -> str:
    """The README's table: every run at a glance."""
    of_sweep = ("weak-class F1, real only", "best free control changes it by", "token images change it by")
    of_scores = ("token nearer than class name", "token images recognised")
    rows = [_glance(name, what) for name, what in RUNS.items()]
    return _markdown(("run", *of_sweep, *of_scores, "ratio"), rows)


def distances(run: str) -> str:
    """Kernel distance of every source to test images, and how many of the token's images are recognised."""
    of, sources, judged = _summary(run), _labels(run), _judged(run)
    rows = []
    for name in _classes(run):
        kernel = {row["source"]: row for row in _where(of["distances"], class_name=name, **_KERNEL_ON_TEST)}
        token = kernel[judged]
        cells = [_decimals(kernel[source]["value"]) if source in kernel else "" for source in sources]
        floor = f"{_decimals(token['floor'])} ({token['floor_num_pictures']})"
        size = f"{token['num_synthetic']} and {token['num_real']}"
        rows.append([name, *cells, floor, size, *(_recognised(run, name, source) for source in (judged, "real"))])
    heads = ("floor (n)", "n", f"{sources[judged]}: recognised", "real: recognised")
    return _markdown(("class", *sources.values(), *heads), rows)


def nearer(run: str) -> str:
    """By how much the judged source lies nearer to test images than each of its rivals."""
    sources, judged = _labels(run), _judged(run)
    found = _where(_summary(run)["comparisons"], closer=judged, **_KERNEL_ON_TEST)
    rows = [[row["class_name"], sources[row["than"]], _interval(row), _p(row["p_value"])] for row in found]
    return _markdown(("class", f"{sources[judged]} against", "nearer by (95 % interval)", "p"), rows)


def arms(run: str) -> str:
    """Every arm on test."""
    rows = []
    for row in _where(_summary(run)["sweep"], split="test"):
        gain = "" if row["arm"] == "real" else _change(row)
        rows.append([_arm(run, row["arm"], row["ratio"]), _decimals(row["weak_f1"]), gain])
    return _markdown(("arm", "weak classes' F1", "change against real only (95 % interval)"), rows)


def contrasts(run: str) -> str:
    """Every comparison of two arms on test."""
    rows = []
    for row in _where(_summary(run)["contrasts"], split="test"):
        pair = (_arm(run, row["arm"], row["ratio"]), _arm(run, row["against_arm"], row["against_ratio"]))
        rows.append([*pair, _interval(row), row["answer"]])
    return _markdown(("arm", "against", "difference in the weak classes' F1 (95 % interval)", "answer"), rows)


def ceiling(run: str) -> str:
    """What unseen real images and round trips change in the rehearsal classes."""
    found = _summary(run)["ceiling"]
    rows = [
        [
            row["label"],
            str(row["num_more"] or ""),
            _decimals(row["f1"]),
            "" if row["kind"] == "real" else _ends(row, "gain"),
        ]
        for row in found["rows"]
    ]
    return _markdown(("arm", "images more", "F1", "change against its control (95 % interval)"), rows)


def worth(run: str) -> str:
    """What the images of each arm are worth in real ones, on test."""
    rows = []
    for row in _where(_summary(run)["worth"], split="test"):
        told = [f"over {row['most']}" if row[name] is None else f"{row[name]:.1f}" for name in _WORTH]
        rows.append([_arm(run, row["arm"], row["level"]), _ends(row, "gain"), f"{told[0]} ({told[1]} to {told[2]})"])
    return _markdown(("arm", "change against its control", "worth in real images (95 % interval)"), rows)


def says(run: str) -> str:
    """What the run itself recommends, word for word."""
    return f"> {_summary(run)['recommendation']}"


def study(run: str) -> str:
    """The Fréchet distances to test images beside the study's FID."""
    sources = _labels(run)
    rows = []
    for name, of_study in STUDY.items():
        found = _where(_summary(run)["distances"], class_name=name, metric="frechet", reference="test")
        value = {row["source"]: row for row in found}
        one = value[_judged(run)]
        ours = [f"{value[source]['value']:.0f}" for source in sources]
        rows.append([name, *map(str, of_study), *ours, f"{one['floor']:.0f}", str(one["num_synthetic"])])
    here = [f"here: {label}" for label in sources.values()]
    return _markdown(("class", "study: FID raw", "study: FID token", *here, "floor", "n"), rows)


def adapters() -> str:
    """By how much the adapter's images lie nearer than the token's alone, and how many are recognised."""
    rows, run = [], WITH_ADAPTERS
    found = _where(_summary(run)["comparisons"], closer="lora", than="token", metric="kernel")
    for name in _classes(run):
        by = {row["reference"]: _interval(row) for row in _where(found, class_name=name)}
        seen = [_recognised(run, name, source) for source in ("token", "lora")]
        rows.append([name, by["validation"], by["test"], *seen])
    heads = ("class", "nearer on validation by", "nearer on test by")
    return _markdown((*heads, "token: recognised", "token and adapter: recognised"), rows)


def race() -> str:
    """How many times sooner the engine has the script's final loss, counted in four ways."""
    measured = json.loads((RESULTS / "benchmarks/inversion.to_target.json").read_text(encoding="utf-8"))
    missed = measured["details"]["to_target"]["not_reached"]
    rows = []
    for what, ending, rate in (("as it comes", "", "0.0001"), ("best flags, tuned rate", _TUNED, "0.005")):
        value = {name: measured["ratios"][name + ending] for name in ("time_to_target", _FIRST, "whole_run")}
        sooner, whole = value["time_to_target"], value["whole_run"]["value"]
        # a run that missed stands in the mean with its whole length; here it stands there as no gain at all
        no_gain = sooner["value"] / whole ** (missed[rate] / sooner["pairs"])
        ends = f"{sooner['value']:.1f} ({sooner['low']:.1f} to {sooner['high']:.1f})"
        others = [f"{number:.1f}" for number in (no_gain, value[_FIRST]["value"], whole)]
        rows.append([what, f"{missed[rate]} of {sooner['pairs']}", ends, *others])
    heads = ("the script", "runs that miss the target", "missing runs count as arriving at their end", "as no gain")
    return _markdown((*heads, "from the first touch of the target", "to the end of the plan"), rows)


_KERNEL_ON_TEST = {"metric": "kernel", "reference": "test"}
_WORTH = ("worth", "worth_low", "worth_high")
_TUNED = "_best_flags_lr_0.005"
_FIRST = "time_to_target_from_first_reach"


@cache
def _summary(run: str) -> dict[str, Any]:
    return json.loads((RESULTS / run / "summary.json").read_text(encoding="utf-8"))


def _labels(run: str) -> dict[str, str]:
    """Label of each source, in the run's order."""
    return {row["name"]: row["label"] for row in _summary(run)["sources"]}


def _judged(run: str) -> str:
    return next(row["name"] for row in _summary(run)["sources"] if row["is_judged"])


def _classes(run: str) -> list[str]:
    return [row["class_name"] for row in _summary(run)["selected"]]


def _arm(run: str, arm: str, ratio: float) -> str:
    label = next(row["label"] for row in _summary(run)["arms"] if row["name"] == arm)
    return f"{label}, {_level(run, arm, ratio)}" if ratio else label


def _level(run: str, arm: str, ratio: float) -> str:
    """As many images for each real one, or the probability that one takes a real one's place."""
    replaces = next(row["replaces"] for row in _summary(run)["arms"] if row["name"] == arm)
    return f"p {ratio:g}" if replaces else f"{ratio:g}×"


def _where(rows: Iterable[Row], **values: Any) -> list[Row]:
    """Rows with these values; where several networks measured, of the first one alone."""
    found = [row for row in rows if all(row[name] == value for name, value in values.items())]
    return [row for row in found if row.get("extractor") == found[0].get("extractor")]


def _glance(run: str, what: str) -> list[str]:
    summary = _summary(run)
    tested = {row["arm"]: row for row in _where(summary["sweep"], split="test")}
    token, control = tested[summary["judged_arm"]], summary["best_control"]
    compared = _where(summary["comparisons"], closer=_judged(run), than="raw", **_KERNEL_ON_TEST)
    surely = [row for row in compared if row["low"] is not None and row["low"] > 0]
    seen = _where(summary["recognition"], source=_judged(run))
    return [
        f"[{what}](results/{run}/summary.json)",
        _decimals(tested["real"]["weak_f1"]),
        f"{_arm(run, control, 0)} {_change(tested[control])}" if control != "real" else "none",
        _of_images(run, token),
        f"{len(surely)} of {len(compared)} classes",
        f"{sum(row['num_recognised'] for row in seen)} of {sum(row['num_pictures'] for row in seen)}",
        f"{summary['recommended_ratio']:g}",
    ]


def _of_images(run: str, row: Row) -> str:
    """What images change in the training that they are mixed into."""
    arm = next(arm for arm in _summary(run)["arms"] if arm["name"] == row["arm"])
    of = "content_gain" if arm["replaces"] else "weak_gain"
    told = f"{row[of]:+.2f} ({row[of + '_low']:+.2f} to {row[of + '_high']:+.2f})"
    on = arm["control"] if arm["replaces"] else "real"
    return f"{told} at {_level(run, row['arm'], row['ratio'])} on {_arm(run, on, 0)}"


def _recognised(run: str, class_name: str, source: str) -> str:
    (row,) = _where(_summary(run)["recognition"], class_name=class_name, source=source)
    return f"{row['num_recognised']} of {row['num_pictures']}"


def _change(row: Row) -> str:
    return f"{row['weak_gain']:+.2f} ({row['weak_gain_low']:+.2f} to {row['weak_gain_high']:+.2f})"


def _interval(row: Row) -> str:
    if row["low"] is None:
        return f"{row['difference']:+.2f}"
    return f"{row['difference']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"


def _ends(row: Row, value: str) -> str:
    return f"{row[value]:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"


def _decimals(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.2f}"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _markdown(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines).replace("| --- ", "|---").replace("--- |", "---|")


TABLES: dict[str, Callable[[], str]] = {"results": results, "adapters": adapters, "race": race}
_OF_A_RUN = (distances, nearer, arms, contrasts, ceiling, worth, says, study)
for _run in RUNS:
    TABLES |= {f"{_run}.{kind.__name__}": partial(kind, _run) for kind in _OF_A_RUN}
