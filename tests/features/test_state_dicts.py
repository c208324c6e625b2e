"""Weights files that are refused, and what they say."""

from pathlib import Path

import pytest
import torch
from torch import nn

from flowerti.features.state_dicts import load_without_classifier, read_state, sha256_of


@pytest.mark.parametrize("content", [{"state_dict": {"a": 1}}, [1, 2]])
def test_file_that_is_no_flat_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth is not a flat state dict"):
        read_state(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_broken_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} cannot be read"):
        read_state(tmp_path / name)


def test_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 3), tmp_path / "whole.pth")
    with pytest.raises(ValueError, match=r"whole\.pth cannot be read"):
        read_state(tmp_path / "whole.pth")


def test_all_weights_but_the_classifiers_are_loaded(tmp_path: Path) -> None:
    theirs, ours = (nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, num)) for num in (5, 4))
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    loaded = load_without_classifier("small", ours, tmp_path / "w.pth")
    inputs = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(inputs), theirs[:2](inputs))


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth does not fit 'small'"):
        load_without_classifier("small", nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 4)), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"'small' .* does not end in a linear layer"):
        load_without_classifier("small", nn.Sequential(nn.ReLU()), tmp_path / "w.pth")


def test_a_hash_is_sha256sums(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "abc") == expected
