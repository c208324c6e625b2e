"""Extracts features of sets of images with Ray Data: an actor pool processes each image once.

A row is a chunk of addresses, split by index. The worker reads the images and writes float32 features to the run
directory, so neither images nor features pass through the driver. Existing files are reused.
"""

import json
from collections.abc import Callable, Sequence
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
from flowerti.base_files import resolve_folder, verify_base
from flowerti.cluster.session import connect, device_of
from flowerti.config.experiment import BaseConfig, ClusterConfig
from flowerti.data.access import read_images
from flowerti.data.aligned_thumbnails import ALIGNED_PX, aligned_thumbnails
from flowerti.data.thumbnails import THUMBNAIL_PX, thumbnails
from flowerti.diffusion import load_base
from flowerti.features.backbones import load_backbone
from flowerti.features.extraction import augment, extract
from flowerti.features.files import StoredFeatures, feature_file, write_features
from flowerti.generation.image_to_image import round_trips

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Extraction:
    """Sets of images, and the network that they go through."""

    backbone: BackboneChoice
    weights_sha256: str
    """Of the network."""
    sets: tuple[FeatureSet, ...]
    """Those of one extraction have one folder each, in which other files are deleted."""


class FeatureWorker:
    """Reads a chunk of images, extracts their features and writes them into the run directory."""

    def __init__(
        self,
        backbones: tuple[BackboneChoice, ...],
        run: RunDirectory,
        num_threads: int,
        device: str,
        base: BaseConfig | None = None,
    ) -> None:
        """Load each backbone once, and the base if images go through its autoencoder; `device` is "cpu" or "cuda"."""
        torch.set_num_threads(num_threads)
        self._base = load_base(resolve_folder(base) or verify_base(base), base.dtype, device) if base else None
        self._extractors = [_extractor(backbone, device) for backbone in backbones]
        self._run = run

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ray Data's contract: chunks as JSON in the column `chunk` in, the names of the written files out."""
        files: list[str] = []
        for chunk in map(json.loads, batch["chunk"]):
            parts = [self._extract(chunk, begin) for begin in range(0, len(chunk["addresses"]), _BATCH_SIZE)]
            for want, of_want in zip(chunk["wants"], zip(*parts, strict=True), strict=True):
                write_features(self._run, want["file"], np.concatenate(of_want))
                files.append(want["file"])
        return {"file": np.array(files)}

    def _extract(self, chunk: dict[str, Any], begin: int) -> list[np.ndarray]:
        """Features of some images of a chunk, for each thing that is wanted of them."""
        addresses = chunk["addresses"][begin : begin + _BATCH_SIZE]
        images = read_images(addresses, chunk["image_size_px"], self._run)
        if chunk["is_round_trip"]:
            assert self._base is not None
            images = round_trips(self._base, images)
        found = []
        for want in chunk["wants"]:
            views, features = self._views(images, want, want["begin"] + begin), self._extractors[want["backbone"]]
            found.append(np.stack([features(views[:, i]) for i in range(views.shape[1])], axis=1))
        return found

    @staticmethod
    def _views(images: np.ndarray, want: dict[str, Any], begin: int) -> np.ndarray:
        if want["views"] == "augmented":
            seed = seed_for(want["run_seed"], "", f"augment/{want['set']}", begin)
            return augment(images, want["num_views"], seed)
        if want["views"] == "mirrored":
            return np.stack([images, images[:, :, ::-1]], axis=1)
        return images[:, None]


def _extractor(backbone: BackboneChoice, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """Images, a batch at a time -> their features."""
    if backbone in _PIXELS:
        return _PIXELS[backbone]
    if backbone.name == "pixels":
        return _flat
    loaded = load_backbone(backbone.name, backbone.weights, backbone.input_size_px)
    loaded.module.to(device)
    return partial(extract, loaded)


def compute_features(
    sets: list[FeatureSet],
    backbone: BackboneChoice,
    weights_sha256: str,
    run: RunDirectory,
    cluster: ClusterConfig,
    base: BaseConfig | None = None,
) -> dict[str, StoredFeatures]:
    """The feature files of every set, by its name; missing features are computed. See `extract_together`."""
    wanted = Extraction(backbone=backbone, weights_sha256=weights_sha256, sets=tuple(sets))
    return extract_together([wanted], run, cluster, base)[0]


def extract_together(
    extractions: Sequence[Extraction], run: RunDirectory, cluster: ClusterConfig, base: BaseConfig | None = None
) -> list[dict[str, StoredFeatures]]:
    """The feature files of every set, by its name; missing features are computed, all by the same workers.

    Args:
        extractions: what is wanted, each set once for each backbone.
        run: where features are written.
        cluster: workers.
        base: for sets whose images go through its autoencoder first.

    Returns:
        For each extraction the files of its sets.
    """
    roots = [layout.features(one.backbone.name, one.backbone.input_size_px) for one in extractions]
    chunks = [_chunks_by_set(one, root) for one, root in zip(extractions, roots, strict=True)]
    present = {root: set(run.names(root)) for root in roots}
    missing: dict[BackboneChoice, list[dict[str, Any]]] = {}
    for one, root, by_set in zip(extractions, roots, chunks, strict=True):
        absent = [chunk for of_set in by_set.values() for chunk in of_set if chunk["file"] not in present[root]]
        missing.setdefault(one.backbone, []).extend(absent)
    if any(missing.values()):
        connect(cluster)
        _run({backbone: absent for backbone, absent in missing.items() if absent}, run, cluster, base)
    found = [
        {name: StoredFeatures(files=tuple(chunk["file"] for chunk in of_set)) for name, of_set in by_set.items()}
        for by_set in chunks
    ]
    for root, stored in zip(roots, found, strict=True):
        _delete_others(run, {file for one in stored.values() for file in one.files}, present[root])
    return found


def _delete_others(run: RunDirectory, wanted: set[str], present: set[str]) -> None:
    """Delete what was made from inputs that have changed since: other files in the folders of wanted ones."""
    folders = {file.rpartition("/")[0] for file in wanted}
    for file in present - wanted:
        if file.rpartition("/")[0] in folders:
            run.delete(file)


def _run(
    missing: dict[BackboneChoice, list[dict[str, Any]]],
    run: RunDirectory,
    cluster: ClusterConfig,
    base: BaseConfig | None,
) -> None:
    backbones = tuple(missing)
    chunks = _read_once([wants | {"backbone": place} for place, one in enumerate(backbones) for wants in missing[one]])
    rows = [{"chunk": json.dumps(chunk)} for chunk in chunks]
    # blocks small enough to occupy all workers, and large enough to amortise the overhead of a block
    num_blocks = max(1, min(len(rows), 4 * cluster.num_workers))
    written = (
        ray.data.from_items(rows, override_num_blocks=num_blocks)
        .map_batches(
            FeatureWorker,
            fn_constructor_args=(backbones, run, cluster.num_threads_per_worker, device_of(cluster), base),
            batch_size=1,
            compute=ActorPoolStrategy(size=min(cluster.num_workers, len(rows))),
            num_cpus=cluster.num_cpus_per_worker,
            num_gpus=cluster.num_gpus_per_worker,
        )
        .take_all()
    )
    wanted = {want["file"] for chunk in chunks for want in chunk["wants"]}
    assert {row["file"] for row in written} == wanted, "Ray Data dropped a chunk"


_OF_READING = ("addresses", "image_size_px", "is_round_trip")


def _read_once(wants: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Chunks of images, each with all that is wanted of it: images may cost more to read than to look at."""
    chunks: dict[str, dict[str, Any]] = {}
    for want in wants:
        reading = {name: want[name] for name in _OF_READING}
        chunk = chunks.setdefault(json.dumps(reading), reading | {"wants": {}})
        # a set may be wanted twice; its files are written once
        chunk["wants"][want["file"]] = {name: value for name, value in want.items() if name not in _OF_READING}
    return [chunk | {"wants": list(chunk["wants"].values())} for chunk in chunks.values()]


def _chunks_by_set(wanted: Extraction, root: str) -> dict[str, list[dict[str, Any]]]:
    return {s.name: _chunks(s, f"{root}/{s.name}", s.key(wanted.backbone, wanted.weights_sha256)) for s in wanted.sets}


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
