"""Entry point that makes a base: `python ray_jobs/pretrain.py --output-dir my-base --data.kind ... --data.root ...`.

Without `--data` it is the embedded demo base. It starts a Ray of its own on this machine and reads its options from the
dataclasses; the work is in `pretraining.ray_stage`.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flowerti.cluster.session import set_environment
from flowerti.config.experiment import ClusterConfig
from pretraining.allowed_images import AllowedImages
from pretraining.recipe import PretrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Makes a text-to-image base from labelled images."""

    output_dir: Path
    """Folder of the pipeline; its parts are replaced."""
    work_dir: Path = Path("pretrain-work")
    """Folder for the examples and what is finished; pass the same one to go on after an interruption."""
    num_workers: int = 2
    """Processes that read and train, one core each."""
    images: Annotated[AllowedImages, tyro.conf.arg(name="")] = field(default_factory=AllowedImages)
    """Which images the base may see."""
    config: PretrainConfig = field(default_factory=PretrainConfig)
    """How the base is made."""


def main() -> int:
    """Read the options and start; returns the exit code, 2 for input that was refused."""
    options = tyro.cli(Options)
    set_environment(ClusterConfig(num_workers=options.num_workers))  # before Ray is imported
    from pretraining.ray_stage import Folders, pretrain

    root = str(Path(__file__).resolve().parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    folders = Folders(output_dir=options.output_dir, work_dir=options.work_dir)
    try:
        pretrain(options.config, options.images, folders, options.num_workers)
    except ValueError as error:
        print(f"pretrain: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
