"""Which data source reads what a person named: a folder of images or of Parquet files, or a table of paths.

This module lists names and opens no image.
"""

import os
from pathlib import Path

_TABLES = (".csv", ".tsv")
_FLOWERS = Path("flowers-102") / "imagelabels.mat"
"""What torchvision's Oxford 102 always has."""


def kind_of(name: str) -> str:
    """The row of `config.data_sources` that reads a folder or file.

    Raises:
        ValueError: there is no such folder or file, or no data source reads it; says what to do.
    """
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix.lower() in _TABLES:
            return "csv"
        raise ValueError(
            f"{name} is a file that no data source reads: name a folder of images or Parquet files, or a .csv of paths"
        )
    if not path.is_dir():
        raise ValueError(f"{name} is missing: name a folder of images or Parquet files, or a .csv of paths")
    if (path / _FLOWERS).is_file():
        return "flowers102"
    suffixes = _suffixes_below(path)
    if ".parquet" in suffixes:
        return "parquet"
    if suffixes == {".tar"}:
        raise ValueError(f"{name} holds .tar files only: unpack each, so that every class has a folder of its images")
    return "image_folder"


def _suffixes_below(folder: Path) -> set[str]:
    """The suffixes of all files below a folder, in lower case, without hidden files."""
    found: set[str] = set()
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found |= {os.path.splitext(name)[1].lower() for name in files if not name.startswith(".")}
    return found
