"""Extracts features of sets of images with Ray Data: an actor pool processes each image once.

A row is a chunk of addresses, split by index. The worker reads the images and writes float32 features to the run
directory, so neither images nor features pass through the driver. Existing files are reused.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import ray
import torch
from jaxtyping import Float32, UInt8
from ray.data import ActorPoolStrategy

from flowerti.artifacts import layout
from flowerti.artifacts.identity import key_of, seed_for
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.base_files import UnusableBaseError, resolve_folder, verify_base
from flowerti.cluster.session import connect, device_of
from flowerti.config.experiment import BaseConfig, ClusterConfig
from flowerti.data.access import read_images
from flowerti.data.aligned_thumbnails import ALIGNED_PX, aligned_thumbnails
from flowerti.data.thumbnails import THUMBNAIL_PX, thumbnails
from flowerti.diffusion import NotFiniteError, load_base
from flowerti.features.backbones import load_backbone
from flowerti.features.extraction import augment, extract
from flowerti.features.files import StoredFeatures, feature_file, write_features
from flowerti.generation.image_to_image import round_trips
from flowerti.personalization.first_use import LoadedBase

_BATCH_SIZE = 32
"""Batch size of the feature extractors."""
_FILE_SIZE = 8 * _BATCH_SIZE
"""Images per file; a multiple of the batch size, so that batches do not depend on the size of the set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneChoice:
    """Settings of a feature extractor."""

    name: str
    weights: str
    input_size_px: int


THUMBNAILS = BackboneChoice(name="thumbnails", weights="", input_size_px=THUMBNAIL_PX)
"""No network: pixels at low resolution, for near duplicates across splits."""
ALIGNED_THUMBNAILS = BackboneChoice(name="aligned_thumbnails", weights="", input_size_px=ALIGNED_PX)
"""No network either: other pixels, for the detection of copies."""
_PIXELS = {THUMBNAILS: thumbnails, ALIGNED_THUMBNAILS: aligned_thumbnails}


def whole_pixels(image_size_px: int) -> BackboneChoice:
    """No network: the images themselves, where one that is trained as a whole needs what is dear to make again."""
    return BackboneChoice(name="pixels", weights="", input_size_px=image_size_px)


def _flat(images: UInt8[np.ndarray, "num height width 3"]) -> Float32[np.ndarray, "num values"]:
    return images.reshape(len(images), -1).astype(np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureSet:
    """A list of images, and the views whose features are computed."""

    name: str
    """File name in the run directory, without its folder."""
    addresses: list[str]
    content_key: str
    """Hash of the content of the images."""
    views: str = "plain"
    """plain: 1 view; mirrored: the image and its mirror image; augmented: num_views random views."""
    num_views: int = 1
    base_sha256: str = ""
    """Hash of the base through whose autoencoder images go first; empty for none."""
    image_size_px: int
    run_seed: int

    def key(self, backbone: BackboneChoice, weights_sha256: str) -> str:
        """Hash of all that the features depend on."""
        # addresses of files differ between machines, their content does not
        parts = (self.content_key, len(self.addresses), self.views, self.num_views, self.image_size_px)
        # only random views depend on the seed
        seed = self.run_seed if self.views == "augmented" else 0
        through = [self.base_sha256] if self.base_sha256 else []
        return key_of([*parts, *through], backbone.name, weights_sha256, backbone.input_size_px, seed)


class FeatureWorker:
    """Reads a chunk of images, extracts their features and writes them into the run directory."""

    def __init__(
        self, backbone: BackboneChoice, run: RunDirectory, num_threads: int, device: str, base: BaseConfig | None = None
    ) -> None:
        """Load the backbone once, and the base if images go through its autoencoder; `device` is "cpu" or "cuda"."""
        torch.set_num_threads(num_threads)
        self._loaded: LoadedBase | None = None
        if base:
            self._loaded = LoadedBase(lambda: load_base(resolve_folder(base) or verify_base(base), base.dtype, device))
        if backbone in _PIXELS:
            self._features = _PIXELS[backbone]
        elif backbone.name == "pixels":
            self._features = _flat
        else:
            loaded = load_backbone(backbone.name, backbone.weights, backbone.input_size_px)
            loaded.module.to(device)
            self._features = partial(extract, loaded)
        self._run = run

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ray Data's contract: chunks as JSON in the column `chunk` in, the names of their files out.

        The column `error` says why a file was not written where the base is to blame; else it is empty.
        """
        chunks = [json.loads(text) for text in batch["chunk"]]
        errors = [self._attempt(chunk) for chunk in chunks]
        return {"file": np.array([chunk["file"] for chunk in chunks]), "error": np.array(errors)}

    def _attempt(self, chunk: dict[str, Any]) -> str:
        try:
            parts = [self._extract(chunk, begin) for begin in range(0, len(chunk["addresses"]), _BATCH_SIZE)]
        except (NotFiniteError, UnusableBaseError) as error:
            return str(error)
        write_features(self._run, chunk["file"], np.concatenate(parts))
        return ""

    def _extract(self, chunk: dict[str, Any], begin: int) -> np.ndarray:
        addresses = chunk["addresses"][begin : begin + _BATCH_SIZE]
        images = read_images(addresses, chunk["image_size_px"], self._run)
        if chunk["is_round_trip"]:
            assert self._loaded is not None
            images = round_trips(self._loaded.base, images)
        views = self._views(images, chunk, chunk["begin"] + begin)
        return np.stack([self._features(views[:, i]) for i in range(views.shape[1])], axis=1)

    @staticmethod
    def _views(images: np.ndarray, chunk: dict[str, Any], begin: int) -> np.ndarray:
        if chunk["views"] == "augmented":
            seed = seed_for(chunk["run_seed"], "", f"augment/{chunk['set']}", begin)
            return augment(images, chunk["num_views"], seed)
        if chunk["views"] == "mirrored":
            return np.stack([images, images[:, :, ::-1]], axis=1)
        return images[:, None]


def compute_features(
    sets: list[FeatureSet],
    backbone: BackboneChoice,
    weights_sha256: str,
    run: RunDirectory,
    cluster: ClusterConfig,
    base: BaseConfig | None = None,
) -> dict[str, StoredFeatures]:
    """The feature files of every set, by its name; missing features are computed.

    Args:
        sets: what is wanted; those of one call have one folder each, in which other files are deleted.
        backbone: the network.
        weights_sha256: of the network.
        run: where features are written.
        cluster: workers.
        base: for sets whose images go through its autoencoder first.

    Raises:
        ValueError: a worker cannot use the base, or images that went through it are not finite.
    """
    root = layout.features(backbone.name, backbone.input_size_px)
    chunks = {s.name: _chunks(s, f"{root}/{s.name}", s.key(backbone, weights_sha256)) for s in sets}
    present = set(run.names(root))
    missing = [chunk for of_set in chunks.values() for chunk in of_set if chunk["file"] not in present]
    if missing:
        connect(cluster)
        _run(missing, backbone, run, cluster, base)
    wanted = {chunk["file"] for of_set in chunks.values() for chunk in of_set}
    folders = {file.rpartition("/")[0] for file in wanted}
    for file in present:
        # made from inputs that have changed since
        if file not in wanted and file.rpartition("/")[0] in folders:
            run.delete(file)
    return {name: StoredFeatures(files=tuple(chunk["file"] for chunk in of_set)) for name, of_set in chunks.items()}


def _run(
    chunks: list[dict[str, Any]],
    backbone: BackboneChoice,
    run: RunDirectory,
    cluster: ClusterConfig,
    base: BaseConfig | None,
) -> None:
    rows = [{"chunk": json.dumps(chunk)} for chunk in chunks]
    # blocks small enough to occupy all workers, and large enough to amortise the overhead of a block
    num_blocks = max(1, min(len(rows), 4 * cluster.num_workers))
    written = (
        ray.data.from_items(rows, override_num_blocks=num_blocks)
        .map_batches(
            FeatureWorker,
            fn_constructor_args=(backbone, run, cluster.num_threads_per_worker, device_of(cluster), base),
            batch_size=1,
            compute=ActorPoolStrategy(size=min(cluster.num_workers, len(rows))),
            num_cpus=cluster.num_cpus_per_worker,
            num_gpus=cluster.num_gpus_per_worker,
        )
        .take_all()
    )
    require_written(written, chunks)


def require_written(rows: Sequence[Mapping[str, Any]], chunks: Sequence[Mapping[str, Any]]) -> None:
    """Check that workers answered for all chunks, as `FeatureWorker` does, and wrote them.

    Raises:
        ValueError: a worker cannot use the base, or images that went through it are not finite; says why.
    """
    errors = [row["error"] for row in rows if row["error"]]
    if errors:
        raise ValueError(errors[0])
    assert {row["file"] for row in rows} == {chunk["file"] for chunk in chunks}, "Ray Data dropped a chunk"


def _chunks(wanted: FeatureSet, folder: str, key: str) -> list[dict[str, Any]]:
    return [
        {
            "file": feature_file(folder, key, begin),
            "set": wanted.name,
            "begin": begin,
            "addresses": wanted.addresses[begin : begin + _FILE_SIZE],
            "views": wanted.views,
            "num_views": wanted.num_views,
            "image_size_px": wanted.image_size_px,
            "run_seed": wanted.run_seed,
            "is_round_trip": bool(wanted.base_sha256),
        }
        for begin in range(0, len(wanted.addresses), _FILE_SIZE)
    ]
