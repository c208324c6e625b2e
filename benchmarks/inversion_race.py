"""Settings of the race to the usual script's final loss: what both arms share and what each plans for."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Race:
    """What both arms share."""

    class_names: tuple[str, ...] = ("azalea", "sword lily", "canna lily")
    """Classes to learn."""
    num_seeds: int = 5
    """Runs of each class."""
    num_steps: int = 2000
    """Steps of the script."""
    eval_every_steps: int = 100
    """Steps between two looks at the yardstick in the script's arm."""
    batch_size: int = 4
    """Latents in a step of either arm; diffusers' own recipe takes 1 and accumulates 4, the script's default is 16."""
    yardstick_split: Literal["validation", "train"] = "train"
    """Images on which the yardstick looks; the loss of validation images hardly falls on a base this small."""
    num_vectors: int = 2
    """Rows of a token."""
    learning_rates: tuple[float, ...] = (1e-4, 5e-3)
    """The script's default, against the engine at its own rate; then tuned ones, the same in both arms."""
    engine_rate: float = 5e-3
    """The engine's own rate."""
    engine_steps: tuple[int, ...] = (400, 1200)
    """Steps that the engine plans for and takes, at each of `learning_rates`."""
    engine_look_every_steps: int = 25
    """Steps between two looks at the yardstick in the engine's arm."""
    engine_eval_every_steps: int = 100
    """Steps between two evaluations of the engine's own, which it pays for."""
    num_images: int = 40
    """Images drawn with each token."""
    num_processes: int = 1
    """Processes of one thread to share classes and rates; changes no result, steps are timed before."""

    def __post_init__(self) -> None:
        """One seed has no spread to compare with, and each rate has its plan."""
        if self.num_seeds < 2:
            raise ValueError(f"race.num_seeds is {self.num_seeds}: at least 2 are needed for an interval")
        if len(self.engine_steps) != len(self.learning_rates):
            num_rates = len(self.learning_rates)
            raise ValueError(
                f"race.engine_steps is {self.engine_steps}: must be one number for each of {num_rates} rates"
            )
