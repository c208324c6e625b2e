"""The whole run under `ray job submit --working-dir . -- python ray_jobs/pipeline.py --preset ... --run-dir s3://...`.

Takes the options of `flowerti run`, has its exit codes, and joins the cluster that the job runs on instead of starting
Ray.
"""

import sys
from pathlib import Path

# a job's working folder is the project's own, which need not be installed on the cluster's nodes
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flowerti.boundary import guarded
from flowerti.stopping import ended


def main(until: str = "report") -> int:
    """Run on the job's cluster up to a stage; returns the exit code, and tells an error in one line on stderr."""

    def command(arguments: list[str]) -> int:
        from flowerti.cli import run

        return run(arguments, address="auto", until=until)

    return ended(guarded("flowerti", command, sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
