"""A training set as a repository of the Hugging Face Hub: Parquet files, card and Croissant description.

`datasets` reads images and class names from the files' own metadata, without this project. This module does not know
where images come from.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flowerti.export.columns import COLUMNS, columns_of
from flowerti.export.contents import Contents
from flowerti.export.croissant import croissant
from flowerti.export.dataset_card import dataset_card
from flowerti.export.training_set import ExportImage, training_set

_ROWS_PER_FILE = 1000
_ROWS_PER_GROUP = 100
"""Small groups, because readers fetch one whole to show a row."""
_LOADING = """```python
from datasets import load_dataset

training = load_dataset(".", split="train")
```"""


def write_dataset_repository(contents: Contents, folder: Path) -> None:
    """Write data/*.parquet, README.md and croissant.json into a folder.

    Raises:
        ValueError: as `training_set`.
    """
    images = training_set(contents)
    files = _write_files(contents, images, folder / "data")
    card = dataset_card(
        contents,
        images,
        _LOADING,
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
        dataset_info={"features": _features_of_card(contents.class_names)},
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    described = croissant(f"{contents.experiment.name}-augmented", contents.class_names, files)
    (folder / "croissant.json").write_text(json.dumps(described, indent=1, ensure_ascii=False), encoding="utf-8")


def _write_files(contents: Contents, images: Sequence[ExportImage], folder: Path) -> dict[str, str]:
    """Write the Parquet files; returns the SHA-256 of each by its name in the repository."""
    folder.mkdir()
    schema, num_files = schema_of(contents.class_names), -(-len(images) // _ROWS_PER_FILE)
    found = {}
    for i in range(num_files):
        path = folder / f"train-{i:05d}-of-{num_files:05d}.parquet"
        with pq.ParquetWriter(path, schema) as writer:
            for group in _groups(images[i * _ROWS_PER_FILE : (i + 1) * _ROWS_PER_FILE]):
                writer.write_table(pa.Table.from_pylist([_row(contents, image) for image in group], schema=schema))
        with path.open("rb") as stream:
            found[f"data/{path.name}"] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def _groups(images: Sequence[ExportImage]) -> Iterator[Sequence[ExportImage]]:
    for begin in range(0, len(images), _ROWS_PER_GROUP):
        yield images[begin : begin + _ROWS_PER_GROUP]


def _row(contents: Contents, image: ExportImage) -> dict[str, Any]:
    path = f"{contents.folders[image.class_name]}/{image.file}"
    return {"image": {"bytes": image.read(), "path": path}, "label": image.class_id, **columns_of(image)}


def schema_of(class_names: Sequence[str]) -> pa.Schema:
    """Arrow's schema, with the features of `datasets` in its metadata."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    types = {"bool": pa.bool_()}
    fields = [pa.field(name, types.get(kind) or pa.type_for_alias(kind)) for name, kind in COLUMNS.items()]
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"names": list(class_names), "_type": "ClassLabel"},
    }
    features |= {name: {"dtype": kind, "_type": "Value"} for name, kind in COLUMNS.items()}
    huggingface = json.dumps({"info": {"features": features}})
    return pa.schema([pa.field("image", image), pa.field("label", pa.int64()), *fields], {"huggingface": huggingface})


def _features_of_card(class_names: Sequence[str]) -> list[dict[str, Any]]:
    names = {str(i): name for i, name in enumerate(class_names)}
    return [
        {"name": "image", "dtype": "image"},
        {"name": "label", "dtype": {"class_label": {"names": names}}},
        *({"name": name, "dtype": kind} for name, kind in COLUMNS.items()),
    ]
