"""Ready-made experiments: each preset is a function that returns a complete `Experiment`.

A preset states what differs from the defaults of `config`. It opens no file: `study.prepare` checks that its
folders and weights exist when a run starts.
"""

from collections.abc import Callable
from dataclasses import replace

from flowerti.config.experiment import (
    BaseConfig,
    CeilingConfig,
    ClassifierConfig,
    ClusterConfig,
    CrossAttentionConfig,
    DataConfig,
    DreamboothConfig,
    Experiment,
    ImbalanceConfig,
    LoraConfig,
    PriorConfig,
    ReplicationConfig,
    SamplingConfig,
    ScoringConfig,
    SelectionConfig,
    SharedLoraConfig,
    SweepConfig,
    TextLoraConfig,
    TextualInversionConfig,
)

STUDY_CLASSES = ("azalea", "sword lily", "canna lily")
"""The three classes that Kutsenko and Najafi (2024) selected."""

UNSEEN_CLASSES = (
    *STUDY_CLASSES,
    "ruby-lipped cattleya",
    "monkshood",
    "hippeastrum",
    "daffodil",
    "californian poppy",
    "columbine",
    "bee balm",
    "ball moss",
    "anthurium",
)
"""Classes that `flowers64-base-v2` never saw: the study's three, and nine by
`default_rng(0).choice(names, 9, replace=False)` from the sorted names of the other 99."""

_SMALL_BASE = ClusterConfig(classes_per_actor=8)
"""A base of a few million parameters: eight learnings in one batch fit in a gigabyte."""

_ADDED = SweepConfig(mixing=("added",), free_arms=("real", "balanced", "balanced_softmax", "augmented"))
"""As the kept runs on flowers were made: images are added, and a control does one thing."""

_SMALL_PRIOR = PriorConfig(noun="flower", num_images=16, num_inference_steps=10, guidance_scale=1.5)
"""What a small base draws in half a minute."""


def demo() -> Experiment:
    """A drawn herbarium and an embedded base model: the whole study in minutes on two cores, nothing downloaded."""
    return Experiment(
        name="demo",
        data=DataConfig(kind="herbarium", num_validation=40),
        base=BaseConfig(path="demo"),
        classifier=ClassifierConfig(num_epochs=20),
        selection=SelectionConfig(rule="blend", num_classes=3),
        techniques={
            "textual_inversion": TextualInversionConfig(num_steps=60, batch_size=8, eval_every_steps=20),
            "lora": LoraConfig(num_steps=100, learning_rate=1e-2),
            "cross_attention": CrossAttentionConfig(num_steps=100, learning_rate=1e-3),
            "dreambooth": DreamboothConfig(num_steps=100, learning_rate=1e-4, prior=_SMALL_PRIOR),
            "text_lora": TextLoraConfig(num_steps=100, learning_rate=1e-2),
            "shared_lora": SharedLoraConfig(num_steps=300, learning_rate=1e-2),
        },
        sampling=SamplingConfig(
            num_per_class=32,
            num_inference_steps=10,
            guidance_scale=1.5,
            sources=("raw", "alternative_name", "token"),
        ),
        sweep=SweepConfig(max_concurrent_trials=2),
        ceiling=CeilingConfig(goes_on=True),
        cluster=_SMALL_BASE,
    )


def flowers102_64() -> Experiment:
    """Oxford 102 at 64 px with a small base model made for it; the study's three classes, which that base never saw."""
    return Experiment(
        name="flowers102_64",
        data=DataConfig(kind="flowers102", root="../shared/data/flowers102-64", show_images=False),
        base=BaseConfig(path="../shared/models/flowers64-base"),
        classifier=ClassifierConfig(num_epochs=30),
        selection=SelectionConfig(rule="fixed", class_names=STUDY_CLASSES),
        techniques={
            "textual_inversion": TextualInversionConfig(num_vectors=2, num_steps=600),
            "lora": LoraConfig(learning_rate=1e-2),
            "cross_attention": CrossAttentionConfig(learning_rate=1e-3),
            "dreambooth": DreamboothConfig(num_steps=200, learning_rate=1e-4, prior=_SMALL_PRIOR),
            "text_lora": TextLoraConfig(learning_rate=1e-2),
            "shared_lora": SharedLoraConfig(learning_rate=1e-2),
        },
        sampling=SamplingConfig(num_per_class=64),
        sweep=_ADDED,
        ceiling=CeilingConfig(num_classes=0),
        cluster=_SMALL_BASE,
    )


def flowers102_64_long_tail() -> Experiment:
    """Oxford 102 at 64 px, cut anew into a long tail at factor 0.1 with the study's three classes at its end."""
    official = flowers102_64()
    return replace(
        official,
        name="flowers102_64_long_tail",
        imbalance=ImbalanceConfig(factor=0.1, minority_classes=STUDY_CLASSES, resplit=True),
        classifier=replace(official.classifier, num_epochs=15),
    )


def flowers102_64_few() -> Experiment:
    """Oxford 102 at 64 px, cut anew: twelve classes that their base never saw, with eight training images each."""
    official = flowers102_64()
    return replace(
        official,
        name="flowers102_64_few",
        base=BaseConfig(path="results/bases/flowers64-base-v2"),
        imbalance=ImbalanceConfig(resplit=True, minority_classes=UNSEEN_CLASSES, minority_images=8),
        classifier=replace(official.classifier, num_epochs=15),
        selection=SelectionConfig(rule="fixed", class_names=UNSEEN_CLASSES),
        replication=ReplicationConfig(num_draws=4, num_learnings=1),
        techniques=official.techniques
        | {"textual_inversion": TextualInversionConfig(num_vectors=2, num_steps=200, batch_size=8)},
        sampling=SamplingConfig(
            num_per_class=32,
            guidance_scale=2.0,
            strengths=(0.3, 0.5, 0.7),
            sources=("raw", "token", "token_img2img", "shared_lora", "round_trip"),
        ),
        sweep=SweepConfig(max_concurrent_trials=2),
        ceiling=CeilingConfig(),
    )


def flowers102() -> Experiment:
    """The study at full size: Oxford 102 downloaded by torchvision, Stable Diffusion 1.5, ResNet-50, Inception FID."""
    return Experiment(
        name="flowers102",
        data=DataConfig(kind="flowers102", root="data", image_size_px=512, download=True),
        base=BaseConfig(path="stable-diffusion-v1-5/stable-diffusion-v1-5", dtype="bfloat16"),
        classifier=ClassifierConfig(backbone="resnet50", input_size_px=224, num_epochs=5),
        selection=SelectionConfig(rule="blend", num_classes=3),
        techniques={
            "textual_inversion": TextualInversionConfig(num_vectors=4, num_steps=2000, batch_size=8, learning_rate=4e-3)
        },
        sampling=SamplingConfig(num_per_class=128, guidance_scale=4.0),
        scoring=ScoringConfig(extractors=("inception",), input_sizes_px=(299,)),
    )


PRESETS: dict[str, Callable[[], Experiment]] = {
    "demo": demo,
    "flowers102_64": flowers102_64,
    "flowers102_64_long_tail": flowers102_64_long_tail,
    "flowers102_64_few": flowers102_64_few,
    "flowers102": flowers102,
}


def preset(name: str) -> Experiment:
    """Return the experiment of that name.

    Raises:
        ValueError: there is no such preset; lists those that exist.
    """
    if name not in PRESETS:
        raise ValueError(f"preset {name!r} does not exist: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]()
