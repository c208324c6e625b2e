"""The table of where labelled images can come from, and where the code of each is.

A data source is a file under `flowerti.data.sources` and a row here. Configs name a row, addresses of images begin with
a row's prefix. This module imports none of their code.
"""

from dataclasses import dataclass

from flowerti.config.checks import require
from flowerti.tables import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSource:
    """One way to get labelled images."""

    name: str
    label: str
    """What it reads, in plain words, as --help has it."""
    prefix: str = ""
    """What the addresses of its images begin with, as in "parquet:"; empty where they are paths of files."""
    needs_root: bool = True
    """Whether data.root must name a folder."""
    is_drawn: bool = False
    """Whether its images are drawn by rule, as squares of any size and as many as data.num_* say; the images of other
    data sources are encoded, and are decoded, cropped and scaled when read."""
    implementation: str
    """Where its code is, as module:object; the object is a `flowerti.data.sources.implementation.Implementation`."""

    def __post_init__(self) -> None:
        """Check that a prefix cannot be confused with a path."""
        good = not self.prefix or (self.prefix.endswith(":") and len(self.prefix) > 2)
        require(good, f"data source {self.name!r}: prefix", f"must be empty or a word and a colon, not {self.prefix!r}")


DATA_SOURCES: Table[DataSource] = Table(
    "data source",
    [
        DataSource(
            name="herbarium",
            label="drawn demo data",
            prefix="herbarium:",
            needs_root=False,
            is_drawn=True,
            implementation="flowerti.data.sources.herbarium.source:HERBARIUM",
        ),
        DataSource(
            name="flowers102",
            label="Oxford 102 as torchvision lays it out",
            implementation="flowerti.data.sources.flowers102:FLOWERS102",
        ),
        DataSource(
            name="image_folder",
            label="folders of images, with splits or without",
            implementation="flowerti.data.sources.image_folder:IMAGE_FOLDER",
        ),
        DataSource(
            name="parquet",
            label="Parquet files as on the Hugging Face Hub",
            prefix="parquet:",
            implementation="flowerti.data.sources.parquet:PARQUET",
        ),
        DataSource(
            name="csv",
            label="a CSV file of paths and classes",
            implementation="flowerti.data.sources.path_table:PATH_TABLE",
        ),
    ],
)
