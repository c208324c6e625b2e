"""What a set of images takes from the run's data: the images that it starts from, and the class it is led away from.

Only training images are asked for, those of a weak class in the draw of its learning. This module opens no image and
does not know how one is drawn.
"""

from collections.abc import Sequence

import numpy as np

from flowerti.artifacts import layout
from flowerti.artifacts.identity import key_of, seed_for
from flowerti.artifacts.records import ClassifierReport
from flowerti.classifier.confusions import confusable
from flowerti.config.experiment import Experiment
from flowerti.data.dataset import Record
from flowerti.generation.starts import StartImage
from flowerti.study import Study
from flowerti.tables.sources import SOURCES, Source

_MAX_DONORS = 3
"""Classes whose images a class is drawn from between classes."""


def load_report(study: Study) -> ClassifierReport | None:
    """The classifier's report where a setting asks for it; None where none does.

    Raises:
        ValueError: it is asked for and not there; says what to do.
    """
    fields = _fields_that_need_it(study.experiment)
    if not fields:
        return None
    report = study.run.load(layout.CLASSIFIER_REPORT, ClassifierReport)
    if report is None:
        raise ValueError(
            f"{fields[0]} needs to know which classes are confused, and {study.run.uri} has no "
            f"{layout.CLASSIFIER_REPORT}: run the stage classify first, or leave it out"
        )
    return report


def _fields_that_need_it(experiment: Experiment) -> list[str]:
    sampling = experiment.sampling
    between = [name for name in sampling.sources if SOURCES[name].mode == "inter_class"]
    negative = [f"sampling.negative {sampling.negative!r}"] if sampling.negative else []
    return negative + [f"sampling.sources: {name}" for name in between]


def negative_name(report: ClassifierReport | None, class_name: str, source: Source, negative: str) -> str:
    """The class that a class is most often confused with.

    Returns:
        Empty where it is confused with none, where no negative prompt is asked for, and for a source without a prompt.
    """
    if not negative or report is None or not source.has_steps:
        return ""
    return next(iter(confusable(report, class_name)), "")


def start_images(
    study: Study, class_name: str, source: Source, learning: int, donors: Sequence[str]
) -> tuple[list[StartImage], str]:
    """The images that a source starts from, and their identity; none and an empty one if it draws from noise.

    Args:
        study: the run.
        class_name: the class that images are drawn of.
        source: where they come from.
        learning: whose draw of training images counts.
        donors: the classes whose images are drawn from between classes.
    """
    if not source.starts_from_images:
        return [], ""
    if source.mode == "inter_class":
        # not weak, so that their images are the same in every draw
        images = [one for name in donors for one in _as_starts(study.records_of("train", name), name)]
        return images, key_of([[name, study.drawn_sha256(name, 0)] for name in donors])
    draw = study.experiment.replication.draw_of(learning)
    return _as_starts(study.drawn_images(class_name, draw), class_name), study.drawn_sha256(class_name, draw)


def donors_of(study: Study, report: ClassifierReport | None, class_name: str, weak: frozenset[str]) -> list[str]:
    """The classes whose images a class is drawn from: up to three that it is confused with, else as many by seed.

    Args:
        study: the run.
        report: of the classifier; None for no knowledge of confusions.
        class_name: the class that images are drawn of.
        weak: classes that give none, because their own images are few.

    Raises:
        ValueError: no class is left.
    """
    others = [name for name in study.dataset.class_names if name != class_name and name not in weak]
    if not others:
        raise ValueError(f"class {class_name!r}: there is no other class that is not weak to draw images from")
    known = [name for name in confusable(report, class_name) if name in others] if report else []
    if known:
        return known[:_MAX_DONORS]
    rng = np.random.default_rng(seed_for(study.experiment.seed, class_name, "sample/donors", 0))
    return [others[i] for i in rng.permutation(len(others))[:_MAX_DONORS]]


def _as_starts(records: Sequence[Record], class_name: str) -> list[StartImage]:
    return [StartImage(id=record.id, class_name=class_name, address=record.address) for record in records]
