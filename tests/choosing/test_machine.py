"""GPUs as the driver's table has them, and which of them a process may use."""

import importlib.metadata
import sys
from pathlib import Path

import pytest

from flowerti.choosing import machine as module
from flowerti.choosing.machine import Machine, find_machine, gpus_in, visible

TABLE = """0, GPU-aaaa, NVIDIA H100 80GB HBM3, 4, 81559
1, GPU-bbbb, NVIDIA H100 80GB HBM3, 40000, 81559
No devices were found
"""


def test_the_table_is_read_and_a_gpu_in_use_is_not_idle():
    first, second = gpus_in(TABLE)
    assert (first.name, first.memory_mb, first.is_idle, second.is_idle) == ("NVIDIA H100 80GB HBM3", 81559, True, False)
    assert Machine(num_cpus=1, memory_gb=1.0, gpus=(first, second)).idle_gpus == (first,)
    assert Machine(num_cpus=1, memory_gb=1.0, gpus=(first,), torch_has_cuda=False).idle_gpus == ()


@pytest.mark.parametrize(
    ("named", "expected"),
    [(None, ["0", "1"]), ("", []), ("1", ["1"]), ("GPU-aaaa", ["0"]), ("-1", []), ("1,0", ["0", "1"])],
)
def test_only_visible_gpus_count(named: str | None, expected: list[str]):
    assert [gpu.index for gpu in visible(gpus_in(TABLE), named)] == expected


def test_this_machine_is_looked_at_without_torch(monkeypatch: pytest.MonkeyPatch):
    import psutil

    monkeypatch.setattr(module, "_asked_driver", lambda: TABLE)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = find_machine()
    assert len(found.gpus) == 2
    assert found.memory_gb == psutil.virtual_memory().total / 1e9
    assert 1 <= found.num_cpus <= (psutil.cpu_count() or 1)


def test_torch_tells_the_same_about_cuda():
    import torch

    assert find_machine().torch_has_cuda == (torch.version.cuda is not None)
    assert importlib.metadata.version("torch") and sys.modules["torch"]


def test_names_of_weights_are_torchvision_s():
    import torchvision

    from flowerti.choosing.weights import TORCHVISION_FILES

    for name, file in TORCHVISION_FILES.items():
        default = torchvision.models.get_model_weights(name).DEFAULT
        assert Path(default.url).name == file


def test_weights_are_looked_for_where_torch_keeps_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import torch

    from flowerti.choosing.weights import backbones_here, weights_folder

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert weights_folder() == Path(torch.hub.get_dir()) / "checkpoints"
    assert "resnet18" not in backbones_here()
    weights_folder().mkdir(parents=True)
    (weights_folder() / "resnet18-f37072fd.pth").write_bytes(b"")
    assert backbones_here()[0] == "resnet18"
