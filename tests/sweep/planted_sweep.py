"""A sweep in this process over classes whose truth is planted: clouds of features around centres."""

import numpy as np

from flowerti.artifacts.records import SweepTable, Trial
from flowerti.config.experiment import ClassifierConfig, ReplicationConfig, SweepConfig
from flowerti.sweep.protocol import run_sweep
from flowerti.sweep.question import SweepQuestion
from flowerti.sweep.rounds import TrialPlan
from flowerti.sweep.trial import run_trial
from flowerti.sweep.trial_data import PoolKey, TrialData

CLASSIFIER = ClassifierConfig(num_epochs=6, batch_size=16, learning_rate=0.03)
SWEEP = SweepConfig(
    mixing=("added",),
    ratios=(1.0, 4.0),
    num_bootstrap=400,
    free_arms=("real", "balanced"),
    learning_rate_factors=(1.0,),
)
REPLICATION = ReplicationConfig(num_learnings=1, num_seeds=3)
NUM_CLASSES, WEAK, DIM = 6, [4, 5], 24
NUM_TRAIN = [40, 40, 40, 40, 4, 4]


class World:
    """Classes as clouds of features around centres; a weak class lies near a frequent one."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.centres = self.rng.normal(size=(NUM_CLASSES, DIM))
        self.centres[WEAK] = self.centres[[0, 1]] + 0.45 * self.rng.normal(size=(2, DIM))

    def draw(self, class_id: int, num: int) -> np.ndarray:
        return (self.centres[class_id] + 0.8 * self.rng.normal(size=(num, DIM))).astype(np.float32)[:, None]

    def split(self, counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
        images = np.concatenate([self.draw(class_id, num) for class_id, num in enumerate(counts)])
        return images, np.repeat(np.arange(NUM_CLASSES), counts)


class Sweep:
    """Splits and pools, trained in this process; notes what it is asked for."""

    def __init__(self, pools: dict[PoolKey, np.ndarray], world: World) -> None:
        self.pools = pools
        self.train, self.train_ids = world.split(NUM_TRAIN)
        self.evaluation = {split: world.split([40] * NUM_CLASSES) for split in ("validation", "test")}
        self.asked: list[str] = []
        self.trials: list[Trial] = []

    def true_ids(self, split: str) -> np.ndarray:
        self.asked.append(f"ids of {split}")
        return self.evaluation[split][1]

    def run(self, plans: list[TrialPlan]) -> tuple[list[Trial], list[str]]:
        (split,) = {plan.split for plan in plans}
        self.asked.append(f"trials on {split}")
        data = TrialData(
            train=self.train,
            train_ids=self.train_ids,
            augmented=None,
            evaluation=self.evaluation[split][0],
            synthetic=self.pools,
            num_classes=NUM_CLASSES,
        )
        trials = [run_trial(data, plan, CLASSIFIER, 0, None, SWEEP) for plan in plans]
        self.trials += trials
        return trials, []

    def table(self, config: SweepConfig = SWEEP, replication: ReplicationConfig = REPLICATION) -> SweepTable:
        question = question_of(self.pools, config, replication)
        return run_sweep(question, self.true_ids, self.run)


def question_of(
    pools: dict[PoolKey, np.ndarray], config: SweepConfig = SWEEP, replication: ReplicationConfig = REPLICATION
) -> SweepQuestion:
    sources = [pool.source for pool in pools if pool.learning == 0]
    return SweepQuestion(
        config=config,
        class_names=tuple("abcdef"),
        weak_ids=WEAK,
        num_train=NUM_TRAIN,
        pools={source: sources.count(source) for source in set(sources)},
        run_seed=0,
        replication=replication,
    )


def pools_of(world: World, shown: dict[int, int]) -> dict[PoolKey, np.ndarray]:
    """Images of class `shown[i]` in the pool of class i."""
    return {PoolKey(class_id, "token"): world.draw(of, 16) for class_id, of in shown.items()}
