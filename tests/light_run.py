"""A real `flowerti run` whose stages are replaced by something light: `python tests/light_run.py WHAT run ...`.

WHAT says what the run is doing when it is interrupted. It prints `ready` once it does that.
"""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

_CHILD = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)']); "
_CHILD += "print('up', flush=True); time.sleep(300)"


def ready() -> None:
    print("ready", flush=True)


def wait() -> None:
    ready()
    time.sleep(120)


def block() -> None:
    """A call into a library that no exception reaches, because it does not come back."""
    ready()
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 10**9)


def swallow() -> None:
    """Code that takes every exception for one of its own."""
    ready()
    while True:
        try:
            time.sleep(0.05)
        except BaseException:
            continue


def use_scratch() -> None:
    from flowerti.cluster.scratch import scratch_folder

    with scratch_folder("tune") as folder:
        Path(folder, "notes").write_text("x")
        wait()


def use_scratch_and_block() -> None:
    from flowerti.cluster.scratch import scratch_folder

    with scratch_folder("tune"):
        block()


def start_ray(is_blocked: bool = True) -> None:
    """A Ray that takes the handler of SIGTERM, has processes with processes of their own, and is slow to start."""
    import signal

    def init(**_options: Any) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
        child = subprocess.Popen([sys.executable, "-c", _CHILD], stdout=subprocess.PIPE, start_new_session=True)
        assert child.stdout is not None and child.stdout.readline()
        if is_blocked:
            block()

    ray: Any = ModuleType("ray")
    ray.init, ray.shutdown, ray.is_initialized = init, lambda: None, lambda: False
    sys.modules["ray"] = ray
    from flowerti.cluster.local_ray import start_local_ray

    start_local_ray()
    wait()


def exit_quietly() -> None:
    """A library that takes Ctrl-C for itself and ends the process with 0, as Ray Train does."""
    import signal

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    wait()


def fill_the_disk() -> None:
    raise OSError(28, "No space left on device")


def fail() -> None:
    raise KeyError("a mistake")


WHAT: dict[str, Callable[[], None]] = {
    "preflight": wait,
    "stage": wait,
    "blocked": block,
    "swallowed": swallow,
    "scratch": use_scratch,
    "blocked scratch": use_scratch_and_block,
    "ray starts": start_ray,
    "ray runs": lambda: start_ray(is_blocked=False),
    "exits quietly": exit_quietly,
    "full disk": fill_the_disk,
    "mistake": fail,
    "nothing": lambda: None,
}


def main() -> int:
    from flowerti import pipeline
    from flowerti.__main__ import main as command
    from flowerti.artifacts import run_lock

    what = sys.argv.pop(1)
    run_lock.REFRESH_EVERY_S = float(os.environ.get("REFRESH_EVERY_S", run_lock.REFRESH_EVERY_S))
    stages: Any = pipeline._stages

    def prepare(experiment: Any, run: Any) -> Any:
        from flowerti.artifacts.saved_config import write_config

        write_config(run, experiment)
        if what == "preflight":
            WHAT[what]()
        return SimpleNamespace(experiment=experiment, run=run, census=None)

    def light(_study: Any, clock: Any) -> Iterator[Any]:
        with clock.stage("classify"):
            if what != "preflight":
                WHAT[what]()
        yield pipeline._Done("classify")

    assert stages is not None
    pipeline.prepare, pipeline._stages = prepare, light
    pipeline.census_sentences = lambda _census: []
    pipeline._opening = lambda _study: "light"
    return command()


if __name__ == "__main__":
    sys.exit(main())
