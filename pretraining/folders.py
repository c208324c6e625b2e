"""Where a base is made. It does not know what lies there."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Folders:
    """Where a base is made."""

    output_dir: Path
    """The pipeline's folder; replaced in whole, a few times on the way and at the end."""
    work_dir: Path
    """Local folder for what is finished; pass the same one to go on after an interruption."""
