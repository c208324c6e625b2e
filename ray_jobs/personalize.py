"""The personalisation, under `ray job submit --working-dir . -- python ray_jobs/personalize.py --run-dir s3://...`.

Does what is missing up to this stage and ends. It takes the options of `flowerti run`; a run directory that was started
before brings its own config.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ray_jobs.pipeline import main

if __name__ == "__main__":
    sys.exit(main(until="personalize"))
