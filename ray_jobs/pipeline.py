"""The whole run under `ray job submit --working-dir . -- python ray_jobs/pipeline.py --preset ... --run-dir s3://...`.

Takes the options of `flowerti run`, and joins the cluster that the job runs on instead of starting Ray.
"""

import sys

from flowerti.cli import run


def main() -> int:
    """Run on the job's cluster; returns the exit code, 2 for input that was refused."""
    try:
        return run(sys.argv[1:], address="auto")
    except ValueError as error:
        print(f"flowerti: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
