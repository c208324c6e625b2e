"""Names the sets of pictures whose features the stages ask for: real splits, and synthetic sets by class and source.

Classifier and scoring share a set's features where both use the same network at the same size.
"""

import functools

from flowerti.artifacts import PictureSet, slug
from flowerti.cluster.features import BackboneChoice, FeatureSet
from flowerti.data import Split
from flowerti.shards import read_rows, synthetic_address
from flowerti.study import Study


def classifier_backbone(study: Study) -> BackboneChoice:
    """The network under the classifier."""
    config = study.experiment.classifier
    return BackboneChoice(name=config.backbone, weights=config.weights, input_size_px=config.input_size_px)


def scoring_backbone(study: Study) -> BackboneChoice:
    """The network behind the distances."""
    config = study.experiment.scoring
    return BackboneChoice(name=config.extractor, weights=config.weights, input_size_px=config.input_size_px)


@functools.lru_cache(maxsize=4)
def weights_sha256(choice: BackboneChoice) -> str:
    """Hash of a network's weights."""
    from flowerti.features import load_backbone

    return load_backbone(choice.name, choice.weights, choice.input_size_px).weights_sha256


def real_set(study: Study, split: Split, class_name: str | None = None, views: str = "plain") -> FeatureSet:
    """The real pictures of a split, of one class or of all, in the order of the data set."""
    of_class = f".{slug(class_name)}" if class_name else ""
    return FeatureSet(
        name=f"real.{split}{of_class}.{views}",
        addresses=[record.address for record in study.dataset.of(split, class_name)],
        content_key=f"{study.census.fingerprint}/{split}{of_class}",
        views=views,
        num_views=study.experiment.classifier.num_views if views == "augmented" else 1,
        image_size_px=study.experiment.data.image_size_px,
        run_seed=study.experiment.seed,
    )


def synthetic_set(study: Study, pictures: PictureSet, views: str) -> FeatureSet:
    """The synthetic pictures of one class and source, in the order of their index."""
    addresses = [
        synthetic_address(file, row) for file in pictures.files for row in range(len(read_rows(study.run, file)))
    ]
    return FeatureSet(
        name=f"synthetic.{slug(pictures.class_name)}.{pictures.source}.{views}",
        addresses=addresses,
        content_key=pictures.sha256,
        views=views,
        image_size_px=study.experiment.data.image_size_px,
        run_seed=study.experiment.seed,
    )
