"""Settings of how synthetic images are drawn.

This module knows nothing about torch, Ray or how a stage works.
"""

from dataclasses import dataclass, field

from flowerti.config.checks import check_kinds, require
from flowerti.tables.sources import SOURCES, default_sources, judged_source


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

    def __post_init__(self) -> None:
        """Check ranges and the prompt's placeholder."""
        check_kinds(self, "sampling.")
        for name in ("num_per_class", "num_inference_steps", "batch_size"):
            require(getattr(self, name) >= 1, f"sampling.{name}", "must be at least 1")
        require(self.num_per_class >= 2, "sampling.num_per_class", "must be at least 2 to be scored")
        require(self.guidance_scale >= 1, "sampling.guidance_scale", "must be at least 1")
        around = self.prompt.partition("{}")
        braces = not around[1] or any(brace in around[0] + around[2] for brace in "{}")
        require(not braces, "sampling.prompt", "must contain {} once, and no other brace")
        unknown = [name for name in self.sources if name not in SOURCES]
        known = ", ".join(SOURCES.names)
        require(not unknown, "sampling.sources", f"names unknown {', '.join(unknown)}: choose among {known}")
        require(len(set(self.sources)) == len(self.sources), "sampling.sources", "names one twice")
        judged = judged_source()
        require(judged in self.sources, "sampling.sources", f"must contain {judged!r}, which the sweep judges")
