"""All that would keep a run from starting or from its end, each as one line.

Neither Ray nor a network is loaded, and torch is only imported where a preset or file names networks. This module
prints nothing.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.base_checks.part_configs import check_image_size
from flowerti.base_files import verify_base
from flowerti.config.experiment import Experiment
from flowerti.data.dataset import Dataset
from flowerti.data.imbalance import imbalanced
from flowerti.error_lines import error_line
from flowerti.run_place import check_place
from flowerti.study import check_held_out, check_pool_sizes, unscorable

T = TypeVar("T")


def tried(problems: list[str], do: Callable[[], T]) -> T | None:
    """What a function returns; where it refuses, None, and its line among the problems."""
    try:
        return do()
    except ValueError as error:
        problems.append(error_line(error).text)
        return None


def problems_of(experiment: Experiment, run: RunDirectory, listed: Dataset | None) -> list[str]:
    """What a run of this experiment would be refused for.

    Args:
        experiment: the settings.
        run: where its results would go.
        listed: its images; None where they could not be listed, which is told elsewhere.
    """
    problems: list[str] = []
    tried(problems, lambda: check_place(experiment, run))
    folder = tried(problems, lambda: verify_base(experiment.base))
    if folder is not None:
        tried(problems, lambda: check_image_size(folder, experiment.data.image_size_px))
    tried(problems, lambda: _check_networks(experiment))
    drafted = None if listed is None else tried(problems, lambda: drafted_cut(experiment, listed))
    if drafted is not None:
        for check in _selection_checks(experiment, drafted):
            tried(problems, check)
    return list(dict.fromkeys(problems))


def drafted_cut(experiment: Experiment, listed: Dataset) -> Dataset:
    """The splits as a run would cut them, up to images that are alike.

    Raises:
        ValueError: a class lacks images.
    """
    return imbalanced(listed, experiment.imbalance, experiment.seed)


def weak_candidates(experiment: Experiment, drafted: Dataset) -> list[str]:
    """The classes that could be weak ones."""
    if experiment.selection.rule == "fixed":
        return list(experiment.selection.class_names)
    barred = unscorable(drafted)
    return [name for name in drafted.class_names if name not in barred]


def _check_networks(experiment: Experiment) -> None:
    from flowerti.features.backbones import verify_weights

    verify_weights(experiment.classifier.backbone, experiment.classifier.weights)
    scoring = experiment.scoring
    for extractor, weights in zip(scoring.extractors, scoring.weights or ("",) * len(scoring.extractors), strict=True):
        verify_weights(extractor, weights)


def _selection_checks(experiment: Experiment, drafted: Dataset) -> Iterator[Callable[[], None]]:
    names = weak_candidates(experiment, drafted)
    if experiment.selection.rule == "fixed":
        yield lambda: check_held_out(drafted, names)
    yield lambda: _check_some(experiment, drafted, names)
    # the largest stands for all: fewer images need a smaller pool
    largest = max(names, key=lambda name: len(drafted.of("train", name)), default=None)
    if largest is not None:
        yield lambda: check_pool_sizes(experiment, {largest: len(drafted.of("train", largest))})


def _check_some(experiment: Experiment, drafted: Dataset, names: list[str]) -> None:
    if not names:
        raise ValueError("data: no class has enough validation and test images to be a weak one: add images")
    num = len(names) if experiment.selection.rule == "fixed" else experiment.selection.num_classes
    if num >= len(drafted.class_names):
        raise ValueError(f"selection: {num} of {len(drafted.class_names)} classes cannot all be weak: select fewer")
