"""Labelled images in Parquet files, as Hugging Face `datasets` writes them: listed by label, read by row.

Files are named after their split, or lie in a folder that is (`train-00000-of-00002.parquet`, `data/valid.parquet`,
`default/train/0000.parquet`). A row holds an encoded image, as {bytes, path} or as bytes, and its class. The address of
an image is "parquet:<file>#<row>", with the column where it is not `image`. This module does not decode images.
"""

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from flowerti.config.data import DataConfig
from flowerti.data.dataset import SPLITS, Dataset, Record, Split
from flowerti.data.listing_notes import left_out
from flowerti.data.sources.files import root_of, stamp_of_file
from flowerti.data.sources.image_files import is_hidden
from flowerti.data.sources.implementation import ImageReader, Implementation
from flowerti.data.sources.parquet_columns import Labels, read_labels
from flowerti.data.sources.split_names import settled, split_words_in

_USUAL_COLUMN = "image"


def _list_records(config: DataConfig, _seed: int) -> Dataset:
    folder = root_of(config)
    files = _files(folder)
    labels = {file: read_labels(file, config) for file in files.split_of}
    names = _class_names(labels)
    class_ids, records = {name: class_id for class_id, name in enumerate(names)}, []
    for file, of_file in labels.items():
        column = "" if of_file.image_column == _USUAL_COLUMN else f"?{of_file.image_column}"
        for row, value in enumerate(of_file.values):
            id_ = f"{file.relative_to(folder).as_posix()}#{row}"
            address = f"parquet:{file.resolve()}#{row}{column}"
            records.append(Record(id_, class_ids[str(value)], files.split_of[file], address))
    missing: tuple[Split, ...] = tuple(split for split in SPLITS if split not in files.split_of.values())
    notes = (*files.notes, *_notes(labels), *left_out(files.left_out))
    return Dataset(names, tuple(records), missing=missing, notes=notes)


class _Files(NamedTuple):
    """The Parquet files of a folder."""

    split_of: dict[Path, Split]
    """In the order of the splits, and by name in each."""
    left_out: dict[str, list[str]]
    """What else is there, by kind."""
    notes: list[str]


def _files(folder: Path) -> _Files:
    if not folder.is_dir():
        raise ValueError(f"data.root: {folder} is missing, or no folder: name the folder of the Parquet files")
    found, others = _found(folder)
    if not found:
        content = "; ".join(left_out(others)) or "it is empty"
        raise ValueError(f"data.root: no Parquet file in {folder} ({content}): name the folder that holds them")
    named = {path: place for path in found if (place := _place(path.relative_to(folder)))}
    if not named:
        return _Files(dict.fromkeys(found, "train"), others, [])
    split_of = settled({path: one.split for path, one in named.items()}, {p: one.word for p, one in named.items()})
    _check_one_set(folder, named, split_of)
    missing = [split for split in SPLITS if split not in split_of.values()]
    for path in (path for path in found if path not in named):
        if missing:
            raise ValueError(
                f"data.root: {path} is named after no split: rename it, such as to {missing[0]}-0.parquet, or move it "
                "out of data.root"
            )
        others[".parquet file:, named after no split"].append(path.relative_to(folder).as_posix())
    ordered = sorted(split_of.items(), key=lambda item: (SPLITS.index(item[1]), item[0]))
    words = {split: named[path].word for path, split in ordered}
    unusual = [f"{split} is {word}" for split, word in words.items() if split != word]
    return _Files(dict(ordered), others, [f"splits by name: {', '.join(unusual)}"] if unusual else [])


def _found(folder: Path) -> tuple[list[Path], dict[str, list[str]]]:
    """The Parquet files below a folder, sorted, and what else there is, by kind."""
    found, others = [], defaultdict(list)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        parts = path.relative_to(folder).parts
        suffix, name = path.suffix.lower(), "/".join(parts)
        if any(is_hidden(part) for part in parts):
            others["hidden or system file"].append(name)
        elif suffix == ".parquet":
            found.append(path)
        else:
            others[f"{suffix} file:, no Parquet" if suffix else "file: without a suffix"].append(name)
    return found, others


class _Place(NamedTuple):
    """Where the name of a split stands in the path of a file."""

    split: Split
    word: str
    above: str
    """The folder that holds the file, or folder, with the word in its name."""


def _place(path: Path) -> _Place | None:
    """The outermost part of a path that names a split; None where none does.

    Raises:
        ValueError: a part names several; names it.
    """
    for depth, part in enumerate(path.parts):
        words = split_words_in(part)
        if len(set(words.values())) > 1:
            raise ValueError(f"data.root: {part!r} is named after several splits ({', '.join(words)}): rename it")
        for word, split in words.items():
            return _Place(split, word, "/".join(path.parts[:depth]))
    return None


def _check_one_set(folder: Path, named: Mapping[Path, _Place], split_of: Mapping[Path, Split]) -> None:
    """Refuse several data sets side by side, which often hold the same images under other labels."""
    places = sorted({(split_of[path], one.above, one.word) for path, one in named.items()})
    for (split, *first), (other, *second) in pairwise(places):
        if split == other:
            a, b = (folder.joinpath(*place) for place in (first, second))
            raise ValueError(
                f"data.root: {a}... and {b}... both are named after the {split} split: name one data set as data.root, "
                "and one file or folder after each split"
            )


def _class_names(labels: Mapping[Path, Labels]) -> tuple[str, ...]:
    """The declared names where all files agree on them, otherwise those that occur, sorted; numbers by their value."""
    declared = {of_file.declared for of_file in labels.values()}
    if len(declared) == 1 and (known := declared.pop()):
        return known
    values = {value for of_file in labels.values() for value in of_file.values}
    numbers = sorted(value for value in values if isinstance(value, int))
    if not numbers:
        return tuple(sorted(str(value) for value in values))
    for file, of_file in labels.items():
        if any(isinstance(value, int) for value in of_file.values) and len(numbers) < len(values):
            row, value = next((row, v) for row, v in enumerate(of_file.values) if isinstance(v, int))
            raise ValueError(
                f"data.root: {file}, row {row}: label {value!r} has no class name as others have: give it one"
            )
    return tuple(str(number) for number in numbers)


def _notes(labels: Mapping[Path, Labels]) -> list[str]:
    notes = []
    columns = sorted({(one.image_column, one.label_column) for one in labels.values()})
    if columns != [(_USUAL_COLUMN, "label")]:
        notes.append("columns: " + "; ".join(f"images in {image}, classes in {label}" for image, label in columns))
    if any(isinstance(value, int) for one in labels.values() for value in one.values):
        notes.append(
            "classes are numbers without names, and are called so in prompts: name them in "
            "sampling.alternative_names_file"
        )
    return notes


def _read(address: str) -> bytes:
    import pyarrow as pa

    file, row, column = _parts(address)
    try:
        content = _images(file, column, Path(file).stat().st_mtime_ns)[row]
    except (pa.ArrowException, OSError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"image {address} cannot be read ({error}): fetch the file again") from error
    if not content:
        raise ValueError(f"image {address} holds no bytes: embed the images in the Parquet file")
    return content


def _parts(address: str) -> tuple[str, int, str]:
    file, _, place = address.removeprefix("parquet:").rpartition("#")
    row, _, column = place.partition("?")
    return file, int(row), column or _USUAL_COLUMN


@functools.lru_cache(maxsize=4)
def _images(file: str, column: str, _modified_ns: int) -> Sequence[bytes | None]:
    import pyarrow.parquet as pq

    values = pq.read_table(file, columns=[column]).column(column).to_pylist()
    return [value["bytes"] if isinstance(value, dict) else value for value in values]


PARQUET = Implementation(
    list_records=_list_records,
    images=ImageReader(identify=_read, stamp_of=lambda address: stamp_of_file(_parts(address)[0])),
)
