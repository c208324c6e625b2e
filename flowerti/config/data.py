"""Settings of the data: where labelled images come from, and how they are made imbalanced on purpose.

This module knows nothing about files of images or how a split is made.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from flowerti.config.checks import check_kinds, require
from flowerti.config.data_sources import DATA_SOURCES


def _choices(default: str) -> str:
    """The help text of data.kind; built on demand, so that it includes the rows of plugins."""
    return f"(default: {default}; {', '.join(f'{row.name}: {row.label}' for row in DATA_SOURCES)})"


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Where labelled images come from."""

    kind: Annotated[str, tyro.conf.arg(help_behavior_hint=_choices)]
    """The data source, a row of `config.data_sources`."""
    root: str = ""
    """Folder of the data set, or the file of a CSV; empty for drawn data."""
    image_size_px: int = 64
    """Side of the square to which every image is cropped and scaled, in pixels."""
    download: bool = False
    """Fetch a data set that is missing in root, where its data source can."""
    class_level: Literal["outer", "inner"] = "outer"
    """Image folders only: whether a class is a folder with all that is in it, or each innermost folder."""
    image_column: str = ""
    """Parquet and CSV files only: column of the images, or of their paths; empty for its usual names."""
    label_column: str = ""
    """Parquet and CSV files only: column of the classes; empty for its usual names."""
    left_out_classes: tuple[str, ...] = ()
    """Classes that are left out, by name."""
    skip_unreadable: bool = False
    """Leave out images that cannot be opened, and list them, instead of stopping."""
    show_images: bool = True
    """Whether real images may appear in the report."""
    num_train_common: int = 100
    """Drawn data only: training images of each common class."""
    num_train_rare: int = 8
    """Drawn data only: training images of each rare class."""
    num_validation: int = 25
    """Drawn data only: validation images of each class."""
    num_test: int = 40
    """Drawn data only: test images of each class."""

    def __post_init__(self) -> None:
        """Check the fields against each other."""
        check_kinds(self, "data.")
        require(self.image_size_px >= 8, "data.image_size_px", "must be at least 8 pixels")
        known = ", ".join(DATA_SOURCES.names)
        require(self.kind in DATA_SOURCES, "data.kind", f"must be one of {known}, not {self.kind!r}")
        source = DATA_SOURCES[self.kind]
        has_root = bool(self.root) or not source.needs_root
        names = self.left_out_classes
        require(len(set(names)) == len(names), "data.left_out_classes", "names a class twice")
        require(has_root, "data.root", f"is empty: name the folder of the {self.kind} data set")
        for name in ("num_train_common", "num_train_rare", "num_validation", "num_test"):
            enough = not source.is_drawn or getattr(self, name) >= 2
            require(enough, f"data.{name}", "must be at least 2")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImbalanceConfig:
    """How a data set is made imbalanced on purpose; the defaults leave it as it is."""

    factor: float = 1.0
    """Training images of the last class of the exponential tail as a share of the first one's, in (0, 1]."""
    minority_classes: tuple[str, ...] = ()
    """Classes that are put at the end of the tail, so that they are the few-shot ones."""
    minority_images: int = 0
    """Training images that each of these classes keeps instead; 0 leaves their number to the tail."""
    resplit: bool = False
    """Pool all splits and re-split them, class by class, by the shares below."""
    validation_share: float = 0.2
    """Share of each class's images that a re-split sets aside for validation, in (0, 1)."""
    test_share: float = 0.25
    """Share of each class's images that a re-split sets aside for test, in (0, 1)."""
    min_held_out: int = 1
    """Images that a cut sets aside of a class for each held-out split at least, where it has three times as many."""
    positive_classes: tuple[str, ...] = ()
    """Binary task: these classes as one against all others as one; empty keeps all classes apart."""

    def __post_init__(self) -> None:
        """Check ranges and the fields against each other."""
        check_kinds(self, "imbalance.")
        require(0 < self.factor <= 1, "imbalance.factor", "must lie in (0, 1]")
        for name in ("minority_classes", "positive_classes"):
            names = getattr(self, name)
            require(len(set(names)) == len(names), f"imbalance.{name}", "names a class twice")
        needless = bool(self.minority_classes) and not self.leaves_out
        problem = "need a long tail or a number: set imbalance.factor below 1, or imbalance.minority_images"
        require(not needless, "imbalance.minority_classes", problem)
        require(self.minority_images >= 0, "imbalance.minority_images", "must not be negative")
        fits = self.minority_images == 0 or bool(self.minority_classes)
        require(fits, "imbalance.minority_images", "need imbalance.minority_classes: name the classes to cut down")
        require(self.min_held_out >= 1, "imbalance.min_held_out", "must be at least 1")
        for name in ("validation_share", "test_share"):
            require(0 < getattr(self, name) < 1, f"imbalance.{name}", "must lie in (0, 1)")
        held_out = self.validation_share + self.test_share
        require(held_out < 1, "imbalance.test_share", "and validation_share leave nothing to train on: lower one")

    @property
    def leaves_out(self) -> bool:
        """Whether training images are left out."""
        return self.factor < 1 or self.minority_images > 0
