"""The options of the command that makes a base, read from the dataclasses, and what it starts.

This module does not know how a base is made.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from flowerti.boundary import EXIT_CODES_HELP
from flowerti.cluster.session import set_environment
from flowerti.config.experiment import ClusterConfig
from flowerti.option_parser import OneLineParser, parse_options
from pretraining.allowed_images import AllowedImages
from pretraining.folders import Folders
from pretraining.recipe import PretrainConfig
from pretraining.recipes import RECIPES, recipe

_PROGRAM = "pretrain.py"


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Makes a text-to-image base from labelled images."""

    output_dir: Path
    """Folder of the pipeline; its parts are replaced."""
    work_dir: Path = Path("pretrain-work")
    """Folder for the examples and what is finished; pass the same one to go on after an interruption."""
    num_workers: int = 2
    """Processes that read and train, one core each."""
    ray: bool = True
    """Whether Ray starts the processes and restarts those that are lost."""
    images: Annotated[AllowedImages, tyro.conf.arg(name="")] = field(default_factory=AllowedImages)
    """Which images the base may see."""
    config: PretrainConfig = field(default_factory=PretrainConfig)
    """How the base is made."""


def read_options(arguments: list[str]) -> Options:
    """Options of the command; a recipe gives their defaults, and each may still be set.

    Raises:
        ValueError: the recipe does not exist, or an option is unknown, missing or wrong.
        SystemExit: help was asked for.
    """
    parser = OneLineParser(prog=_PROGRAM, add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe", default="embedded")
    values, rest = parser.parse_known_args(arguments)
    chosen = recipe(values.recipe)
    default = Options(output_dir=tyro.MISSING, images=chosen.images, config=chosen.config)
    description = f"Makes a text-to-image base from labelled images. --recipe NAME: {', '.join(RECIPES)}. "
    return parse_options(
        Options, prog=_PROGRAM, description=description + EXIT_CODES_HELP, default=default, arguments=rest
    )


def make(options: Options) -> None:
    """Make the base, with Ray or without.

    Raises:
        ValueError: the data or the work folder cannot be used; names what is wrong.
    """
    set_environment(ClusterConfig(num_workers=options.num_workers))  # before Ray is imported
    if options.ray:
        from pretraining.ray_stage import pretrain as make_base
    else:
        from pretraining.local_stage import pretrain_here as make_base
    folders = Folders(output_dir=options.output_dir, work_dir=options.work_dir)
    make_base(options.config, options.images, folders, options.num_workers)
