"""Preflight: validates all inputs of a run before any expensive work starts.

The result, a `Study`, is the input of every stage. This module does not train, generate images or start Ray.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowerti.artifacts import layout
from flowerti.artifacts.identity import key_of, num_synthetic
from flowerti.artifacts.locked_protocol import require_intent
from flowerti.artifacts.pending import PendingArtifacts
from flowerti.artifacts.records import Census, SeenImages
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import write_config
from flowerti.config.experiment import Experiment
from flowerti.config.techniques import Technique, techniques_for
from flowerti.data.access import list_records
from flowerti.data.census import class_counts, digest_of_class
from flowerti.data.class_names import alternative_names, latin_names
from flowerti.data.dataset import Dataset, Record, Split, check_class_name
from flowerti.data.draws import (
    NO_SPARE,
    SpareImages,
    TrainingDraws,
    check_spare,
    draw_key,
    drawn_images,
    training_draws,
)
from flowerti.data.imbalance import imbalanced
from flowerti.data.inspection import Inspection
from flowerti.data.seen_images import check_unseen
from flowerti.run_place import check_disk, check_place

_NUM_TENSORS_OF_CHECKPOINT = 4
"""What is learnt, two moments of the optimiser and the best so far."""
MIN_HELD_OUT = 4
"""Images of a selected class in each held-out split: two halves of two, whose distance is the floor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A run with validated inputs."""

    experiment: Experiment
    run: RunDirectory
    dataset: Dataset
    census: Census
    base_sha256: str
    alternative_names: dict[str, str]
    latin_names: dict[str, str]
    seen: SeenImages | None = None
    """Which images the base was trained on; None where it is not known."""
    spare: SpareImages = NO_SPARE
    """Training images that the long tail left out, where other draws of training images are wanted."""

    def records_of(self, split: Split, class_name: str | None = None) -> list[Record]:
        """The records of a split, of one class or of all: the one way in which stages come by images and labels.

        Raises:
            ValueError: it is the test split, and the sweep has not written its plan; or as `require_intent`.
        """
        if split == "test":
            require_intent(self.run)
        return self.dataset.of(split, class_name)

    @property
    def seen_ids(self) -> frozenset[str]:
        """Validation and test images that the base is known to have been trained on."""
        return frozenset(self.seen.held_out_ids if self.seen else ())

    def drawn_images(self, class_name: str, draw: int) -> list[Record]:
        """The training images of a class in a draw; draw 0 is its training split."""
        own, spare = self.records_of("train", class_name), self.spare.records.get(class_name, ())
        return drawn_images(own, spare, draw, self.experiment.seed, class_name)

    def drawn_sha256(self, class_name: str, draw: int) -> str:
        """Identity of a class's training images in a draw."""
        own = digest_of_class(self.census, class_name)
        if draw == 0:
            return own
        return draw_key(own, self.spare.sha256[class_name], self.drawn_images(class_name, draw))

    def training_draws(self, class_names: Sequence[str]) -> TrainingDraws:
        """All draws of the training split, in which the images of these classes differ."""
        num_draws, names = self.experiment.replication.num_draws, self.dataset.class_names
        if num_draws == 1:
            return TrainingDraws(spare=[], rows=())
        drawn = {
            names.index(name): [self.drawn_images(name, draw) for draw in range(num_draws)] for name in class_names
        }
        spare = [record for name in class_names for record in self.spare.records[name]]
        key = key_of([[name, self.spare.sha256[name]] for name in class_names])
        return training_draws(self.records_of("train"), drawn, spare, key)


def prepare(experiment: Experiment, run: RunDirectory) -> Study:
    """Validate config, run directory, disk, base, weights and every image, and save the config.

    Raises:
        ValueError: something is missing or wrong; names it and says what to do.
    """
    from flowerti.base_checks.networks import check_networks_once
    from flowerti.base_files import find_training_images, hash_base, parts_of, verify_base

    check_place(experiment, run)
    _check_weights(experiment)
    listed = list_records(experiment.data, experiment.seed, is_pooled=experiment.imbalance.resplit)
    # before any image is opened; where images are alike, the cut still changes by some of them
    drafted = imbalanced(listed, experiment.imbalance, experiment.seed)
    _check_selection(experiment, drafted)
    names = alternative_names(experiment.data.kind, drafted.class_names, experiment.sampling.alternative_names_file)
    folder = verify_base(experiment.base)
    _check_techniques(experiment, folder, run)
    artifacts, base_sha256 = PendingArtifacts(run), hash_base(folder)
    check_networks_once(folder, parts_of(folder), base_sha256, artifacts)
    found = Inspection(
        data=experiment.data,
        imbalance=experiment.imbalance,
        seed=experiment.seed,
        known=find_training_images(experiment.base, folder),
        artifacts=artifacts,
        with_spare=experiment.replication.num_draws > 1,
    ).of(listed)
    _check_selection(experiment, found.dataset, found.seen)
    _check_draws(experiment, found.dataset, found.spare)
    experiment.filters.check(len(found.dataset.class_names))
    write_config(run, experiment)
    artifacts.save()
    return Study(
        experiment=experiment,
        run=run,
        dataset=found.dataset,
        census=found.census,
        base_sha256=base_sha256,
        alternative_names=names,
        latin_names=latin_names(experiment.data.kind, found.dataset.class_names),
        seen=found.seen,
        spare=found.spare,
    )


def _check_weights(experiment: Experiment) -> None:
    from flowerti.features.backbones import verify_weights

    verify_weights(experiment.classifier.backbone, experiment.classifier.weights)
    scoring = experiment.scoring
    for extractor, weights in zip(scoring.extractors, scoring.weights or ("",) * len(scoring.extractors), strict=True):
        verify_weights(extractor, weights)


def _check_selection(experiment: Experiment, dataset: Dataset, seen: SeenImages | None = None) -> None:
    for name in experiment.selection.class_names:
        check_class_name(dataset, "selection.class_names", name)
    for name in experiment.ceiling.class_names:
        check_class_name(dataset, "ceiling.class_names", name)
    selection = experiment.selection
    num_selected = len(selection.class_names) if selection.rule == "fixed" else selection.num_classes
    if num_selected >= len(dataset.class_names):
        raise ValueError(
            f"selection: {num_selected} of {len(dataset.class_names)} classes cannot all be weak: select fewer"
        )
    if selection.rule == "fixed":
        check_pool_sizes(experiment, {name: len(dataset.of("train", name)) for name in selection.class_names})
        check_held_out(dataset, selection.class_names)
        if not experiment.base.allow_seen_held_out:
            check_unseen(selection.class_names, seen)


def _check_draws(experiment: Experiment, dataset: Dataset, spare: SpareImages) -> None:
    """Reject draws of training images where no class, or a fixed weak one, has others to draw."""
    num_draws, selection = experiment.replication.num_draws, experiment.selection
    if num_draws > 1 and not experiment.imbalance.leaves_out:
        raise ValueError(
            f"replication.num_draws: {num_draws} draws of training images need some that imbalance.factor or "
            "imbalance.minority_images leave out: set it to 1, or cut the classes down"
        )
    if selection.rule == "fixed":
        check_spare(spare, num_draws, {name: len(dataset.of("train", name)) for name in selection.class_names})


def check_held_out(dataset: Dataset, class_names: Sequence[str]) -> None:
    """Reject selected classes with too few held-out images for scoring.

    Raises:
        ValueError: a class has too few validation or test images; names it and says what to do.
    """
    for class_name in class_names:
        for split in ("validation", "test"):
            num = len(dataset.of(split, class_name))
            if num < MIN_HELD_OUT:
                raise ValueError(
                    f"class {class_name!r} has {num} {split} images: scoring needs at least {MIN_HELD_OUT} of a "
                    f"selected class: move some of its images into that split, or select other classes"
                )


def unscorable(dataset: Dataset) -> dict[str, str]:
    """Classes with too few held-out images for scoring, which no rule may choose, with a clause that says how few."""
    counts = {row.class_name: (row.num_validation, row.num_test) for row in class_counts(dataset)}
    return {
        name: f"there are {nums[0]} validation and {nums[1]} test images, and scoring needs {MIN_HELD_OUT} of each"
        for name, nums in counts.items()
        if min(nums) < MIN_HELD_OUT
    }


def check_pool_sizes(experiment: Experiment, num_train: dict[str, int]) -> None:
    """Reject ratios that need more images per class than will be generated; at fixed mass none is asked for.

    Args:
        experiment: the ratios and the number of images per class.
        num_train: real training images of each selected class.

    Raises:
        ValueError: sampling.num_per_class is too small for the largest ratio; says how many to draw.
    """
    if not experiment.sweep.takes_ratios:
        return
    largest, num_parts = max(experiment.sweep.ratios), experiment.replication.num_pools
    for class_name, num_real in num_train.items():
        wanted = num_synthetic(largest, num_real)
        # filters of which it is known beforehand how many images they leave
        needed = (experiment.filters.num_to_draw(wanted) if "added" in experiment.sweep.mixing else wanted) * num_parts
        in_parts = f" in {num_parts} pools" if num_parts > 1 else ""
        if needed > experiment.sampling.num_per_class:
            raise ValueError(
                f"sampling.num_per_class: {experiment.sampling.num_per_class} images are too few for ratio "
                f"{largest:g} of class {class_name!r} with {num_real} training images{in_parts}: "
                f"set it to at least {needed}, or lower sweep.ratios"
            )


def _check_techniques(experiment: Experiment, folder: Path, run: RunDirectory) -> None:
    """Reject settings that the base cannot serve, a class as its own prior, and a disk too small for what is learnt."""
    from flowerti.base_checks.part_configs import check_image_size
    from flowerti.personalization.technique import implementation_of

    check_image_size(folder, experiment.data.image_size_px)
    num_bytes = 0
    for technique in techniques_for(experiment.sampling.sources):
        code, config = implementation_of(technique), experiment.techniques[technique.name]
        code.check(folder, config)
        prior = code.prior(config)
        if prior is not None:
            # by any rule but the fixed one it shows later which classes are weak; then the worker refuses the class
            for class_name in experiment.selection.class_names:
                prior.check_class(class_name, f"{technique.name}.prior")
        of_class = code.num_bytes(folder)
        num_bytes += of_class * _num_copies(experiment, run, technique) if of_class else 0
    check_disk(run, num_bytes)


def _num_copies(experiment: Experiment, run: RunDirectory, technique: Technique) -> int:
    """How often a technique's result would still be written: for each learning that is left, and in checkpoints."""
    selection = experiment.selection
    num_classes = 1 if technique.is_joint else len(selection.class_names) or selection.num_classes
    names = run.names(layout.CONCEPTS)
    num_learnt = sum(name.endswith(f"/{technique.name}.json") for name in names)
    num_left = max(0, num_classes * experiment.replication.num_learnings_in_all - num_learnt)
    return num_left + _NUM_TENSORS_OF_CHECKPOINT * min(num_left, experiment.cluster.num_workers)
