"""The repetitions of every arm: which draw of training images, learning and pool each uses, and what they tell.

Repetitions are nested: draws of training images, learnings in each, pools of images of each, classifier seeds on each
pool. Those that share a learning are no independent evidence about learnings, so intervals rest on the means of the
outermost step that is repeated. This module does not know how anything is learnt, drawn or trained.
"""

from dataclasses import dataclass

from flowerti.config.replication import ReplicationConfig

LEVELS = ("draw of training images", "learning", "pool of images", "classifier seed")
"""What is repeated, from the outermost to the innermost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repetition:
    """One repetition of every arm; each has a classifier seed of its own."""

    index: int
    """From 0, over all repetitions."""
    draw: int = 0
    learning: int = 0
    """Over the learnings of all draws, so that it determines the draw."""
    pool: int = 0


def repetitions_of(config: ReplicationConfig) -> list[Repetition]:
    """All repetitions: those of a draw side by side, within it those of a learning, within it those of a pool."""
    in_learning = config.num_pools * config.num_seeds
    return [
        Repetition(
            index=index,
            draw=config.draw_of(index // in_learning),
            learning=index // in_learning,
            pool=index // config.num_seeds % config.num_pools,
        )
        for index in range(config.num_repetitions)
    ]


def counts_of(config: ReplicationConfig) -> tuple[int, ...]:
    """How often each of `LEVELS` is repeated in one of the level above."""
    return config.num_draws, config.num_learnings, config.num_pools, config.num_seeds


def num_units(config: ReplicationConfig) -> int:
    """How many independent units the repetitions form: runs of equal length, each a draw, a learning, a pool or a seed.

    A unit is one of the outermost level that is repeated at all.
    """
    return counts_of(config)[_outermost(config)]


def unit_name(config: ReplicationConfig) -> str:
    """What a unit is, in the singular."""
    return LEVELS[_outermost(config)]


def _outermost(config: ReplicationConfig) -> int:
    """The first level that is repeated; the last one where none is."""
    return next((i for i, count in enumerate(counts_of(config)) if count > 1), len(LEVELS) - 1)


def conditional_on(config: ReplicationConfig) -> list[str]:
    """What every repetition shares, so that no interval knows how much another one of it would change.

    Pools differ wherever learnings do.
    """
    has_one = [config.num_draws == 1, config.num_learnings_in_all == 1]
    has_one.append(has_one[1] and config.num_pools == 1)
    names = ("the training images at hand", "what was learnt", "the images that were drawn")
    return [name for name, is_one in zip(names, has_one, strict=True) if is_one]
