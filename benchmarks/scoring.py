"""What scoring costs: the Fréchet distance against two usual ways, the class matrix against its features, and Ray Data.

`python benchmarks/scoring.py --quick` prints one JSON object. Distances are timed on random features, all else on real
images where a data set in Oxford 102's layout is named, else on the drawn herbarium.
"""

import functools
import multiprocessing
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.paired import compared_rates, paired_ratio, print_result, ratio_of
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster.extractors import BackboneChoice
from flowerti.cluster.features import FeatureSet, compute_features
from flowerti.cluster.session import close
from flowerti.config.experiment import ClusterConfig, DataConfig
from flowerti.data.access import list_records, read_images
from flowerti.features.backbones import load_backbone
from flowerti.features.extraction import extract
from flowerti.metrics.frechet import frechet_distance
from flowerti.scoring.class_matrix import class_matrix

_BACKBONE = BackboneChoice(name="efficientnet_lite0", weights="", input_size_px=128)
_BATCH_SIZE = 32
_NUM_WORKERS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Measures scoring."""

    quick: bool = False
    """Fewer pairs and images; answers within ten minutes on two cores."""
    tiny: bool = False
    """As little as has every part of the answer; its numbers mean nothing."""
    root: str = "../shared/data/flowers102-64"
    """Oxford 102 in torchvision's layout; the herbarium is drawn where the folder is missing or none is named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineSize:
    """How much the Ray pipeline does."""

    num_pairs: int
    """At least 2: an interval needs them."""
    num_images: int
    """Beyond the eighth of them that only warms up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much is measured."""

    width: int
    """Of the features between which the Fréchet distance is taken."""
    num_frechet_pairs: int
    num_matrix_pairs: int
    num_matrix_images: int
    """About so many enter the class matrix."""
    pipeline: PipelineSize


QUICK = Size(
    width=2048,
    num_frechet_pairs=5,
    num_matrix_pairs=3,
    num_matrix_images=1500,
    pipeline=PipelineSize(num_pairs=3, num_images=4096),
)
FULL = replace(QUICK, num_frechet_pairs=15, num_matrix_pairs=5, pipeline=PipelineSize(num_pairs=6, num_images=4096))
TINY = Size(
    width=32,
    num_frechet_pairs=2,
    num_matrix_pairs=2,
    num_matrix_images=100,
    pipeline=PipelineSize(num_pairs=2, num_images=64),
)


def main() -> None:
    """Measure and print."""
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    data = (
        DataConfig(kind="flowers102", root=options.root)
        if options.root and Path(options.root).is_dir()
        else DataConfig(kind="herbarium")
    )
    addresses, class_ids = _images(data)
    size = TINY if options.tiny else QUICK if options.quick else FULL
    ratios, details = frechet(size.width, size.num_frechet_pairs)
    details["data"] = data.kind
    ratios["matrix_3_by_all_classes"], details["matrix"] = matrix(addresses, class_ids, size)
    ratios["ray_pipeline_rate_to_bare_loop"], details["ray"] = ray_pipeline(addresses, size.pipeline)
    print_result("scoring", ratios, details)


def _images(data: DataConfig) -> tuple[list[str], np.ndarray]:
    """Addresses and class ids of held-out images, most of the data set's."""
    dataset = list_records(data, seed=0)
    records = [record for split in ("validation", "test") for record in dataset.of(split)]
    return [record.address for record in records], np.array([record.class_id for record in records])


def frechet(width: int, num_pairs: int) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """The Fréchet distance of 100 against 100 images at a width, CPU seconds of one thread."""
    rng = np.random.default_rng(0)
    spread = np.arange(1, width + 1) ** -0.5
    x, y = (rng.normal(size=(100, width)) * spread + shift for shift in (0.0, 0.02))
    ways = {
        "frechet_to_torchmetrics": (functools.partial(_by_torchmetrics, x, y), num_pairs),
        "frechet_to_scipy_sqrtm": (functools.partial(_by_sqrtm, x, y), 2),
    }
    values = {"ours": frechet_distance(x, y)} | {name: way() for name, (way, _) in ways.items()}
    ours = functools.partial(frechet_distance, x, y)
    ratios = {name: paired_ratio(way, ours, pairs) for name, (way, pairs) in ways.items()}
    return ratios, {"frechet_values": values}


def _by_torchmetrics(x: np.ndarray, y: np.ndarray) -> float:
    from torchmetrics.image.fid import _compute_fid

    statistics = [t for z in (x, y) for t in (torch.from_numpy(z.mean(0)), torch.from_numpy(np.cov(z, rowvar=False)))]
    return float(_compute_fid(statistics[0], statistics[1], statistics[2], statistics[3]))


def _by_sqrtm(x: np.ndarray, y: np.ndarray) -> float:
    from scipy.linalg import sqrtm

    covariances = [np.cov(z, rowvar=False) for z in (x, y)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that the root of a singular matrix may not exist
        root = sqrtm(covariances[0] @ covariances[1])
    shift = ((x.mean(0) - y.mean(0)) ** 2).sum()
    return float(shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(root).real)


def matrix(addresses: list[str], class_ids: np.ndarray, size: Size) -> tuple[dict[str, float], dict[str, Any]]:
    """Features and matrix against the features alone: three sets of 64 images against every class."""
    backbone = load_backbone(_BACKBONE.name, _BACKBONE.weights, _BACKBONE.input_size_px)
    chosen = np.arange(0, len(addresses), max(1, len(addresses) // size.num_matrix_images))
    few = [addresses[i] for i in chosen]
    names = [str(i) for i in range(int(class_ids.max()) + 1)]

    def features() -> np.ndarray:
        batches = (few[i : i + _BATCH_SIZE] for i in range(0, len(few), _BATCH_SIZE))
        return np.concatenate([extract(backbone, read_images(batch, 64)) for batch in batches])

    found = features()
    of_class = {name: found[class_ids[chosen] == int(name)] for name in names}
    sets = {(name, "token"): np.roll(found, 64 * i, axis=0)[:64] + 0.1 for i, name in enumerate(names[:3])}
    feature_s, matrix_s = np.zeros(size.num_matrix_pairs), np.zeros(size.num_matrix_pairs)
    for pair in range(size.num_matrix_pairs):
        begun = time.process_time()
        features()
        feature_s[pair] = time.process_time() - begun
        begun = time.process_time()
        class_matrix(sets, of_class, names, "efficientnet_lite0", seed=0)
        matrix_s[pair] = time.process_time() - begun
    shape = {"num_images": len(few), "num_classes": len(names), "cost_over_features": None}
    ratio = ratio_of(feature_s, feature_s + matrix_s)
    return ratio, shape | {"cost_over_features": 1 / ratio["value"]}


def ray_pipeline(addresses: list[str], size: PipelineSize) -> tuple[dict[str, float], dict[str, Any]]:
    """Images a second of the Ray pipeline once warm, against as many processes in a bare loop on the same cores.

    Warm: a pipeline over many images less one over few, so that the start of Ray and of its actors falls out.
    """
    num_few = size.num_images // 8
    few, many = addresses[:num_few], (addresses * 2)[: num_few + size.num_images]
    extra = len(many) - len(few)
    ours, bare = np.zeros(size.num_pairs), np.zeros(size.num_pairs)
    with (
        multiprocessing.get_context("spawn").Pool(_NUM_WORKERS, _load) as pool,
        tempfile.TemporaryDirectory() as folder,
    ):
        _loop(pool, few)
        _pipeline(few, f"{folder}/warm-up")
        for pair in range(size.num_pairs):
            bare[pair] = _loop(pool, many[:extra])
            short = _pipeline(few, f"{folder}/{pair}-few")
            ours[pair] = _pipeline(many, f"{folder}/{pair}-many") - short
    close()
    ratio, details = compared_rates(bare, ours, extra)
    return ratio, details | {"num_workers": _NUM_WORKERS}


_loaded: Any = None


def _load() -> None:
    global _loaded
    torch.set_num_threads(1)
    _loaded = load_backbone(_BACKBONE.name, _BACKBONE.weights, _BACKBONE.input_size_px)


def _extract_chunk(addresses: list[str]) -> np.ndarray:
    batches = (addresses[i : i + _BATCH_SIZE] for i in range(0, len(addresses), _BATCH_SIZE))
    return np.concatenate([extract(_loaded, read_images(batch, 64)) for batch in batches])


def _loop(pool: Any, addresses: list[str]) -> float:
    begun = time.perf_counter()
    pool.map(_extract_chunk, [addresses[i : i + 256] for i in range(0, len(addresses), 256)], chunksize=1)
    return time.perf_counter() - begun


def _pipeline(addresses: list[str], run_dir: str) -> float:
    wanted = FeatureSet(name="real", addresses=addresses, content_key=run_dir, image_size_px=64, run_seed=0)
    begun = time.perf_counter()
    compute_features([wanted], _BACKBONE, "benchmark", RunDirectory(run_dir), ClusterConfig(num_workers=_NUM_WORKERS))
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
