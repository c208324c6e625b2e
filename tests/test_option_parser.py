"""Refusals of options: one line that names the option and what is wrong, whatever the terminal is like."""

import re

import pytest

from flowerti import cli
from flowerti.option_parser import flattened

REFUSED: list[tuple[str, list[str]]] = [
    ("--seed x", ["--seed", "'x'", "whole number"]),
    ("--seed", ["--seed"]),
    ("--seed 1 2", ["2"]),
    ("--seed 1.5", ["--seed", "1.5"]),
    ("--nope", ["--nope"]),
    ("--nope 3", ["--nope"]),
    ("--nope=3", ["--nope"]),
    ("-x", ["-x"]),
    ("stray", ["stray"]),
    (
        "--textual-inversion.num-stepz 5",
        ["--textual-inversion.num-stepz", "did you mean --textual-inversion.num-steps"],
    ),
    ("--textual-inversion.num-steps 0", ["textual_inversion.num_steps", "at least 1"]),
    ("--textual-inversion.num-steps many", ["--textual-inversion.num-steps", "'many'"]),
    ("--textual-inversion.start here", ["--textual-inversion.start", "'here'", "random"]),
    ("--textual-inversion.learning-rate fast", ["--textual-inversion.learning-rate", "'fast'", "not a number"]),
    ("--sweep.ratios 1 nan", ["sweep.ratios"]),
    ("--sweep.ratios", ["sweep.ratios"]),
    ("--sweep.ratios one", ["--sweep.ratios", "'one'"]),
    ("--sweep.ratios -1", ["sweep.ratios"]),
    ("--sampling.sources", ["sampling.sources"]),
    ("--sampling.sources magic", ["magic"]),
    ("--data.kind zip", ["data.kind", "'zip'", "image_folder"]),
    ("--data.skip-unreadable maybe", ["maybe"]),
    ("--no-data.nope", ["--no-data.nope"]),
    ("--selection.rule best", ["--selection.rule", "'best'", "lowest_f1"]),
    ("--cluster.num-workers 0", ["cluster.num_workers"]),
    ("--cluster.num-gpus-per-worker a", ["--cluster.num-gpus-per-worker", "'a'"]),
    ("--preset demo --config x.json", ["--config", "--preset"]),
    ("--preset", ["--preset"]),
    ("--run-dir", ["--run-dir"]),
    ("--until", ["--until"]),
    ("--take-over now", ["now"]),
    ("--take-over=now", ["--take-over"]),
    ("--name a/b", ["name"]),
    ("--lora.rank", ["--lora.rank"]),
    ("--imbalance.factor 0", ["imbalance.factor"]),
]


@pytest.mark.parametrize(("options", "words"), REFUSED, ids=[options for options, _ in REFUSED])
@pytest.mark.parametrize("columns", ["20", "80", "400"])
def test_a_refused_option_is_one_line(
    options: str,
    words: list[str],
    columns: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("COLUMNS", columns)
    named = [] if options.startswith("--preset") or options == "stray" else ["--preset", "demo"]
    assert cli.main(["run", *options.split(), *named]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"flowerti: [^\n]{10,290}\n", err)
    assert not set("│─╭╰┃━") & set(err), "no box"
    for word in words:
        assert word in err


PLAIN = """
 Unrecognized options
 -----------------------------------
  Unrecognized options: --a, 5
  ---------------------------------
  Perhaps you meant:
      --ab INT
          Steps, of which --c is one.
      --ac
  ---------------------------------
  For full helptext, run x --help

"""
DRAWN = """
╭─ Unrecognized options ───────────╮
│ Unrecognized options: --a, 5     │
│ ──────────────────────────────── │
│ Perhaps you meant:               │
│     --ab INT                     │
│         Steps, of which --c is one. │
│     --ac                         │
│ ──────────────────────────────── │
│ For full helptext, run x --help  │
╰──────────────────────────────────╯
"""


@pytest.mark.parametrize("box", [PLAIN, DRAWN, DRAWN.replace("│", "\x1b[31m│\x1b[0m")])
def test_boxes_of_every_terminal_say_the_same(box: str):
    assert flattened(box) == "Unrecognized options: --a, 5: did you mean --ab or --ac?"


def test_something_else_than_a_box_is_told_as_it_is():
    assert flattened("one line") == "one line"
    assert flattened("") == "wrong options"
