"""Images of `benchmarks/ceiling.py` as features, plain and through a base's autoencoder.

Weak classes have more training images here than in a run: those beyond are the truth. This module knows nothing about
rehearsals.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from flowerti.config.data import DataConfig, ImbalanceConfig
from flowerti.config.experiment import Experiment
from flowerti.config.presets import demo, flowers102_64
from flowerti.data.access import list_records, read_images
from flowerti.data.dataset import Dataset
from flowerti.diffusion import load_base
from flowerti.features.backbones import Backbone, load_backbone
from flowerti.features.extraction import augment, extract
from flowerti.generation.image_to_image import round_trips
from pretraining.allowed_images import AllowedImages, list_allowed

_BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Which images."""

    world: Literal["demo", "flowers"] = "demo"
    """The drawn herbarium, or Oxford 102 at 64 px, all splits pooled and cut anew."""
    root: str = "../shared/data/flowers102-64"
    """Folder of the flowers."""
    base: str = ""
    """Folder of the base; empty for that of the preset."""
    weak: tuple[str, ...] = ()
    """The weak classes of the flowers; empty for those of the preset."""
    num_kept: int = 8
    """Training images of each weak class."""
    seed: int = 0
    """Run seed."""
    quick: bool = False
    """Fewer draws and numbers of images."""
    tiny: bool = False
    """As little as has every part of the answer; its numbers mean nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Features of all images, and who is weak."""

    experiment: Experiment
    class_names: tuple[str, ...]
    weak_ids: list[int]
    train_ids: Int64[np.ndarray, " num"]
    """The weak classes have more training images here than in a run."""
    train: Float32[np.ndarray, "num 2 dim"]
    augmented: Float32[np.ndarray, "num views dim"]
    tripped: Float32[np.ndarray, "num 2 dim"]
    """The same through the base's autoencoder."""
    augmented_tripped: Float32[np.ndarray, "num views dim"]
    true_ids: Int64[np.ndarray, " held_out"]
    evaluation: Float32[np.ndarray, "held_out 1 dim"]


def world_of(asked: Asked) -> World:
    """Read and look at all images."""
    experiment, dataset, weak = _demo(asked) if asked.world == "demo" else _flowers(asked)
    size, names = experiment.data.image_size_px, dataset.class_names
    train = [record for record in dataset.records if record.split == "train"]
    held_out = [record for record in dataset.records if record.split == "validation"]
    config = experiment.classifier
    backbone = load_backbone(config.backbone, config.weights, config.input_size_px)
    folder = asked.base or str(Path("flowerti/demo/base") if asked.world == "demo" else experiment.base.path)
    base = load_base(Path(folder), "float32", "cpu")
    images = read_images([record.address for record in train], size)
    batches = range(0, len(images), _BATCH)
    through = np.concatenate([round_trips(base, images[i : i + _BATCH]) for i in batches])
    evaluation = read_images([record.address for record in held_out], size)
    num_views = 1 if asked.tiny else config.num_views
    return World(
        experiment=experiment,
        class_names=names,
        weak_ids=sorted(names.index(name) for name in weak),
        train_ids=np.array([record.class_id for record in train]),
        train=_mirrored(backbone, images),
        augmented=_augmented(backbone, images, num_views),
        tripped=_mirrored(backbone, through),
        augmented_tripped=_augmented(backbone, through, num_views),
        true_ids=np.array([record.class_id for record in held_out]),
        evaluation=_features(backbone, evaluation)[:, None],
    )


def _demo(asked: Asked) -> tuple[Experiment, Dataset, list[str]]:
    from flowerti.data.sources.herbarium.species import SPECIES

    experiment = demo()
    few = {"num_train_common": 12, "num_validation": 4} if asked.tiny else {}
    num_rare = asked.num_kept + (2 if asked.tiny else 28)
    data = dataclasses.replace(experiment.data, num_train_rare=num_rare, **few)
    return experiment, list_records(data, asked.seed), [species.name for species in SPECIES if species.rare]


def _flowers(asked: Asked) -> tuple[Experiment, Dataset, list[str]]:
    experiment = flowers102_64()
    # the cut of a run, with alike images on one side, for which bases are made
    images = AllowedImages(
        data=DataConfig(kind="flowers102", root=asked.root),
        imbalance=ImbalanceConfig(resplit=True),
        split_seed=asked.seed,
    )
    cut = list_allowed(images).dataset
    return experiment, cut, list(asked.weak or experiment.selection.class_names)


def _features(backbone: Backbone, images: UInt8[np.ndarray, "num h w 3"]) -> Float32[np.ndarray, "num dim"]:
    return np.concatenate([extract(backbone, images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)])


def _mirrored(backbone: Backbone, images: UInt8[np.ndarray, "num h w 3"]) -> Float32[np.ndarray, "num 2 dim"]:
    return np.stack([_features(backbone, images), _features(backbone, images[:, :, ::-1])], axis=1)


def _augmented(
    backbone: Backbone, images: UInt8[np.ndarray, "num h w 3"], num_views: int
) -> Float32[np.ndarray, "num views dim"]:
    views = augment(images, num_views, seed=0)
    return np.stack([_features(backbone, views[:, view]) for view in range(num_views)], axis=1)
