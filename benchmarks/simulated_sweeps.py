"""Sweeps whose truth is known: guesses of a classifier that nobody trained, drawn from planted effects.

An image is classified rightly where the sum of effects is positive: its class's base rate, its own difficulty, what the
arm adds, and what is peculiar to a replication (its tokens, pools, draw of training images and classifier seed). This
module knows nothing about the rule that is put to the test with them.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64
from scipy import stats

from flowerti.artifacts.records import Trial
from flowerti.config.experiment import ReplicationConfig, SweepConfig
from flowerti.sweep.question import SweepQuestion
from flowerti.sweep.rounds import Cell
from flowerti.tables.arms import ARMS, BASELINE, Mass, judged_arm


@dataclass(frozen=True, kw_only=True, slots=True)
class Spreads:
    """Standard deviations on the scale of the latent score, on which images differ by 1."""

    image_of_arm: float = 0.3
    """What is peculiar to an image under an arm."""
    rest: float = 0.08
    """What is peculiar to an image in one training: seeds that are near copies have little of it."""
    draw: float = 0.0
    """Of a class in a replication, the same under every arm: which training images it has."""
    arm_of_draw: float = 0.0
    """Of a class under an arm in a replication: its tokens, its pool of images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """A data set and an experiment with planted effects."""

    num_classes: int = 5
    num_weak: int = 3
    num_per_class: int = 40
    num_replications: int = 3
    """Independent ones: learnings with their pools, or draws of training images."""
    num_seeds: int = 1
    """Classifier seeds in each."""
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    """Or probabilities, at fixed mass."""
    mass: Mass = "added"
    """Whether images are added to real ones, or take their place on top of the control that looks best."""
    control_effect: float = 0.3
    """At fixed mass: added to the score of weak classes by each free control."""
    weak_recall: float = 0.4
    """Share of the weak classes' images that the baseline classifies rightly."""
    rest_recall: float = 0.85
    share_effect: Float64[np.ndarray, " ratios"] | tuple[float, ...] = (0.1, 0.2, 0.3, 0.4)
    """Added to the score of weak classes by as many images of any kind, at each ratio."""
    content_effect: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    """Added by what the judged images show, at each ratio."""
    spreads: Spreads = field(default_factory=Spreads)

    @property
    def weak_ids(self) -> list[int]:
        """Ids of the weak classes."""
        return list(range(self.num_weak))

    @property
    def true_ids(self) -> Int64[np.ndarray, " num"]:
        """True class of each image."""
        return np.repeat(np.arange(self.num_classes), self.num_per_class)

    @property
    def cells(self) -> list[Cell]:
        """The baseline, and the judged images and the repeated ones at each ratio.

        At fixed mass: the baseline, the free controls, and the judged images on top of each of them.
        """
        if self.mass == "fixed":
            controls = [arm for arm in ARMS if arm.is_control and not arm.features]
            on_top = [Cell(judged_arm("fixed", control), p) for control in controls for p in self.ratios]
            return [*(Cell(control, 0.0) for control in controls), *on_top]
        both = [Cell(arm, ratio) for arm in (judged_arm(), ARMS["repeated"]) for ratio in self.ratios]
        return [Cell(BASELINE, 0.0), *both]


def question_of(world: World, config: SweepConfig) -> SweepQuestion:
    """What the analysis of a world's trials asks."""
    return SweepQuestion(
        config=config,
        class_names=tuple(f"class {i}" for i in range(world.num_classes)),
        weak_ids=world.weak_ids,
        num_train=[],
        pools={judged_arm().source: world.num_weak},
        run_seed=0,
        replication=ReplicationConfig(num_learnings=world.num_replications, num_seeds=world.num_seeds),
    )


def draw_trials(world: World, split: str, rng: np.random.Generator) -> list[Trial]:
    """Guesses of every cell and replication on one drawing of images."""
    true_ids, spreads = world.true_ids, world.spreads
    num, shape = len(true_ids), (world.num_replications, world.num_classes)
    image = rng.normal(size=num)
    wrong = (true_ids + rng.integers(1, world.num_classes, num)) % world.num_classes
    of_draw = spreads.draw * rng.normal(size=shape)
    trials = []
    for cell in world.cells:
        private = spreads.image_of_arm * rng.normal(size=num)
        of_arm = of_draw + spreads.arm_of_draw * rng.normal(size=shape) * (cell.arm != BASELINE)
        for place in range(world.num_replications * world.num_seeds):
            own = of_arm[place // world.num_seeds]
            score = _base_score(world)[true_ids] + _effect(world, cell)[true_ids] + own[true_ids]
            score = score + image + private + spreads.rest * rng.normal(size=num)
            trials.append(_trial(cell, place, split, np.where(score > 0, true_ids, wrong)))
    return trials


def _base_score(world: World) -> Float64[np.ndarray, " classes"]:
    """The score at which a class reaches its recall: Phi^-1(recall) times the spread over images."""
    recall = np.full(world.num_classes, world.rest_recall)
    recall[world.weak_ids] = world.weak_recall
    spreads = world.spreads
    return stats.norm.ppf(recall) * np.sqrt(1 + spreads.image_of_arm**2 + spreads.rest**2)


def _effect(world: World, cell: Cell) -> Float64[np.ndarray, " classes"]:
    """What the images of a cell add to each class's score."""
    effect = np.zeros(world.num_classes)
    if world.mass == "fixed":
        effect[world.weak_ids] = world.control_effect * (cell.arm.control != BASELINE.name)
        effect[world.weak_ids] += world.content_effect[world.ratios.index(cell.ratio)] if cell.arm.source else 0.0
    elif cell.arm != BASELINE:
        place = world.ratios.index(cell.ratio)
        effect[world.weak_ids] = world.share_effect[place]
        if cell.arm.source:
            effect[world.weak_ids] += world.content_effect[place]
    return effect


def _trial(cell: Cell, place: int, split: str, guesses: Int64[np.ndarray, " num"]) -> Trial:
    return Trial(
        arm=cell.arm.name,
        ratio=cell.ratio,
        repetition=place,
        split=split,
        predictions=guesses.tolist(),
        num_steps=1,
        num_synthetic=0,
    )
