"""Images listed in a table: a CSV file with a column of paths, one of classes and, if it likes, one of splits.

Paths are relative to the table's folder, or absolute. This module decodes no image.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from flowerti.config.data import DataConfig
from flowerti.data.dataset import SPLITS, Dataset, Record, Split
from flowerti.data.sources.files import FILES, root_of
from flowerti.data.sources.implementation import Implementation
from flowerti.data.sources.split_names import settled, split_of_folder

_PATHS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path")
_LABELS = ("label", "class", "class_name", "category", "target")
_SPLIT_COLUMNS = ("split", "set", "subset", "partition")
_DELIMITERS = ",;\t|"


def _list_records(config: DataConfig, _seed: int) -> Dataset:
    table = root_of(config)
    header, rows = _read(table)
    path_column = _column(table, header, config.image_column, _PATHS, "paths")
    label_column = _column(table, header, config.label_column, _LABELS, "classes")
    split_column = next((name for name in header if name.strip().lower() in _SPLIT_COLUMNS), None)
    split_of = {} if split_column is None else _splits(table, [row[split_column] for row in rows])
    class_names = tuple(sorted({row[label_column] for row in rows}))
    class_ids = {name: class_id for class_id, name in enumerate(class_names)}
    records = []
    for row in rows:
        split: Split = "train" if split_column is None else split_of[row[split_column]]
        path = (table.parent / row[path_column]).resolve()
        records.append(Record(Path(row[path_column]).as_posix(), class_ids[row[label_column]], split, str(path)))
    missing: tuple[Split, ...] = tuple(split for split in SPLITS if all(record.split != split for record in records))
    unusual = sorted(f"{split} is {name}" for name, split in split_of.items() if name != split)
    notes = (f"splits by name: {', '.join(unusual)}",) if unusual else ()
    return Dataset(class_names, tuple(records), missing=missing, notes=notes)


def _read(table: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Column names, and rows without a missing or an additional value."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            first = stream.readline()
            stream.seek(0)
            delimiter = max(_DELIMITERS, key=first.count)
            reader = csv.DictReader(stream, delimiter=delimiter, strict=True)
            rows = []
            for row in reader:
                if None in row or any(not isinstance(value, str) for value in row.values()):
                    raise ValueError(f"data.root: {table}, line {reader.line_num}: another number of columns: mend it")
                rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"data.root: {table} cannot be read as CSV in UTF-8 ({error}): save it so") from error
    if not rows:
        raise ValueError(f"data.root: {table} lists no image below its line of column names: add some")
    return list(reader.fieldnames or ()), rows


def _column(table: Path, header: Sequence[str], named: str, usual: Sequence[str], what: str) -> str:
    wanted = (named.lower(),) if named else usual
    found = [name for name in header if name.strip().lower() in wanted]
    if not found:
        option = "image_column" if what == "paths" else "label_column"
        raise ValueError(
            f"data.root: {table} has no column of {what}, only {', '.join(header)[:100]}: call it {usual[0]} in the "
            f"first line, or name it with data.{option}"
        )
    return found[0]


def _splits(table: Path, names: Sequence[str]) -> dict[str, Split]:
    found: dict[str, Split] = {}
    for name in dict.fromkeys(names):
        split = split_of_folder(name)
        if split is None:
            raise ValueError(f"data.root: {table}: {name!r} names no split: write train, validation or test")
        found[name] = split
    return settled(found, {name: name for name in found})


PATH_TABLE = Implementation(list_records=_list_records, images=FILES)
