"""The help of `flowerti run`: how to start and the ten settings that people change, or every setting there is.

This module runs nothing.
"""

import textwrap
from collections.abc import Sequence
from typing import NoReturn

from flowerti.boundary import EXIT_CODES_HELP
from flowerti.commands.start import named_experiment, overridden, split
from flowerti.config.presets import PRESETS, preset

_WIDTH = 110
_START = {
    "FOLDER": "your images: folders of classes with splits or without, Parquet files, or a .csv of paths. Settings "
    "are chosen from the images, the base and this machine, and told before work begins",
    "--base PATH": "the text-to-image model: a folder in Stable Diffusion's layout; demo is a toy to try things out",
    "--preset NAME": "a ready-made experiment instead of a folder: " + ", ".join(PRESETS),
    "--config FILE": "settings from a file instead: .toml as `flowerti init` writes it, or a run's config.json",
    "--run-dir DIR": "where results go: a path, s3://... or gs://...; by default runs/NAME. Without anything else, the "
    "run that was started there goes on",
    "--until STAGE": "end after a stage",
    "--take-over": "take the directory from another run that holds it",
    "--plugins M:F ...": "functions that add rows to the tables",
}
CHANGED_OFTEN = {
    "--selection.num-classes": "how many classes count as weak",
    "--selection.rule": "which: lowest_f1, fewest_images, blend, or fixed with --selection.class-names",
    "--textual-inversion.num-steps": "optimiser steps for a token",
    "--sampling.num-per-class": "images that are drawn of each source for each weak class",
    "--sampling.sources": "where drawn images come from: raw (the class name), token, lora, ...",
    "--replication.num-learnings": "how often each token is learnt, with other seeds: intervals rest on it",
    "--imbalance.resplit": "pool whatever splits there are and cut all images anew",
    "--ceiling.goes-on": "learn and draw also where no more is to be had than the run could detect",
    "--cluster.num-gpus-per-worker": "1 for a GPU, 0 for none; fractions share one",
    "--seed": "the seed that every other one follows from",
}
"""The ten settings that people change, and what they are."""


def tell_help() -> NoReturn:
    """Print the short help and exit."""
    print(short_help())
    raise SystemExit(0)


def short_help() -> str:
    """How to start, and the settings that people change."""
    parts = [
        "usage: flowerti run FOLDER --base PATH [options]\n       flowerti run --preset NAME [options]\n",
        "Start here:",
        *_rows(_START),
        "\nSettings that people change:",
        *_rows(CHANGED_OFTEN),
        "",
        textwrap.fill(f"`flowerti run --help-all` has every setting. {EXIT_CODES_HELP}", _WIDTH),
    ]
    return "\n".join(parts)


def tell_all(arguments: Sequence[str]) -> NoReturn:
    """Print every setting with its value in the experiment that is named, or else in the demo, and exit."""
    values, _ = split(arguments, "flowerti run", "--take-over")
    overridden(named_experiment(values) or preset("demo"), ["--help"], "flowerti run")
    raise SystemExit(0)


def _rows(texts: dict[str, str]) -> list[str]:
    indent = max(map(len, texts)) + 4
    return [
        textwrap.fill(text, _WIDTH, initial_indent=f"  {name}".ljust(indent), subsequent_indent=" " * indent)
        for name, text in texts.items()
    ]
