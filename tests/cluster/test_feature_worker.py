"""What a worker answers for a chunk whose images go through a base that cannot be used; no Ray is started."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_base import VAE, tensors, valued
from PIL import Image

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster.extractors import THUMBNAILS
from flowerti.cluster.feature_worker import FeatureWorker, require_written
from flowerti.config.experiment import BaseConfig


@pytest.fixture
def chunk(tmp_path: Path) -> dict[str, Any]:
    Image.fromarray(np.full((32, 32, 3), 200, dtype=np.uint8)).save(tmp_path / "0.png")
    want = {
        "file": "features/x/a.npy", "set": "x", "begin": 0, "num_views": 1, "views": "plain", "run_seed": 0,
        "backbone": 0,
    }  # fmt: skip
    return {"image_size_px": 32, "addresses": [str(tmp_path / "0.png")], "is_round_trip": True, "wants": [want]}


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (valued(VAE, "quant_conv.bias", float("nan")), r"diffusion_pytorch_model\.safetensors holds quant_conv\.bias"),
        (tensors(VAE, lambda c: c["decoder.conv_out.weight"].fill_(3e38)), "images are not finite"),
    ],
)
def test_features_of_images_that_no_base_made_are_not_written(
    tiny_base: Path, tmp_path: Path, chunk: dict[str, Any], damage, expected: str
):
    folder, run = Path(shutil.copytree(tiny_base, tmp_path / "base")), RunDirectory(str(tmp_path / "run"))
    damage(folder)
    worker = FeatureWorker((THUMBNAILS,), run, 1, "cpu", BaseConfig(path=str(folder)))
    found = worker({"chunk": [json.dumps(chunk)]})
    rows = [{name: column[0] for name, column in found.items()}]
    with pytest.raises(ValueError, match=expected):
        require_written(rows, [chunk])
    assert run.names("") == []


def test_features_that_are_written_are_no_error(tiny_base: Path, tmp_path: Path, chunk: dict[str, Any]):
    run = RunDirectory(str(tmp_path / "run"))
    found = FeatureWorker((THUMBNAILS,), run, 1, "cpu", BaseConfig(path=str(tiny_base)))({"chunk": [json.dumps(chunk)]})
    require_written([{name: column[0] for name, column in found.items()}], [chunk])
    assert run.names("") == ["features/x/a.npy"]
