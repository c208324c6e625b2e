"""Scores synthetic sets against held-out real images: features with Ray Data, then one Ray task per score.

Before the sweep the real images are those of the validation split; after its decision, those of the test split. The
tasks (`scoring.tasks`) read the features themselves and return only records.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ray

from flowerti.artifacts import layout
from flowerti.artifacts.identity import key_of
from flowerti.artifacts.image_scores import ImageScore, ImageScores
from flowerti.artifacts.locked_protocol import open_test
from flowerti.artifacts.records import ImageSet
from flowerti.artifacts.scores import Extractor, Scores
from flowerti.cluster.extractors import ALIGNED_THUMBNAILS, THUMBNAILS, BackboneChoice
from flowerti.cluster.features import Extraction, FeatureSet, extract_together
from flowerti.cluster.image_sets import real_set, scoring_backbones, synthetic_set, weights_sha256
from flowerti.cluster.resources import memory_for
from flowerti.cluster.session import connect
from flowerti.data.dataset import SPLITS, Record, Split
from flowerti.features.files import StoredFeatures
from flowerti.progress import Progress
from flowerti.scoring.alignment import CANDIDATE_LIMIT, COPY_LIMIT
from flowerti.scoring.class_task import score_one_class
from flowerti.scoring.comparisons import comparison_pairs
from flowerti.scoring.learning_distances import LearningKey
from flowerti.scoring.metric_table import METRICS
from flowerti.scoring.name_verdicts import name_verdict
from flowerti.scoring.tasks import (
    StoredSets,
    copies_of,
    duplicates_of,
    learning_distances_of,
    matrix_of,
    recognition_of,
    sensitivity_of,
)
from flowerti.study import Study

_COPIES_OF_FEATURES = 4
"""How often a task holds what it has read, which is float32: as float64, and as parts of it."""
_CLASSES_A_BLOCK = 50
"""Selected classes whose rows of the matrix one task computes."""


def score(study: Study, sets: list[ImageSet], reference: Split, progress: Progress) -> Scores:
    """Compute all scores of all sets against the real images of the `reference` split.

    Those of each class's first learning are scored in full, of the others the kernel distance alone.
    """
    experiment, backbones = study.experiment, scoring_backbones(study)
    key = key_of(
        experiment.scoring,
        [weights_sha256(backbone) for backbone in backbones],
        study.census.fingerprint,
        reference,
        [[s.class_name, s.source, s.learning, s.key] for s in sets],
        experiment.seed,
        experiment.data.image_size_px,
        METRICS.names,
        [ALIGNED_THUMBNAILS.name, CANDIDATE_LIMIT, COPY_LIMIT],
        *([sorted(study.seen_ids)] if study.seen_ids else []),
        comparison_pairs({s.source for s in sets}),
    )
    file = layout.scores(reference)
    scores = study.run.load(file, Scores, key)
    if reference == "test" and sets:
        open_test(study.run, file, key, study.census.fingerprint, is_made=scores is not None)
    if scores is None:
        progress.did_work()
        progress.info(f"comparing {len(sets)} synthetic sets with real {reference} images")
        connect(experiment.cluster)
        scores, images = _compare(study, sets, reference, backbones, progress)
        study.run.save(layout.IMAGE_SCORES, ImageScores(extractor=backbones[0].name, images=images), key)
        study.run.save(file, scores, key)
    return scores


def _empty(study: Study, backbones: list[BackboneChoice]) -> Scores:
    extractors = [
        Extractor(name=b.name, weights_sha256=weights_sha256(b), input_size_px=b.input_size_px) for b in backbones
    ]
    return Scores(extractors=extractors, class_names=list(study.dataset.class_names), distances=[], comparisons=[])


def _compare(
    study: Study, every_set: list[ImageSet], reference: Split, backbones: list[BackboneChoice], progress: Progress
) -> tuple[Scores, list[ImageScore]]:
    sets = [images for images in every_set if images.learning == 0]
    empty = _empty(study, backbones)
    if not sets:
        return replace(empty, notes=["No class has synthetic images: there is nothing to compare."]), []
    known = _gather_all(study, sets, every_set, reference, backbones, progress)
    stored = known.of_backbones
    classes = [_ask(study, score_one_class, of_class) for of_one in stored for of_class in of_one.classes()]
    # once for all tasks that take all classes: each would carry it otherwise
    shared = [ray.put(of_one) for of_one in stored]
    size = _num_bytes(study)
    matrices = [
        _ask(study, matrix_of, one, block, num_bytes=size) for one in shared for block in _blocks(stored[0].selected)
    ]
    learnings = _ask(study, learning_distances_of, shared[0], known.learnings, num_bytes=size)
    recognition = _ask(study, recognition_of, shared[0], num_bytes=size)
    copies = _ask(study, copies_of, shared[0], known.pixels, study.seen_ids, num_bytes=size)
    sensitivity = _ask(study, sensitivity_of, shared[0], study.experiment.data.image_size_px)
    duplicates = _ask(study, duplicates_of, study.run, study.dataset.class_names, known.splits, study.census.duplicates)
    _wait([*classes, *matrices, learnings, recognition, copies, sensitivity, duplicates], progress)
    by_class, rows_and_notes, recognised = ray.get(classes), ray.get(matrices), ray.get(recognition)
    comparisons = [comparison for found in by_class for comparison in found.comparisons]
    judging = [comparison for comparison in comparisons if comparison.extractor == stored[0].extractor]
    (checks, of_copies), (by_learning, of_learnings) = ray.get([copies, learnings])
    notes = [found.notes for found in by_class] + [notes for _, notes in rows_and_notes]
    notes += [of_learnings, recognised.notes, of_copies]
    scores = replace(
        empty,
        distances=[distance for found in by_class for distance in found.distances],
        comparisons=comparisons,
        learning_distances=by_learning,
        matrix=[row for rows, _ in rows_and_notes for row in rows],
        recognition=recognised.recognition,
        trained_on_source=recognised.trained_on_source,
        copies=checks,
        copy_sensitivity=ray.get(sensitivity),
        near_duplicates=ray.get(duplicates),
        verdicts=[name_verdict(name, judging, reference) for name in stored[0].selected],
        notes=list(dict.fromkeys(note for of_one in notes for note in of_one)),
    )
    return scores, recognised.images


def _blocks(class_names: list[str]) -> list[list[str]]:
    """The classes whose rows of the matrix one task computes; fixed, as kernels round differently at another size."""
    return [class_names[i : i + _CLASSES_A_BLOCK] for i in range(0, len(class_names), _CLASSES_A_BLOCK)]


def _wait(asked: list[ray.ObjectRef], progress: Progress) -> None:
    """Wait for all tasks, reporting progress in steps of a tenth; raises as soon as one fails."""
    waiting, total = asked, len(asked)
    while waiting:
        answered, waiting = ray.wait(waiting, num_returns=1)
        ray.get(answered)
        done = total - len(waiting)
        if 10 * done // total > 10 * (done - 1) // total:
            progress.advance(done, total, "questions")


_Found = dict[str, StoredFeatures]
"""Features by the name of their set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Gathered:
    """Features that the questions are asked about."""

    of_backbones: list[StoredSets]
    pixels: StoredSets
    """Aligned thumbnails."""
    learnings: dict[LearningKey, StoredFeatures]
    """Of sets with several learnings, on the first backbone."""
    splits: list[tuple[StoredFeatures, tuple[Record, ...]]]
    """Thumbnails of the splits in use."""


def _gather_all(
    study: Study,
    sets: list[ImageSet],
    every_set: list[ImageSet],
    reference: Split,
    backbones: list[BackboneChoice],
    progress: Progress,
) -> _Gathered:
    """All features, computed by the same workers where they are missing."""
    extractors = [*backbones, ALIGNED_THUMBNAILS]
    # once for all extractors: the addresses of all images are the largest thing that the driver holds
    drawn = [(images, synthetic_set(study, images, "plain")) for images in sets]
    every, splits = _every_learning(study, every_set), _every_split(study, reference)
    wanted = [_extraction(extractor, _compared_sets(study, drawn, reference, extractor)) for extractor in extractors]
    wanted += [_extraction(backbones[0], list(every.values())), _extraction(THUMBNAILS, list(splits.values()))]
    *compared, of_every, of_splits = extract_together(wanted, study.run, study.experiment.cluster, progress=progress)
    *stored, pixels = [
        _gather(study, drawn, reference, extractor, found)
        for extractor, found in zip(extractors, compared, strict=True)
    ]
    return _Gathered(
        of_backbones=stored,
        pixels=pixels,
        learnings={key: of_every[s.name] for key, s in every.items()},
        splits=[(of_splits[s.name], tuple(study.records_of(split))) for split, s in splits.items()],
    )


def _extraction(backbone: BackboneChoice, sets: list[FeatureSet]) -> Extraction:
    return Extraction(backbone=backbone, weights_sha256=weights_sha256(backbone), sets=tuple(sets))


_Drawn = list[tuple[ImageSet, FeatureSet]]
"""Synthetic sets, and the images of each."""


def _compared_sets(study: Study, drawn: _Drawn, reference: Split, backbone: BackboneChoice) -> list[FeatureSet]:
    """Training images, those of the reference, and the synthetic sets in their order."""
    # copies are looked for in mirror images by whoever compares pixels
    views = "plain" if backbone == ALIGNED_THUMBNAILS else "mirrored"
    return [real_set(study, "train", views=views), real_set(study, reference), *(images for _, images in drawn)]


def _gather(study: Study, drawn: _Drawn, reference: Split, backbone: BackboneChoice, found: _Found) -> StoredSets:
    experiment = study.experiment
    train, held_out, *_ = _compared_sets(study, drawn, reference, backbone)
    synthetic = {(images.class_name, images.source): s for images, s in drawn}
    return StoredSets(
        run=study.run,
        extractor=backbone.name,
        config=experiment.scoring,
        seed=experiment.seed,
        reference=reference,
        class_names=study.dataset.class_names,
        train=found[train.name],
        train_records=tuple(study.records_of("train")),
        held_out=found[held_out.name],
        held_out_records=tuple(study.records_of(reference)),
        synthetic={key: found[s.name] for key, s in synthetic.items()},
        addresses={key: s.addresses for key, s in synthetic.items()},
        text_prompt=experiment.sampling.prompt if backbone.name == "clip" else "",
        text_weights=backbone.weights,
    )


def _every_learning(study: Study, sets: list[ImageSet]) -> dict[LearningKey, FeatureSet]:
    """The sets of classes and sources that have several learnings."""
    num = Counter((images.class_name, images.source) for images in sets)
    return {
        (s.class_name, s.source, s.learning): synthetic_set(study, s, "plain")
        for s in sets
        if num[s.class_name, s.source] > 1
    }


def _every_split(study: Study, reference: Split) -> dict[Split, FeatureSet]:
    """The splits in use: the test split only if it is the reference."""
    splits: list[Split] = [split for split in SPLITS if split != "test" or reference == "test"]
    return {split: real_set(study, split) for split in splits}


def _num_bytes(study: Study) -> int:
    """What a task holds that reads the features of all sets by one extractor: the stored ones, and copies of them."""
    backbone = scoring_backbones(study)[0]
    files = study.run.files(layout.features(backbone.name, backbone.input_size_px))
    return _COPIES_OF_FEATURES * sum(info.size or 0 for info in files.values())


def _ask(study: Study, question: Callable[..., Any], *inputs: Any, num_bytes: int = 0) -> ray.ObjectRef:
    task = ray.remote(question).options(
        num_cpus=study.experiment.cluster.num_cpus_per_worker, memory=memory_for(num_bytes), max_retries=-1
    )
    return task.remote(*inputs)
