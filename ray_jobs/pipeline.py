"""The whole run under `ray job submit --working-dir . -- python ray_jobs/pipeline.py --preset ... --run-dir s3://...`.

Takes the options of `flowerti run`, and joins the cluster that the job runs on instead of starting Ray.
"""

import sys
from pathlib import Path

# a job's working folder is the project's own, which need not be installed on the cluster's nodes
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flowerti.cli import run


def main(until: str = "report") -> int:
    """Run on the job's cluster up to a stage; returns the exit code, 2 for input that was refused."""
    try:
        return run(sys.argv[1:], address="auto", until=until)
    except ValueError as error:
        print(f"flowerti: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
