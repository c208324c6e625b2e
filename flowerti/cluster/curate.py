"""The filters between sampling and sweep: features of training and drawn images, and one Ray task that weighs them.

No validation or test image is read. What a filter does is in `flowerti.curation`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from jaxtyping import Float, Int64

from flowerti.artifacts import layout
from flowerti.artifacts.curation import CuratedSet, Curation
from flowerti.artifacts.identity import key_of
from flowerti.artifacts.records import ImageSet
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.base_checks.json_files import read_object
from flowerti.classifier.batches import LabelledInputs
from flowerti.cluster.classify import class_ids
from flowerti.cluster.extractors import BackboneChoice
from flowerti.cluster.features import FeatureSet, compute_features
from flowerti.cluster.image_sets import classifier_backbone, real_set, spare_set, synthetic_set, weights_sha256
from flowerti.cluster.session import connect
from flowerti.config.experiment import Experiment
from flowerti.curation.curate import acceptance_rows, curate_set, evidence_of, refused_sets
from flowerti.curation.judge import Judge, fit_judge
from flowerti.data.draws import TrainingDraws
from flowerti.features.files import StoredFeatures
from flowerti.progress import Progress
from flowerti.study import Study

_CLIP_SIZE_PX = 224
"""What CLIP sees where its config does not say."""
_CLIP_PROMPT = "a photo of a {}"


def curate(study: Study, sets: Sequence[ImageSet], draws: TrainingDraws, progress: Progress) -> Curation | None:
    """The weights that the filters give to all images of some sets; None where no filter is asked for.

    A class of which nothing is kept is told and left out of the arms of that source.
    """
    config = study.experiment.filters
    if not config.keep or not sets:
        return None
    key = _key(study, sets, draws)
    found = study.run.load(layout.CURATION, Curation, key)
    if found is None:
        progress.did_work()
        progress.info(f"filtering {sum(one.num_images for one in sets)} images by {', '.join(config.keep)}")
        connect(study.experiment.cluster)
        cluster = study.experiment.cluster
        task = ray.remote(_curate_on_worker).options(num_cpus=cluster.num_cpus_per_worker, max_retries=-1)
        answer: Any = ray.get(task.remote(_inputs(study, sets, draws, progress)))
        found = answer
        study.run.save(layout.CURATION, found, key)
    for row in found.rows:
        kept = f"{row.num_kept} of {row.num_drawn} images of source {row.source} are kept"
        left_out = ", too few for every learning and pool: the sweep leaves it out" if row.is_left_out else ""
        progress.info(f"{row.class_name}: {kept}{left_out}")
    return found


def _key(study: Study, sets: Sequence[ImageSet], draws: TrainingDraws) -> str:
    experiment = study.experiment
    return key_of(
        # the content of CLIP's folder counts, not its place
        replace(experiment.filters, clip=""),
        [[one.class_name, one.source, one.learning, one.key, one.num_images] for one in sets],
        [draws.key, *(rows.tolist() for rows in draws.rows)],
        experiment.replication,
        experiment.classifier,
        weights_sha256(classifier_backbone(study)),
        weights_sha256(_clip(experiment)) if experiment.filters.needs_clip else "",
        study.census.fingerprint,
        experiment.data.image_size_px,
        experiment.seed,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CurationInputs:
    """What the filters look at, by name; the worker reads it."""

    run: RunDirectory
    experiment: Experiment
    class_names: tuple[str, ...]
    sets: tuple[ImageSet, ...]
    train: tuple[StoredFeatures, ...]
    """Of the training split, and of the spare images of other draws."""
    train_ids: np.ndarray
    draws: tuple[Int64[np.ndarray, "_"], ...]
    drawn: tuple[StoredFeatures, ...]
    """Of each set."""
    clip: tuple[StoredFeatures, ...]
    """Of each set by CLIP; none where no filter asks for it."""


def _inputs(study: Study, sets: Sequence[ImageSet], draws: TrainingDraws, progress: Progress) -> CurationInputs:
    experiment = study.experiment
    # the views that a sweep over frozen features trains with, so that none is computed twice
    train = [real_set(study, "train", "mirrored"), *([spare_set(study, draws, "mirrored")] if draws.spare else [])]
    wanted = [*train, *(synthetic_set(study, one, "mirrored") for one in sets)]
    found = iter(_features(study, wanted, classifier_backbone(study), progress))
    clip = [synthetic_set(study, one, "plain") for one in sets] if experiment.filters.needs_clip else []
    spare_ids = np.array([record.class_id for record in draws.spare], dtype=np.int64)
    return CurationInputs(
        run=study.run,
        experiment=experiment,
        class_names=study.dataset.class_names,
        sets=tuple(sets),
        train=tuple(islice(found, len(train))),
        train_ids=np.concatenate([class_ids(study, "train"), spare_ids]),
        draws=draws.rows,
        drawn=tuple(found),
        clip=tuple(_features(study, clip, _clip(experiment), progress)) if clip else (),
    )


def _features(
    study: Study, sets: list[FeatureSet], backbone: BackboneChoice, progress: Progress
) -> list[StoredFeatures]:
    sha256, cluster = weights_sha256(backbone), study.experiment.cluster
    found = compute_features(sets, backbone, sha256, study.run, cluster, progress=progress)
    return [found[one.name] for one in sets]


def _clip(experiment: Experiment) -> BackboneChoice:
    folder = experiment.filters.clip
    vision = read_object(Path(folder) / "config.json").get("vision_config") or {}
    return BackboneChoice(name="clip", weights=folder, input_size_px=vision.get("image_size", _CLIP_SIZE_PX))


def _curate_on_worker(inputs: CurationInputs) -> Curation:
    torch.set_num_threads(inputs.experiment.cluster.num_threads_per_worker)
    return curate_all(inputs)


def curate_all(inputs: CurationInputs) -> Curation:
    """Weigh all images, each set beside the training images that its learning had.

    A set that all learnings share has those of the first draw.
    """
    experiment = inputs.experiment
    train = np.concatenate([one.read(inputs.run) for one in inputs.train])
    rows = inputs.draws or (np.arange(len(train)),)
    judges = [_judge(inputs, train[own], inputs.train_ids[own], draw) for draw, own in enumerate(rows)]
    texts = _class_texts(inputs) if inputs.clip else None
    curated: list[CuratedSet] = []
    for place, one in enumerate(inputs.sets):
        draw, class_id = experiment.replication.draw_of(one.learning), inputs.class_names.index(one.class_name)
        own = rows[draw][inputs.train_ids[rows[draw]] == class_id]
        clip_ids = None if texts is None else _clip_ids(inputs.clip[place].read(inputs.run)[:, 0], texts)
        evidence = evidence_of(class_id, inputs.drawn[place].read(inputs.run), train[own], judges[draw], clip_ids)
        curated.append(curate_set(one, evidence, experiment.filters, experiment.replication.num_pools))
    return Curation(
        filters=list(experiment.filters.keep),
        rows=acceptance_rows(curated, refused_sets(curated, experiment.replication.num_pools)),
        judges=[judge.record for judge in judges if judge is not None],
        sets=curated,
    )


def _judge(
    inputs: CurationInputs, features: Float[np.ndarray, "num views dim"], ids: Int64[np.ndarray, " num"], draw: int
) -> Judge | None:
    experiment = inputs.experiment
    if not experiment.filters.needs_judge:
        return None
    train = LabelledInputs(inputs=features, class_ids=ids, num_classes=len(inputs.class_names))
    return fit_judge(train, experiment.classifier, experiment.filters.num_folds, experiment.seed, draw)


def _class_texts(inputs: CurationInputs) -> Float[np.ndarray, "classes dim"]:
    from flowerti.features.transformer_backbones import text_features

    prompts = [_CLIP_PROMPT.format(name) for name in inputs.class_names]
    return _unit(text_features(prompts, Path(inputs.experiment.filters.clip)).numpy())


def _clip_ids(
    images: Float[np.ndarray, "num dim"], texts: Float[np.ndarray, "classes dim"]
) -> Int64[np.ndarray, " num"]:
    """The class whose prompt has the highest cosine with each image."""
    return (_unit(images) @ texts.T).argmax(axis=1)


def _unit(rows: Float[np.ndarray, "num dim"]) -> Float[np.ndarray, "num dim"]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
