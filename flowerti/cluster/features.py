"""Features of sets of pictures with Ray Data: each picture goes once through an actor of the pool.

A row is a chunk of addresses, cut by index; the worker reads the pictures itself and returns float32 features, so that
pictures never pass through the driver. Finished sets are kept in the run directory under the backbone's name.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch
from ray.data import ActorPoolStrategy
from safetensors.numpy import load, save

from flowerti.artifacts import key_of, seed_for
from flowerti.cluster.session import connect, device_of
from flowerti.config import ClusterConfig
from flowerti.data import read_picture
from flowerti.features import augment, extract, load_backbone
from flowerti.run_directory import RunDirectory
from flowerti.shards import read_synthetic
from flowerti.tensor_files import metadata_of

_CHUNK_SIZE = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneChoice:
    """Which network makes the features."""

    name: str
    weights: str
    input_size_px: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureSet:
    """A list of pictures whose features are wanted."""

    name: str
    """File name in the run directory, without its folder."""
    addresses: list[str]
    content_key: str
    """Hash of what the addresses hold."""
    views: str = "plain"
    """plain: 1 view; mirrored: the picture and its mirror image; augmented: num_views random views."""
    num_views: int = 1
    image_size_px: int
    run_seed: int

    def key(self, backbone: BackboneChoice, weights_sha256: str) -> str:
        """Hash of all that the features depend on."""
        # addresses of files differ between machines, their content does not
        parts = (self.content_key, len(self.addresses), self.views, self.num_views, self.image_size_px)
        # only random views depend on the seed
        seed = self.run_seed if self.views == "augmented" else 0
        return key_of(list(parts), backbone.name, weights_sha256, backbone.input_size_px, seed)


class FeatureWorker:
    """Reads a chunk of pictures and extracts their features."""

    def __init__(self, backbone: BackboneChoice, run: RunDirectory, num_threads: int, device: str) -> None:
        """Load the backbone once; `device` is "cpu" or "cuda"."""
        torch.set_num_threads(num_threads)
        self._backbone = load_backbone(backbone.name, backbone.weights, backbone.input_size_px)
        self._backbone.module.to(device)
        self._run = run

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ray Data's contract: chunks as JSON in the column `chunk` in, their features as bytes out."""
        chunks = [json.loads(text) for text in batch["chunk"]]
        features = [save({"features": self._extract(chunk)}) for chunk in chunks]
        return {
            "set": np.array([chunk["set"] for chunk in chunks]),
            "begin": np.array([chunk["begin"] for chunk in chunks]),
            "features": np.array(features, dtype=object),
        }

    def _extract(self, chunk: dict[str, Any]) -> np.ndarray:
        pictures = np.stack([self._read(address, chunk["image_size_px"]) for address in chunk["addresses"]])
        views = self._views(pictures, chunk)
        return np.stack([extract(self._backbone, views[:, i]) for i in range(views.shape[1])], axis=1)

    def _read(self, address: str, size_px: int) -> np.ndarray:
        if address.startswith("synthetic:"):
            return read_synthetic(self._run, address, size_px)
        return read_picture(address, size_px)

    @staticmethod
    def _views(pictures: np.ndarray, chunk: dict[str, Any]) -> np.ndarray:
        if chunk["views"] == "augmented":
            return augment(pictures, chunk["num_views"], chunk["seed"])
        if chunk["views"] == "mirrored":
            return np.stack([pictures, pictures[:, :, ::-1]], axis=1)
        return pictures[:, None]


def features_of(
    sets: list[FeatureSet], backbone: BackboneChoice, weights_sha256: str, run: RunDirectory, cluster: ClusterConfig
) -> dict[str, np.ndarray]:
    """Features [num, views, dim] of every set, by name; sets that the run directory holds are read back."""
    keys = {s.name: s.key(backbone, weights_sha256) for s in sets}
    files = {s.name: f"features/{backbone.name}-{backbone.input_size_px}/{s.name}.safetensors" for s in sets}
    found = {s.name: _load(run, files[s.name], keys[s.name]) for s in sets}
    missing = [s for s in sets if found[s.name] is None]
    if missing:
        connect(cluster)
        for name, features in _run(missing, backbone, run, cluster).items():
            run.write_bytes(files[name], save({"features": features}, {"key": keys[name]}))
            found[name] = features
    return {name: features for name, features in found.items() if features is not None}


def _load(run: RunDirectory, file: str, key: str) -> np.ndarray | None:
    if not run.exists(file):
        return None
    content = run.read_bytes(file)
    return load(content)["features"] if metadata_of(content).get("key") == key else None


def _run(
    sets: list[FeatureSet], backbone: BackboneChoice, run: RunDirectory, cluster: ClusterConfig
) -> dict[str, np.ndarray]:
    rows = [{"chunk": json.dumps(chunk)} for s in sets for chunk in _chunks(s)]
    # blocks small enough that all workers get some, large enough that a block is worth its overhead
    num_blocks = max(1, min(len(rows), 4 * cluster.num_workers))
    results = (
        ray.data.from_items(rows, override_num_blocks=num_blocks)
        .map_batches(
            FeatureWorker,
            fn_constructor_args=(backbone, run, cluster.num_threads_per_worker, device_of(cluster)),
            batch_size=1,
            compute=ActorPoolStrategy(size=min(cluster.num_workers, len(rows))),
            num_cpus=cluster.num_cpus_per_worker,
            num_gpus=cluster.num_gpus_per_worker,
        )
        .take_all()
    )
    assert len(results) == len(rows), "Ray Data dropped a chunk"
    results.sort(key=lambda row: row["begin"])
    return {
        s.name: np.concatenate([load(row["features"])["features"] for row in results if row["set"] == s.name])
        for s in sets
    }


def _chunks(wanted: FeatureSet) -> list[dict[str, Any]]:
    return [
        {
            "set": wanted.name,
            "begin": begin,
            "addresses": wanted.addresses[begin : begin + _CHUNK_SIZE],
            "views": wanted.views,
            "num_views": wanted.num_views,
            "image_size_px": wanted.image_size_px,
            "seed": seed_for(wanted.run_seed, "", f"augment/{wanted.name}", begin),
        }
        for begin in range(0, len(wanted.addresses), _CHUNK_SIZE)
    ]
