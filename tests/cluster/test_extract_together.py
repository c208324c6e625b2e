"""Several extractions by the same workers: equal to single ones to the bit, and each image is read once."""

from pathlib import Path

import numpy as np
import pytest
from features_here import compute_here

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster import feature_worker
from flowerti.cluster.extractors import ALIGNED_THUMBNAILS, THUMBNAILS, BackboneChoice
from flowerti.cluster.features import Extraction, FeatureSet, compute_features, extract_together
from flowerti.config.experiment import ClusterConfig

LITE = BackboneChoice(name="efficientnet_lite0", weights="", input_size_px=32)
NUM = 40
"""More than a batch."""


def images(name: str, views: str = "plain") -> FeatureSet:
    addresses = [f"{name.split('.')[0]}/{i}" for i in range(NUM)]
    shape = {"views": views, "num_views": 2 if views == "augmented" else 1}
    return FeatureSet(name=name, addresses=addresses, content_key=name, image_size_px=16, run_seed=3, **shape)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that are read, as they come; images are noise."""
    found: list[str] = []

    def read_images(addresses: list[str], size_px: int, _run: RunDirectory) -> np.ndarray:
        found.extend(addresses)
        seeds = [[int(address.split("/")[1]), len(address)] for address in addresses]
        return np.stack(
            [np.random.default_rng(seed).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8) for seed in seeds]
        )

    monkeypatch.setattr(feature_worker, "read_images", read_images)
    return found


def test_together_as_one_by_one_and_each_image_is_read_once(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
):
    compute_here(monkeypatch)
    mirrored, augmented, other = images("rose.m", "mirrored"), images("rose.a", "augmented"), images("lily")
    wanted = [
        Extraction(backbone=LITE, weights_sha256="w", sets=(mirrored, augmented, other)),
        Extraction(backbone=ALIGNED_THUMBNAILS, weights_sha256="", sets=(images("rose.plain"), other)),
        Extraction(backbone=LITE, weights_sha256="w", sets=(other,)),
        Extraction(backbone=THUMBNAILS, weights_sha256="", sets=(images("rose.plain"),)),
    ]
    together, alone = RunDirectory(str(tmp_path / "together")), RunDirectory(str(tmp_path / "alone"))
    found = extract_together(wanted, together, ClusterConfig())
    assert sorted(read) == sorted(f"{name}/{i}" for name in ("rose", "lily") for i in range(NUM))
    for one, of_one in zip(wanted, found, strict=True):
        for images_of in one.sets:
            single = compute_features([images_of], one.backbone, one.weights_sha256, alone, ClusterConfig())
            assert single[images_of.name].files == of_one[images_of.name].files
            assert np.array_equal(single[images_of.name].read(alone), of_one[images_of.name].read(together))
    assert found[0]["rose.a"].read(together).shape[:2] == (NUM, 2)
    num_read = len(read)
    assert extract_together(wanted, together, ClusterConfig()) == found
    assert len(read) == num_read, "nothing was missing"


def test_what_was_made_from_other_images_is_deleted(tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch):
    compute_here(monkeypatch)
    run = RunDirectory(str(tmp_path))
    wanted = [Extraction(backbone=THUMBNAILS, weights_sha256="", sets=(images("rose"), images("lily")))]
    (before,) = extract_together(wanted, run, ClusterConfig())
    changed = FeatureSet(name="rose", addresses=["lily/1"], content_key="new", image_size_px=16, run_seed=3)
    extract_together([Extraction(backbone=THUMBNAILS, weights_sha256="", sets=(changed,))], run, ClusterConfig())
    assert not any(run.exists(file) for file in before["rose"].files)
    assert all(run.exists(file) for file in before["lily"].files)
