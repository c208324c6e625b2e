"""Distances of the synthetic sets to held-out real pictures: features through Ray Data, formulas from `scoring`.

Before the sweep the real pictures are those of the validation split; once it has chosen, those of the test split.
"""

from collections.abc import Callable

from flowerti.artifacts import PictureSet, Scores, key_of, seed_for
from flowerti.cluster.features import features_of
from flowerti.cluster.picture_sets import real_set, scoring_backbone, synthetic_set, weights_sha256
from flowerti.data import Split
from flowerti.scoring import score_class
from flowerti.study import Study


def score(study: Study, sets: list[PictureSet], reference: Split, say: Callable[[str], None]) -> Scores:
    """All distances of all sets to the real pictures of the `reference` split."""
    experiment = study.experiment
    backbone = scoring_backbone(study)
    sha256 = weights_sha256(backbone)
    key = key_of(
        experiment.scoring,
        sha256,
        study.census.fingerprint,
        reference,
        [[s.class_name, s.source, s.sha256] for s in sets],
        experiment.seed,
        experiment.data.image_size_px,
    )
    file = f"scores/{reference}.json"
    scores = study.run.load(file, Scores, key)
    if scores is None:
        say(f"comparing {len(sets)} synthetic sets with real {reference} pictures")
        scores = _compare(study, sets, reference, sha256)
        study.run.save(file, scores, key)
    return scores


def _compare(study: Study, sets: list[PictureSet], reference: Split, sha256: str) -> Scores:
    experiment, backbone = study.experiment, scoring_backbone(study)
    class_names = sorted({s.class_name for s in sets})
    real = {name: real_set(study, reference, name) for name in class_names}
    synthetic = {(s.class_name, s.source): synthetic_set(study, s, "plain") for s in sets}
    wanted = [*real.values(), *synthetic.values()]
    features = features_of(wanted, backbone, sha256, study.run, experiment.cluster) if wanted else {}
    scores = Scores(extractor=backbone.name, weights_sha256=sha256, distances=[], comparisons=[])
    for name in class_names:
        distances, comparisons = score_class(
            name,
            features[real[name].name][:, 0],
            {source: features[s.name][:, 0] for (of, source), s in synthetic.items() if of == name},
            backbone.name,
            experiment.scoring,
            seed_for(experiment.seed, name, f"score/{reference}", 0),
            reference,
        )
        scores.distances.extend(distances)
        scores.comparisons.extend(comparisons)
    return scores
