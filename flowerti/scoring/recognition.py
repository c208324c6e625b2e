"""Recognition of synthetic images by a classifier of real ones, and accuracy of classifiers trained on one source.

Both are linear heads on given features with fixed settings, so that their scores do not depend on the settings of the
run's classifier. This module does not know the images, files, or how the work is spread over machines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.scores import Recognition, TrainedOnSource
from flowerti.classifier.batches import LabelledInputs, TrainingRun, Treatment
from flowerti.classifier.training import Head, fit_head, steps_per_epoch
from flowerti.config.experiment import ClassifierConfig
from flowerti.metrics.wilson import wilson_interval

_CONFIG = ClassifierConfig()
_NUM_PASSES = 30
_MIN_STEPS = 300
_MIN_CLASSES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class _Exam:
    """Held-out real images of the selected classes, one class after the other."""

    class_names: list[str]
    images: Float32[np.ndarray, "num dim"]
    class_of: Int64[np.ndarray, " num"]
    """Place of each image's class in `class_names`."""


def num_head_steps(num_images: int) -> int:
    """Optimiser steps of a head: 30 passes over its images in batches of 32, but at least 300."""
    return max(_MIN_STEPS, _NUM_PASSES * steps_per_epoch(num_images, _CONFIG.batch_size))


def train_independent_head(
    features: Float32[np.ndarray, "num views dim"], class_ids: Int64[np.ndarray, " num"], num_classes: int, seed: int
) -> Head:
    """Train a head on real training images only, to evaluate synthetic images.

    Classes are sampled equally often, so that rare classes are not ignored. The seed is
    `seed_for(seed, "", "recognition/head", 0)`; steps are those of `num_head_steps`.

    Args:
        features: features of every real training image, in one or several views.
        class_ids: class of each image, in [0, num_classes).
        num_classes: number of classes.
        seed: run seed.

    Raises:
        ValueError: a class has no image, or as `classifier.fit_head`.
    """
    missing = sorted(set(range(num_classes)) - set(class_ids.tolist()))
    if missing:
        raise ValueError(f"class {missing[0]} has no real training image: a head that judges needs some of each class")
    train = LabelledInputs(inputs=features, class_ids=class_ids, num_classes=num_classes)
    return fit_head(train, _head_run(len(train), seed_for(seed, "", "recognition/head", 0)), Treatment(balanced=True))


def _head_run(num_images: int, seed: int) -> TrainingRun:
    return TrainingRun(config=_CONFIG, seed=seed, num_steps=num_head_steps(num_images))


def recognise(
    head: Head, class_names: Sequence[str], sets: Mapping[tuple[str, str], Float32[np.ndarray, "_ _"]]
) -> list[Recognition]:
    """Count the images of each set that the head assigns to their intended class.

    Args:
        head: trained on real images only.
        class_names: names of its classes, by class id.
        sets: features of each (class, source); source "real" for held-out real images.

    Raises:
        ValueError: a set is empty, of an unknown class, of another width or not finite; names class and source.
    """
    if len(class_names) != len(head.bias):
        raise ValueError(f"class_names: {len(class_names)} names for a head of {len(head.bias)} classes")
    return [_recognise_set(head, class_names, *key, features) for key, features in sets.items()]


def _recognise_set(
    head: Head, class_names: Sequence[str], class_name: str, source: str, features: Float32[np.ndarray, "num dim"]
) -> Recognition:
    where = f"class {class_name!r}, source {source!r}"
    if class_name not in class_names:
        raise ValueError(f"{where}: the head does not know the class")
    _check(where, features, head.weight.shape[1])
    counts = np.bincount(head.logits(features).argmax(axis=1), minlength=len(class_names))
    hits = int(counts[list(class_names).index(class_name)])
    others = np.where(np.array(class_names) == class_name, 0, counts)
    low, high = wilson_interval(hits, len(features))
    return Recognition(
        class_name=class_name,
        source=source,
        num_images=len(features),
        num_recognised=hits,
        share=hits / len(features),
        low=low,
        high=high,
        mistaken_for=class_names[int(others.argmax())] if others.any() else "",
    )


def _check(where: str, features: Float32[np.ndarray, "num *views dim"], dim: int) -> None:
    if len(features) == 0:
        raise ValueError(f"{where}: no images")
    if features.shape[-1] != dim:
        raise ValueError(f"{where}: features of width {features.shape[-1]} beside {dim}; use one extractor for all")
    if not np.isfinite(features).all():
        raise ValueError(f"{where}: features hold NaN or infinity; check the feature extractor")


def train_on_source(
    train: Mapping[tuple[str, str], Float32[np.ndarray, "_ _ _"]],
    held_out: Mapping[str, Float32[np.ndarray, "_ _"]],
    seed: int,
    num_seeds: int = 5,
    num_bootstrap: int = 2000,
) -> tuple[list[TrainedOnSource], list[str]]:
    """Train a head for the selected classes on each source alone, and test it on held-out real images.

    This is the classification accuracy score of Ravuri and Vinyals 2019 (arXiv 1905.10887), as balanced accuracy, and
    at the same number of images for every class and source: that of the smallest set. Each seed draws its images
    anew. The interval is a bootstrap over seeds and, within each class, held-out images; all sources see the same
    resamples.

    Args:
        train: features of each (class, source), in one or several views; source "real" for real training images. A
            source that lacks a class is left out.
        held_out: features of the held-out real images of each selected class.
        seed: run seed.
        num_seeds: heads for each source.
        num_bootstrap: resamples behind an interval.

    Returns:
        A record of each complete source, and notes on what is missing.

    Raises:
        ValueError: a set is empty, of another width or not finite; names class and source.
    """
    class_names = list(held_out)
    if len(class_names) < _MIN_CLASSES:
        return [], [f"{len(class_names)} class(es) selected: a classifier among them alone needs at least 2."]
    complete, notes = _complete_sources(train, class_names)
    if not complete:
        return [], notes
    _check_sources(complete, held_out)
    exam = _exam(held_out)
    size = min(len(features) for of_source in complete.values() for features in of_source)
    records = []
    for source, of_source in complete.items():
        tried = [_fit_and_test(exam, source, of_source, size, seed, index) for index in range(num_seeds)]
        records.append(_trained_on_source(exam, source, size, np.stack(tried), num_bootstrap, seed))
    return records, notes


def _exam(held_out: Mapping[str, Float32[np.ndarray, "_ _"]]) -> _Exam:
    return _Exam(
        class_names=list(held_out),
        images=np.concatenate(list(held_out.values())),
        class_of=np.repeat(np.arange(len(held_out)), [len(features) for features in held_out.values()]),
    )


def _complete_sources(
    train: Mapping[tuple[str, str], Float32[np.ndarray, "_ _ _"]], class_names: list[str]
) -> tuple[dict[str, list[Float32[np.ndarray, "_ _ _"]]], list[str]]:
    """The sets of each source that has all classes, in their order, and a note on each other source."""
    sources = dict.fromkeys(source for _, source in train)
    missing = {source: [name for name in class_names if (name, source) not in train] for source in sources}
    notes = [
        f"No classifier from source {source} alone: it has no images of {', '.join(lacking)}."
        for source, lacking in missing.items()
        if lacking
    ]
    return {s: [train[name, s] for name in class_names] for s in sources if not missing[s]}, notes


def _trained_on_source(
    exam: _Exam, source: str, size: int, hits: Bool[np.ndarray, "seeds num"], num_bootstrap: int, seed: int
) -> TrainedOnSource:
    low, high = _interval(hits, exam.class_of, num_bootstrap, seed)
    # balanced accuracy = mean_c (hits in class c / images of class c), over all seeds
    recalls = [hits[:, exam.class_of == i].mean() for i in range(len(exam.class_names))]
    return TrainedOnSource(
        source=source,
        class_names=exam.class_names,
        num_per_class=size,
        num_seeds=len(hits),
        accuracy=float(np.mean(recalls)),
        low=low,
        high=high,
    )


def _check_sources(
    complete: Mapping[str, list[Float32[np.ndarray, "_ _ _"]]], held_out: Mapping[str, Float32[np.ndarray, "_ _"]]
) -> None:
    dim = next(iter(held_out.values())).shape[1]
    for name, features in held_out.items():
        _check(f"class {name!r}, held-out real images", features, dim)
    for source, of_source in complete.items():
        for name, features in zip(held_out, of_source, strict=True):
            _check(f"class {name!r}, source {source!r}", features, dim)
        if len({features.shape[1] for features in of_source}) > 1:
            raise ValueError(f"source {source!r}: classes have different numbers of views; give them the same")


def _fit_and_test(
    exam: _Exam, source: str, of_source: list[Float32[np.ndarray, "_ views dim"]], size: int, seed: int, index: int
) -> Bool[np.ndarray, " num"]:
    """Whether a head trained on one source classifies each held-out image correctly."""
    chosen = []
    for name, features in zip(exam.class_names, of_source, strict=True):
        rng = np.random.default_rng(seed_for(seed, name, f"train_on_source/{source}", index))
        chosen.append(features[np.sort(rng.permutation(len(features))[:size])])
    num_classes = len(exam.class_names)
    ids = np.repeat(np.arange(num_classes), size)
    train = LabelledInputs(inputs=np.concatenate(chosen), class_ids=ids, num_classes=num_classes)
    head = fit_head(train, _head_run(len(train), seed_for(seed, "", "train_on_source/head", index)))
    return head.logits(exam.images).argmax(axis=1) == exam.class_of


def _interval(
    hits: Bool[np.ndarray, "seeds num"], class_of: Int64[np.ndarray, " num"], num_bootstrap: int, seed: int
) -> tuple[float, float]:
    """95 % interval of the balanced accuracy; seeds and images are crossed, as every seed sees all images."""
    rng = np.random.default_rng(seed_for(seed, "", "train_on_source/bootstrap", 0))
    num_seeds = len(hits)
    seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), num_bootstrap) / num_seeds
    recalls: list[Float64[np.ndarray, " replicates"]] = []
    for class_id in np.unique(class_of):
        members = hits[:, class_of == class_id].astype(np.float64)
        num = members.shape[1]
        drawn = rng.multinomial(num, np.full(num, 1 / num), num_bootstrap) / num
        # recall_b = sum_si w_bs hit_si v_bi, weights of seeds and images summing to 1: [replicates]
        recalls.append(((seeds @ members) * drawn).sum(axis=1))
    low, high = np.quantile(np.mean(recalls, axis=0), [0.025, 0.975])
    return float(low), float(high)
