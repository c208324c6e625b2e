"""What this machine has for a run: processors, memory, and GPUs that nobody uses.

It is asked without torch, and without Ray. This module does not know what a run needs.
"""

import importlib.util
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_IDLE_SHARE = 0.1
"""Of a GPU's memory that may be in use for it to count as idle."""
_QUERY = ("nvidia-smi", "--query-gpu=index,uuid,name,memory.used,memory.total", "--format=csv,noheader,nounits")
_QUERY_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One GPU."""

    index: str
    uuid: str
    name: str
    used_mb: int
    memory_mb: int

    @property
    def is_idle(self) -> bool:
        """Whether hardly any of its memory is in use."""
        return self.used_mb <= _IDLE_SHARE * self.memory_mb


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What a run could use."""

    num_cpus: int
    memory_gb: float
    gpus: tuple[Gpu, ...] = ()
    """Those that this process may use."""
    torch_has_cuda: bool = True
    """Whether the installed torch can use a GPU."""

    @property
    def idle_gpus(self) -> tuple[Gpu, ...]:
        """Those that a run could use."""
        return tuple(gpu for gpu in self.gpus if gpu.is_idle) if self.torch_has_cuda else ()


def find_machine() -> Machine:
    """Look at the machine; nothing is loaded."""
    import psutil

    return Machine(
        num_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gb=psutil.virtual_memory().total / 1e9,
        gpus=visible(gpus_in(_asked_driver()), os.environ.get("CUDA_VISIBLE_DEVICES")),
        torch_has_cuda=_torch_has_cuda(),
    )


def gpus_in(table: str) -> tuple[Gpu, ...]:
    """The GPUs in the table that `nvidia-smi` prints; lines of another form are none."""
    found = []
    for line in table.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 5 and parts[3].isdigit() and parts[4].isdigit():
            index, uuid, name, used, total = parts
            found.append(Gpu(index=index, uuid=uuid, name=name, used_mb=int(used), memory_mb=int(total)))
    return tuple(found)


def visible(gpus: tuple[Gpu, ...], named: str | None) -> tuple[Gpu, ...]:
    """The GPUs that CUDA_VISIBLE_DEVICES names, by index or UUID; all where it is not set."""
    if named is None:
        return gpus
    wanted = [name.strip() for name in named.split(",") if name.strip()]
    return tuple(gpu for gpu in gpus if any(gpu.index == name or gpu.uuid.startswith(name) for name in wanted))


def _asked_driver() -> str:
    """What the driver's program prints; empty where there is none, or it does not answer."""
    try:
        found = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_QUERY_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout


def _torch_has_cuda() -> bool:
    """Whether torch comes with its library for CUDA, seen without importing it."""
    found = importlib.util.find_spec("torch")
    if found is None or not found.submodule_search_locations:
        return False
    return any(any((Path(place) / "lib").glob("*torch_cuda*")) for place in found.submodule_search_locations)
