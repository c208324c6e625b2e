"""What a whole run costs: wall time and the peak memory of all its processes together, Ray's own included.

`python benchmarks/whole_run.py --preset demo` runs the preset in a new folder and prints one JSON object; options that
are not its own go to `flowerti run`. Memory is the sum of proportional set sizes, so that pages which processes share
count once.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.paired import print_result

_SAMPLE_EVERY_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Measures a whole run."""

    preset: str = "demo"
    """Which preset to run."""
    run_dir: str = ""
    """Where to run it; a new temporary folder when empty."""
    quick: bool = False
    """The same: a run cannot be made shorter without being another one; --until and settings of the run make it so."""


def main() -> int:
    """Run, watch and print; the exit code is the run's."""
    options, of_run = tyro.cli(Options, return_unknown_args=True)
    with tempfile.TemporaryDirectory(prefix="flowerti-") as scratch:
        run_dir = options.run_dir or f"{scratch}/run"
        command = [sys.executable, "-m", "flowerti.cli", "run", "--preset", options.preset, "--run-dir", run_dir]
        command += of_run
        begun = time.monotonic()
        process = subprocess.Popen(command, stdout=sys.stderr, start_new_session=True)
        watch = MemoryWatch(process.pid)
        code = process.wait()
        watch.stop()
        details = {"preset": options.preset, "exit_code": code, "seconds": round(time.monotonic() - begun, 1)}
        details |= {"peak_memory_gib": round(watch.peak_bytes / 2**30, 2)}
        print_result("whole_run", {}, details | {"seconds_by_stage": seconds_by_stage(Path(run_dir))})
        return code


def seconds_by_stage(run_dir: Path) -> dict[str, float]:
    """Wall time of each stage that the run finished."""
    timings = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((run_dir / "timings").glob("*.json"))]
    return {timing["stage"]: round(timing["seconds"], 1) for timing in timings}


class MemoryWatch:
    """Samples the memory of a process and of all that it started, once a second."""

    def __init__(self, pid: int) -> None:
        """Start to watch."""
        self.peak_bytes = 0
        self._root, self._done = psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End watching."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_EVERY_S):
            try:
                family = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            self.peak_bytes = max(self.peak_bytes, sum(_proportional_bytes(process) for process in family))


def _proportional_bytes(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # it ended since it was listed
        return 0


if __name__ == "__main__":
    sys.exit(main())
