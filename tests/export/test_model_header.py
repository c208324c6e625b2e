"""Headers of exported files: read by the safetensors package, with the tensors' bytes as they were."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load, save

from flowerti.export.model_header import architecture_of, shapes_in, with_metadata

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(5, dtype=torch.float16), "c": torch.zeros(0, 4)}


def test_tensors_stay_and_are_renamed():
    content = save(TENSORS, {"old": "gone"})
    written = with_metadata(content, {"x": "é", "a": "1"}, {"b": "<café>"})
    found = load(written)
    assert set(found) == {"<café>", "a", "c"}
    assert torch.equal(found["<café>"], TENSORS["b"]) and torch.equal(found["a"], TENSORS["a"])
    begin = 8 + int.from_bytes(written[:8], "little")
    assert begin % 8 == 0
    header = json.loads(written[8:begin])["__metadata__"]
    assert header == {"a": "1", "x": "é", "modelspec.hash_sha256": f"0x{hashlib.sha256(written[begin:]).hexdigest()}"}
    assert written[begin:] == content[8 + int.from_bytes(content[:8], "little") :]


def test_the_same_input_gives_the_same_bytes_in_any_order():
    metadata = {str(i): str(i) for i in range(20)}
    content = save(TENSORS)
    assert with_metadata(content, metadata) == with_metadata(content, dict(reversed(metadata.items())))


def test_shapes_are_read_from_the_header():
    assert shapes_in(save(TENSORS)) == {"a": [5], "b": [2, 3], "c": [0, 4]}


@pytest.mark.parametrize("content", [b"", b"12345678nonsense", b"\xff" * 20])
def test_another_file_is_refused(content):
    with pytest.raises(ValueError, match="no safetensors header"):
        shapes_in(content)


@pytest.mark.parametrize(
    ("width", "prediction_type", "name"),
    [
        (768, "", "stable-diffusion-v1"),
        (768, "epsilon", "stable-diffusion-v1"),
        (1024, "v_prediction", "stable-diffusion-v2-768-v"),
        (1024, "epsilon", "stable-diffusion-v2-512"),
        (2048, "epsilon", "stable-diffusion-xl-v1-base"),
        (16, "", "stable-diffusion-text-width-16"),
    ],
)
def test_families_are_called_as_the_specification_does(width, prediction_type, name):
    assert architecture_of(width, prediction_type) == name
