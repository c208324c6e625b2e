"""Labelled images in Parquet files, as Hugging Face `datasets` writes them: listed by label, read by row.

Files are named after their split (`train-00000-of-00002.parquet`, `validation.parquet`, `val/...`); a row holds the
image in a column `image` of {bytes, path} and its class in `label`, a number with names in the file's own metadata
or a text. The address of an image is "parquet:<file>#<row>". This module does not decode images.
"""

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

from flowerti.config.data import DataConfig
from flowerti.data.dataset import SPLITS, Dataset, Record, Split
from flowerti.data.sources.files import size_of_file
from flowerti.data.sources.implementation import ImageReader, Implementation

_FILE_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


def _list_records(config: DataConfig, _seed: int) -> Dataset:
    folder = Path(config.root)
    labels: list[tuple[Split, Path, _Labels]] = []
    for split in SPLITS:
        labels.extend((split, file, _labels(file)) for file in _files(folder, split))
    names = _class_names([of_file for _, _, of_file in labels])
    records = []
    for split, file, of_file in labels:
        for row, name in enumerate(of_file.names):
            id_ = f"{file.relative_to(folder).as_posix()}#{row}"
            records.append(Record(id_, names.index(name), split, f"parquet:{file.resolve()}#{row}"))
    return Dataset(names, tuple(records))


class _Labels(NamedTuple):
    names: list[str]
    """Class name of each row."""
    declared: tuple[str, ...]
    """All class names, in their order, as the file's metadata gives them; empty where it does not."""


def _class_names(labels: list[_Labels]) -> tuple[str, ...]:
    """The declared names where all files agree on them, otherwise those that occur, sorted."""
    declared = {of_file.declared for of_file in labels}
    if len(declared) == 1 and (known := declared.pop()):
        return known
    return tuple(sorted({name for of_file in labels for name in of_file.names}))


def _files(folder: Path, split: Split) -> list[Path]:
    found = []
    for file in sorted(folder.rglob("*.parquet")):
        word = file.relative_to(folder).parts[0].split(".")[0].split("-")[0]
        if word in _FILE_NAMES[split]:
            found.append(file)
    if not found:
        raise ValueError(
            f"data.root: no Parquet file of the {split} split in {folder}: name files after their split, such as "
            f"{split}-00000-of-00001.parquet"
        )
    return found


def _labels(file: Path) -> _Labels:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
        missing = {"image", "label"} - set(schema.names)
        if missing:
            raise ValueError(
                f"data.root: {file} has no column {sorted(missing)[0]!r}: columns image and label are read"
            )
        values = pq.read_table(file, columns=["label"]).column("label").to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"data.root: {file} cannot be read as Parquet ({error}): fetch it again") from error
    declared = _declared_names(schema.metadata or {})
    bad = [row for row, value in enumerate(values) if not _has_name(value, declared)]
    if bad:
        raise ValueError(f"data.root: {file}, row {bad[0]}: label {values[bad[0]]!r} has no class name: correct it")
    return _Labels([value if isinstance(value, str) else declared[value] for value in values], declared)


def _has_name(value: object, declared: tuple[str, ...]) -> bool:
    if isinstance(value, str):
        return bool(value.strip()) and value.isprintable()
    return isinstance(value, int) and 0 <= value < len(declared)


def _declared_names(metadata: dict[bytes, bytes]) -> tuple[str, ...]:
    """The names of a ClassLabel column; a plain number stands for itself only where names are given."""
    try:
        features: Any = json.loads(metadata.get(b"huggingface", b"{}"))
        return tuple(features["info"]["features"]["label"].get("names", ()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()


def _read(address: str) -> bytes:
    import pyarrow as pa

    file, row = _file_and_row(address)
    try:
        content = _images(file, Path(file).stat().st_mtime_ns)[row]
    except (pa.ArrowException, OSError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"image {address} cannot be read ({error}): fetch the file again") from error
    if not content:
        raise ValueError(f"image {address} holds no bytes: embed the images in the Parquet file")
    return content


def _file_and_row(address: str) -> tuple[str, int]:
    file, _, row = address.removeprefix("parquet:").rpartition("#")
    return file, int(row)


@functools.lru_cache(maxsize=4)
def _images(file: str, _modified_ns: int) -> list[bytes | None]:
    import pyarrow.parquet as pq

    column = pq.read_table(file, columns=["image"]).column("image")
    return [value["bytes"] if value else None for value in column.to_pylist()]


PARQUET = Implementation(
    list_records=_list_records,
    images=ImageReader(identify=_read, size_of=lambda address: size_of_file(_file_and_row(address)[0])),
)
