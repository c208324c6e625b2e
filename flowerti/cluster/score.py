"""The scores of the synthetic sets beside held-out real images: features through Ray Data, then one task a question.

Before the sweep the real images are those of the validation split; once it has chosen, those of the test split.
Features are read where they are needed, in the tasks, which are `scoring.tasks`; only records come back.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray

from flowerti.artifacts.identity import key_of
from flowerti.artifacts.records import ImageSet
from flowerti.artifacts.scores import Extractor, Scores
from flowerti.cluster.features import THUMBNAILS, BackboneChoice, compute_features
from flowerti.cluster.image_sets import real_set, scoring_backbones, synthetic_set, weights_sha256
from flowerti.cluster.session import connect
from flowerti.data.dataset import SPLITS, Record, Split
from flowerti.features.files import StoredFeatures
from flowerti.scoring.name_verdicts import name_verdict
from flowerti.scoring.tasks import StoredSets, copies_of, duplicates_of, matrix_of, recognition_of, score_one_class
from flowerti.study import Study


def score(study: Study, sets: list[ImageSet], reference: Split, say: Callable[[str], None]) -> Scores:
    """All scores of all sets beside the real images of the `reference` split."""
    experiment, backbones = study.experiment, scoring_backbones(study)
    key = key_of(
        experiment.scoring,
        [weights_sha256(backbone) for backbone in backbones],
        study.census.fingerprint,
        reference,
        [[s.class_name, s.source, s.key] for s in sets],
        experiment.seed,
        experiment.data.image_size_px,
    )
    file = f"scores/{reference}.json"
    scores = study.run.load(file, Scores, key)
    if scores is None:
        say(f"comparing {len(sets)} synthetic sets with real {reference} images")
        connect(experiment.cluster)
        scores = _compare(study, sets, reference, backbones)
        study.run.save(file, scores, key)
    return scores


def _compare(study: Study, sets: list[ImageSet], reference: Split, backbones: list[BackboneChoice]) -> Scores:
    empty = Scores(
        extractors=[
            Extractor(name=b.name, weights_sha256=weights_sha256(b), input_size_px=b.input_size_px) for b in backbones
        ],
        class_names=list(study.dataset.class_names),
        distances=[],
        comparisons=[],
    )
    if not sets:
        return replace(empty, notes=["No class has synthetic images: there is nothing to compare."])
    rooms = [_gather(study, sets, reference, backbone) for backbone in backbones]
    pixels = _gather(study, sets, reference, THUMBNAILS)
    classes = [_ask(study, score_one_class, room, name) for room in rooms for name in room.selected]
    matrices = [_ask(study, matrix_of, room) for room in rooms]
    recognition = _ask(study, recognition_of, rooms[0])
    copies = _ask(study, copies_of, rooms[0], pixels)
    splits = _every_split(study, reference)
    doubles = _ask(study, duplicates_of, study.run, study.dataset.class_names, splits, study.census.duplicates)
    distances, comparisons, class_notes = _joined(ray.get(classes), 3)
    matrix, matrix_notes = _joined(ray.get(matrices), 2)
    recognised, trained, notes = ray.get(recognition)
    return replace(
        empty,
        distances=distances,
        comparisons=comparisons,
        matrix=matrix,
        recognition=recognised,
        trained_on_source=trained,
        copies=ray.get(copies),
        near_duplicates=ray.get(doubles),
        verdicts=[
            name_verdict(name, [c for c in comparisons if c.extractor == rooms[0].extractor], reference)
            for name in rooms[0].selected
        ],
        notes=list(dict.fromkeys([*class_notes, *matrix_notes, *notes])),
    )


def _joined(answers: list[tuple[list[Any], ...]], num_parts: int) -> list[list[Any]]:
    """The first parts of all answers as one list, then the second parts, and so on."""
    return [[record for answer in answers for record in answer[part]] for part in range(num_parts)]


def _gather(study: Study, sets: list[ImageSet], reference: Split, backbone: BackboneChoice) -> StoredSets:
    experiment = study.experiment
    train, held_out = real_set(study, "train", views="mirrored"), real_set(study, reference)
    synthetic = {(s.class_name, s.source): synthetic_set(study, s, "plain") for s in sets}
    wanted = [train, held_out, *synthetic.values()]
    found = compute_features(wanted, backbone, weights_sha256(backbone), study.run, experiment.cluster)
    return StoredSets(
        run=study.run,
        extractor=backbone.name,
        config=experiment.scoring,
        seed=experiment.seed,
        reference=reference,
        class_names=study.dataset.class_names,
        train=found[train.name],
        train_records=tuple(study.dataset.of("train")),
        held_out=found[held_out.name],
        held_out_records=tuple(study.dataset.of(reference)),
        synthetic={key: found[s.name] for key, s in synthetic.items()},
        addresses={key: s.addresses for key, s in synthetic.items()},
        text_prompt=experiment.sampling.prompt if backbone.name == "clip" else "",
        text_weights=backbone.weights,
    )


def _every_split(study: Study, reference: Split) -> list[tuple[StoredFeatures, tuple[Record, ...]]]:
    """Thumbnails of all splits that may be opened: the test split only once it is the reference."""
    splits: list[Split] = [split for split in SPLITS if split != "test" or reference == "test"]
    wanted = [real_set(study, split) for split in splits]
    found = compute_features(wanted, THUMBNAILS, "", study.run, study.experiment.cluster)
    return [(found[s.name], tuple(study.dataset.of(split))) for s, split in zip(wanted, splits, strict=True)]


def _ask(study: Study, question: Callable[..., Any], *inputs: Any) -> ray.ObjectRef:
    cluster = study.experiment.cluster
    task = ray.remote(question).options(num_cpus=cluster.num_cpus_per_worker, max_retries=-1)
    return task.remote(*inputs)
