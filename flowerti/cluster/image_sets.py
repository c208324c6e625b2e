"""Defines the sets of images whose features the stages use: real splits, and synthetic sets by class and source.

Classifier and scoring share the features of a set if both use the same network at the same size. The inputs of a
classifier (stored features, or the images themselves) are also defined here, and loaded on the worker.
"""

import functools
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from flowerti.artifacts.identity import key_of, of_learning, slug
from flowerti.artifacts.records import ImageSet
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.classifier.small_network import new_network
from flowerti.cluster.extractors import ALIGNED_THUMBNAILS, THUMBNAILS, BackboneChoice, whole_pixels
from flowerti.cluster.features import FeatureSet, compute_features
from flowerti.data.access import read_images
from flowerti.data.dataset import Split
from flowerti.data.draws import TrainingDraws
from flowerti.data.shards import addresses_of
from flowerti.features.backbones import Backbone, load_backbone
from flowerti.features.files import StoredFeatures
from flowerti.progress import Progress
from flowerti.study import Study


def classifier_backbone(study: Study) -> BackboneChoice:
    """The extractor with the classifier's backbone."""
    config = study.experiment.classifier
    return BackboneChoice(name=config.backbone, weights=config.weights, input_size_px=config.input_size_px)


def scoring_backbones(study: Study) -> list[BackboneChoice]:
    """The extractors of scoring; verdicts and the detection of copies use the first one."""
    config = study.experiment.scoring
    weights = config.weights or ("",) * len(config.extractors)
    return [
        BackboneChoice(name=name, weights=file, input_size_px=size)
        for name, file, size in zip(config.extractors, weights, config.input_sizes_px, strict=True)
    ]


@functools.lru_cache(maxsize=4)
def weights_sha256(choice: BackboneChoice) -> str:
    """Hash of a network's weights; empty for pixels, which have none."""
    if choice in (THUMBNAILS, ALIGNED_THUMBNAILS) or choice.name == "pixels":
        return ""
    return load_backbone(choice.name, choice.weights, choice.input_size_px).weights_sha256


def load_for_training(choice: BackboneChoice, mode: str, device: str) -> Backbone | None:
    """The network that is trained as a whole, on a device; None for a linear head on stored features."""
    if mode == "head":
        return None
    size_px = choice.input_size_px
    is_new = mode == "scratch"
    backbone = new_network(size_px) if is_new else load_backbone(choice.name, choice.weights, size_px)
    backbone.module.to(device)
    return backbone


def real_set(study: Study, split: Split, views: str = "plain") -> FeatureSet:
    """The real images of a split, in the order of the data set."""
    return FeatureSet(
        name=f"real.{split}.{views}",
        addresses=[record.address for record in study.records_of(split)],
        content_key=f"{study.census.fingerprint}/{split}",
        views=views,
        num_views=study.experiment.classifier.num_views if views == "augmented" else 1,
        image_size_px=study.experiment.data.image_size_px,
        run_seed=study.experiment.seed,
    )


def spare_set(study: Study, draws: TrainingDraws, views: str) -> FeatureSet:
    """The training images of other draws that are not in the training split."""
    return replace(
        real_set(study, "train", views),
        name=f"real.spare.{views}",
        addresses=[record.address for record in draws.spare],
        content_key=f"{study.census.fingerprint}/spare/{draws.key}",
    )


def through_base(study: Study, images: FeatureSet, rows: Int64[np.ndarray, " rows"] | None = None) -> FeatureSet:
    """The same views of real images, of all or of some rows, after they went through the base's autoencoder."""
    # under names of their own: features of a name are deleted when others are computed under it
    prefix = "round_trips." if rows is None else "some_round_trips."
    found = replace(images, name=images.name.replace("real.", prefix, 1), base_sha256=study.base_sha256)
    if rows is None:
        return found
    content_key = key_of(images.content_key, rows.tolist())
    return replace(found, addresses=[images.addresses[row] for row in rows], content_key=content_key)


def synthetic_set(study: Study, images: ImageSet, views: str) -> FeatureSet:
    """The synthetic images of one class, source and learning, in the order of their index."""
    name = of_learning(f"synthetic.{slug(images.class_name)}.{images.source}", images.learning, separator=".")
    return FeatureSet(
        name=f"{name}.{views}",
        addresses=addresses_of(study.run, images.files),
        content_key=images.key,
        views=views,
        num_views=study.experiment.classifier.num_views if views == "augmented" else 1,
        image_size_px=study.experiment.data.image_size_px,
        run_seed=study.experiment.seed,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierInput:
    """References to a classifier's inputs: stored features, or images for full fine-tuning."""

    features: StoredFeatures | None
    addresses: tuple[str, ...]
    image_size_px: int
    is_pixels: bool = False
    """Whether the features are the images themselves."""

    def read(self, run: RunDirectory) -> np.ndarray:
        """Features [num, views, dim], or images [num, height, width, 3]."""
        if self.features is None:
            return read_images(self.addresses, self.image_size_px, run)
        found = self.features.read(run)
        if not self.is_pixels:
            return found
        return found[:, 0].reshape(-1, self.image_size_px, self.image_size_px, 3).astype(np.uint8)


def classifier_inputs(study: Study, sets: list[FeatureSet], progress: Progress) -> list[ClassifierInput]:
    """The inputs for some sets of images; features that are missing are computed."""
    size_px = study.experiment.data.image_size_px
    if study.experiment.classifier.mode == "head":
        found = _computed(study, sets, classifier_backbone(study), progress)
        return [ClassifierInput(features=one, addresses=(), image_size_px=size_px) for one in found]
    # a network that is trained as a whole reads images where they are, but for those that no file holds
    through = [
        replace(one, name=f"{one.name.rpartition('.')[0]}.plain", views="plain") for one in sets if one.base_sha256
    ]
    made = iter(_computed(study, through, whole_pixels(size_px), progress))
    return [
        ClassifierInput(features=next(made), addresses=(), image_size_px=size_px, is_pixels=True)
        if one.base_sha256
        else ClassifierInput(features=None, addresses=tuple(one.addresses), image_size_px=size_px)
        for one in sets
    ]


def _computed(
    study: Study, sets: list[FeatureSet], backbone: BackboneChoice, progress: Progress
) -> list[StoredFeatures]:
    if not sets:
        return []
    experiment = study.experiment
    base = experiment.base if any(one.base_sha256 for one in sets) else None
    sha256 = weights_sha256(backbone)
    found = compute_features(sets, backbone, sha256, study.run, experiment.cluster, base, progress)
    return [found[one.name] for one in sets]
