"""Entry point that makes a base: `python ray_jobs/pretrain.py --recipe flowers64_v2 --output-dir my-base`.

Without `--recipe` it is the embedded demo base. It starts a Ray of its own on this machine, or with `--no-ray` plain
processes; its options are in `ray_jobs.pretrain_options`, the work is in `pretraining.ray_stage` and
`pretraining.local_stage`.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flowerti.boundary import guarded
from flowerti.stopping import ended


def main() -> int:
    """Read the options and start; returns the exit code, and tells an error in one line on stderr."""
    root = str(Path(__file__).resolve().parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    return ended(guarded("pretrain", _command, sys.argv[1:]))


def _command(arguments: list[str]) -> int:
    # takes seconds to import, in which a signal is answered already
    from ray_jobs.pretrain_options import make, read_options

    make(read_options(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
