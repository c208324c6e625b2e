"""The door that makes the embedded base model again: `python ray_jobs/pretrain.py --output-dir flowerti/demo/base`.

It starts a Ray of its own on this machine and reads its options from the dataclasses; the work is in
`flowerti.cluster.pretrain`.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flowerti.cluster.session import set_environment
from flowerti.config.experiment import ClusterConfig
from flowerti.demo.recipe import PretrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Makes the embedded base model."""

    output_dir: Path
    """Folder of the pipeline; its parts are replaced."""
    work_dir: Path = Path("pretrain-work")
    """Folder for drawn images and the finished autoencoder."""
    num_workers: int = 2
    """Processes that draw and train, one core each."""
    config: PretrainConfig = field(default_factory=PretrainConfig)
    """How the base is made."""


def main() -> None:
    """Reads the options and starts."""
    options = tyro.cli(Options)
    set_environment(ClusterConfig(num_workers=options.num_workers))  # before Ray is imported
    from flowerti.cluster.pretrain import pretrain

    root = str(Path(__file__).resolve().parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    pretrain(options.config, options.output_dir, options.work_dir, options.num_workers)


if __name__ == "__main__":
    main()
