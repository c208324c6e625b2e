"""The worker that extracts features: reads chunks of images once, and writes all that is wanted of them.

Neither images nor features pass through the driver. This module does not know what the features are for.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.base_files import UnusableBaseError, resolve_folder, verify_base
from flowerti.cluster.extractors import BackboneChoice, load_extractor
from flowerti.config.experiment import BaseConfig
from flowerti.data.access import read_images
from flowerti.diffusion import NotFiniteError, load_base
from flowerti.features.extraction import augment
from flowerti.features.files import write_features
from flowerti.generation.image_to_image import round_trips
from flowerti.personalization.first_use import LoadedBase

BATCH_SIZE = 32
"""Batch size of the feature extractors."""


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
        self._loaded: LoadedBase | None = None
        if base:
            self._loaded = LoadedBase(lambda: load_base(resolve_folder(base) or verify_base(base), base.dtype, device))
        self._extractors = [load_extractor(backbone, device) for backbone in backbones]
        self._run = run

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ray Data's contract: chunks as JSON in the column `chunk` in, the names of their files out.

        The column `error` says why a file was not written where the base is to blame; else it is empty.
        """
        chunks = [json.loads(text) for text in batch["chunk"]]
        rows = [
            (want["file"], error) for chunk in chunks for error in [self._attempt(chunk)] for want in chunk["wants"]
        ]
        files, errors = zip(*rows, strict=True)
        return {"file": np.array(files), "error": np.array(errors)}

    def _attempt(self, chunk: dict[str, Any]) -> str:
        try:
            parts = [self._extract(chunk, begin) for begin in range(0, len(chunk["addresses"]), BATCH_SIZE)]
        except (NotFiniteError, UnusableBaseError) as error:
            return str(error)
        for want, of_want in zip(chunk["wants"], zip(*parts, strict=True), strict=True):
            write_features(self._run, want["file"], np.concatenate(of_want))
        return ""

    def _extract(self, chunk: dict[str, Any], begin: int) -> list[np.ndarray]:
        """Features of some images of a chunk, for each thing that is wanted of them."""
        addresses = chunk["addresses"][begin : begin + BATCH_SIZE]
        images = read_images(addresses, chunk["image_size_px"], self._run)
        if chunk["is_round_trip"]:
            assert self._loaded is not None
            images = round_trips(self._loaded.base, images)
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


def require_written(rows: Sequence[Mapping[str, Any]], chunks: Sequence[Mapping[str, Any]]) -> None:
    """Check that workers answered for all chunks, as `FeatureWorker` does, and wrote what was wanted of them.

    Raises:
        ValueError: a worker cannot use the base, or images that went through it are not finite; says why.
    """
    errors = [row["error"] for row in rows if row["error"]]
    if errors:
        raise ValueError(errors[0])
    wanted = {want["file"] for chunk in chunks for want in chunk["wants"]}
    assert {row["file"] for row in rows} == wanted, "Ray Data dropped a chunk"
