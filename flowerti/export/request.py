"""What is asked of an export.

This module knows nothing about files or models.
"""

import math
from dataclasses import dataclass

from flowerti.config.checks import require
from flowerti.export.kinds import KINDS


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportRequest:
    """What leaves a run."""

    what: tuple[str, ...]
    """Rows of `export.kinds`, each in a folder of its name."""
    sources: tuple[str, ...] = ()
    """Whose images, among those that the run drew; empty for the judged source where it did, else for its first one."""
    ratio: float | None = None
    """Drawn images of a class as a multiple of its training images, those that the sweep's first repetition adds at
    this ratio; None for all that were kept."""
    learning: int = 0
    """Which of a class's learnings."""
    with_real_images: bool = False
    """Let real images, and those drawn from real ones, leave although data.show_images is off."""
    base_model: str = ""
    """Name of the base on the Hugging Face Hub, for cards; empty for what base.path says."""

    def __post_init__(self) -> None:
        """Check names and ranges."""
        require(bool(self.what), "--what", f"is empty: choose among {', '.join(KINDS.names)}")
        for name in self.what:
            require(name in KINDS, "--what", f"must be among {', '.join(KINDS.names)}, not {name!r}")
        for field, names in (("--what", self.what), ("--sources", self.sources)):
            require(len(set(names)) == len(names), field, "names one twice")
        good = self.ratio is None or (math.isfinite(self.ratio) and self.ratio >= 0)
        require(good, "--ratio", "must be at least 0")
        require(self.learning >= 0, "--learning", "must be at least 0")
