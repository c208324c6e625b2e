"""Settings of how synthetic images are drawn.

This module knows nothing about torch, Ray or how a stage works.
"""

from dataclasses import dataclass, field
from typing import Literal

from flowerti.config.checks import check_kinds, require
from flowerti.prompts import CONTEXTS
from flowerti.tables.sources import SOURCES, Source, default_sources, judged_source

WHOLE_LADDER = (0.0, 1.0)
"""The guidance interval that leaves no step out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How synthetic images are drawn."""

    num_per_class: int = 64
    """Images of each source for each selected class."""
    sources: tuple[str, ...] = field(default_factory=default_sources)
    """Where images come from (rows of `tables.sources`); one is left out for a class that it has nothing for."""
    prompt: str = 'Photo of a "{}"'
    """Prompt; {} takes the name or the token."""
    num_inference_steps: int = 20
    """Steps of the noise scheduler."""
    guidance_scale: float = 3.0
    """Weight of classifier-free guidance; 1 turns it off."""
    batch_size: int = 16
    """Images drawn at once; cut by image index."""
    alternative_names_file: str = ""
    """JSON file {class name: another name}; comes before the names that the project knows."""
    guidance_interval: tuple[float, float] = WHOLE_LADDER
    """Which steps are guided, as shares of the steps from the noisiest (0) to the last (1); any other costs half."""
    negative: Literal["", "confusable"] = ""
    """What guidance leads away from: the empty prompt, or the class that the classifier most often confuses with it."""
    strengths: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Shares of the steps, in (0, 1], that sources which start from images take in turn."""
    label_exponent: float = 0.5
    """Between classes an image of strength s counts as s to this power of its class, the rest as that of its source."""
    token_noise: float = 0.1
    """Size of the noise on a token's rows, as a multiple of each row's norm."""
    contexts: tuple[str, ...] = CONTEXTS
    """Prompts of sources with contexts; {} takes the name or the token."""

    def __post_init__(self) -> None:
        """Check ranges and the prompt's placeholder."""
        check_kinds(self, "sampling.")
        for name in ("num_per_class", "num_inference_steps", "batch_size"):
            require(getattr(self, name) >= 1, f"sampling.{name}", "must be at least 1")
        require(self.num_per_class >= 2, "sampling.num_per_class", "must be at least 2 to be scored")
        require(self.guidance_scale >= 1, "sampling.guidance_scale", "must be at least 1")
        require(_has_one_place(self.prompt), "sampling.prompt", "must contain {} once, and no other brace")
        unknown = [name for name in self.sources if name not in SOURCES]
        known = ", ".join(SOURCES.names)
        require(not unknown, "sampling.sources", f"names unknown {', '.join(unknown)}: choose among {known}")
        require(len(set(self.sources)) == len(self.sources), "sampling.sources", "names one twice")
        judged = judged_source()
        require(judged in self.sources, "sampling.sources", f"must contain {judged!r}, which the sweep judges")
        self._check_guidance()
        self._check_modes([SOURCES[name] for name in self.sources])

    def _check_guidance(self) -> None:
        name, interval = "sampling.guidance_interval", self.guidance_interval
        ordered = len(interval) == 2 and 0 <= interval[0] < interval[1] <= 1
        require(ordered, name, "must be two shares a, b of the steps with 0 <= a < b <= 1")
        places = [step / self.num_inference_steps for step in range(self.num_inference_steps)]
        has_step = any(interval[0] <= place < interval[1] for place in places)
        require(has_step, name, f"holds none of the {self.num_inference_steps} steps: widen it")
        has_effect = not self.negative or self.guidance_scale > 1
        require(
            has_effect, "sampling.negative", "needs a sampling.guidance_scale above 1: without guidance it does nothing"
        )

    def _check_modes(self, sources: list[Source]) -> None:
        name, strengths = "sampling.strengths", self.strengths
        require(len(strengths) > 0 and all(0 < s <= 1 for s in strengths), name, "must lie in (0, 1]")
        require(len(set(strengths)) == len(strengths), name, "names a strength twice")
        weakest, num_steps = min(strengths), self.num_inference_steps
        leaves_steps = int(num_steps * weakest) >= 1 or not any(source.has_strength for source in sources)
        problem = (
            f"has {weakest:g}, which leaves none of the {num_steps} steps: raise it or sampling.num_inference_steps"
        )
        require(leaves_steps, name, problem)
        require(self.label_exponent > 0, "sampling.label_exponent", "must be positive")
        require(self.token_noise >= 0, "sampling.token_noise", "must not be negative")
        good = len(self.contexts) > 0 and all(map(_has_one_place, self.contexts))
        require(good, "sampling.contexts", "must each contain {} once, and no other brace")


def _has_one_place(template: str) -> bool:
    before, place, after = template.partition("{}")
    return bool(place) and not any(brace in before + after for brace in "{}")
