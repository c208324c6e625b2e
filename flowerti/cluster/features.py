"""Extracts features of sets of images with Ray Data: an actor pool processes each image once.

A row is a chunk of addresses, split by index. The worker reads the images and writes float32 features to the run
directory, so neither images nor features pass through the driver. Existing files are reused.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.data import ActorPoolStrategy

from flowerti.artifacts import layout
from flowerti.artifacts.identity import key_of
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster.extractors import BackboneChoice
from flowerti.cluster.feature_worker import BATCH_SIZE, FeatureWorker, require_written
from flowerti.cluster.session import connect, device_of
from flowerti.config.experiment import BaseConfig, ClusterConfig
from flowerti.features.files import StoredFeatures, feature_file, intact_features
from flowerti.progress import Progress

_FILE_SIZE = 8 * BATCH_SIZE
"""Images per file; a multiple of the batch size, so that batches do not depend on the size of the set."""
_OF_READING = ("addresses", "image_size_px", "is_round_trip")
"""What chunks that are read together have in common."""


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


def compute_features(
    sets: list[FeatureSet],
    backbone: BackboneChoice,
    weights_sha256: str,
    run: RunDirectory,
    cluster: ClusterConfig,
    base: BaseConfig | None = None,
    progress: Progress | None = None,
) -> dict[str, StoredFeatures]:
    """The feature files of every set, by its name; missing features are computed. See `extract_together`."""
    wanted = Extraction(backbone=backbone, weights_sha256=weights_sha256, sets=tuple(sets))
    return extract_together([wanted], run, cluster, base, progress)[0]


def extract_together(
    extractions: Sequence[Extraction],
    run: RunDirectory,
    cluster: ClusterConfig,
    base: BaseConfig | None = None,
    progress: Progress | None = None,
) -> list[dict[str, StoredFeatures]]:
    """The feature files of every set, by its name; missing features are computed, all by the same workers.

    Args:
        extractions: what is wanted, each set once for each backbone.
        run: where features are written.
        cluster: workers.
        base: for sets whose images go through its autoencoder first.
        progress: is told how many images have been looked at.

    Returns:
        For each extraction the files of its sets.

    Raises:
        ValueError: a worker cannot use the base, or images that went through it are not finite.
    """
    roots = [layout.features(one.backbone.name, one.backbone.input_size_px) for one in extractions]
    chunks = [_chunks_by_set(one, root) for one, root in zip(extractions, roots, strict=True)]
    present = {root: run.files(root) for root in roots}
    missing: dict[BackboneChoice, list[dict[str, Any]]] = {}
    for one, root, by_set in zip(extractions, roots, chunks, strict=True):
        wanted = {chunk["file"]: chunk for of_set in by_set.values() for chunk in of_set}
        intact = intact_features(run, {file: info for file, info in present[root].items() if file in wanted})
        missing.setdefault(one.backbone, []).extend(chunk for file, chunk in wanted.items() if file not in intact)
    if any(missing.values()):
        connect(cluster)
        absent = {backbone: chunks for backbone, chunks in missing.items() if chunks}
        _run(absent, run, cluster, base, progress or Progress())
    found = [
        {name: StoredFeatures(files=tuple(chunk["file"] for chunk in of_set)) for name, of_set in by_set.items()}
        for by_set in chunks
    ]
    for root, stored in zip(roots, found, strict=True):
        _delete_others(run, {file for one in stored.values() for file in one.files}, set(present[root]))
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
    progress: Progress,
) -> None:
    backbones = tuple(missing)
    chunks = _read_once([wants | {"backbone": place} for place, one in enumerate(backbones) for wants in missing[one]])
    rows = [{"chunk": json.dumps(chunk)} for chunk in chunks]
    # blocks small enough to occupy all workers, and large enough to amortise the overhead of a block
    num_blocks = max(1, min(len(rows), 4 * cluster.num_workers))
    workers = ray.data.from_items(rows, override_num_blocks=num_blocks).map_batches(
        FeatureWorker,
        fn_constructor_args=(backbones, run, cluster.num_threads_per_worker, device_of(cluster), base),
        batch_size=1,
        # two at a time, as is the default, would give all of a few chunks to the worker that is there first
        compute=ActorPoolStrategy(size=min(cluster.num_workers, len(rows)), max_tasks_in_flight_per_actor=1),
        num_cpus=cluster.num_cpus_per_worker,
        num_gpus=cluster.num_gpus_per_worker,
    )
    require_written(_counted(workers.iter_rows(), chunks, progress), chunks)


def _counted(
    answers: Iterable[Mapping[str, Any]], chunks: Sequence[Mapping[str, Any]], progress: Progress
) -> list[Mapping[str, Any]]:
    """All answers of the workers, of which each chunk's first says that its images have been looked at."""
    num_images = {chunk["wants"][0]["file"]: len(chunk["addresses"]) for chunk in chunks}
    done, total, found = 0, sum(num_images.values()), []
    for answer in answers:
        found.append(answer)
        if answer["file"] in num_images:
            done += num_images[answer["file"]]
            progress.advance(done, total, "images looked at")
    return found


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
