"""Which columns of a Parquet file hold images and classes, and the class of each row.

Columns are found by their usual names, by what Hugging Face `datasets` writes about them into a file, or by their
type. Where several would do, the user names one. This module reads no image.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flowerti.config.data import DataConfig

if TYPE_CHECKING:
    import pyarrow as pa

_IMAGE_NAMES = ("image", "img")
_LABEL_NAMES = ("label", "labels", "fine_label", "class", "class_name", "category", "target")
"""Usual names, the first of which that a file has is read."""


class Labels(NamedTuple):
    """The classes of a file's rows."""

    values: list[str] | list[int]
    """Class name of each row; numbers where the file names no classes."""
    declared: tuple[str, ...]
    """All class names, in their order, as the file's metadata gives them; empty where it does not."""
    image_column: str
    label_column: str


def read_labels(file: Path, config: DataConfig) -> Labels:
    """Read the class of each row.

    Raises:
        ValueError: it is no Parquet file, a column is missing or of another kind, or a row has no class; names it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
        features = _features(schema.metadata or {})
        image = _image_column(file, schema, features, config.image_column)
        label = _label_column(file, schema, features, config.label_column)
        values = pq.read_table(file, columns=[label]).column(label).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"data.root: {file} cannot be read as Parquet ({reason}): fetch it again") from error
    declared = _names(features.get(label))
    for row, value in enumerate(values):
        if not _is_class(value, declared):
            raise ValueError(f"data.root: {file}, row {row}: label {value!r} has no class name: {_advice(value)}")
    names = values if not declared else [v if isinstance(v, str) else declared[v] for v in values]
    return Labels(names, declared, image, label)


def _advice(value: object) -> str:
    if value == -1 or value is None:
        return "it stands for an unknown class: leave such rows out, or move a file without classes out of data.root"
    if isinstance(value, list):
        return "an image has one class: name another column by data.label_column"
    return "correct it, or name another column by data.label_column"


def _is_class(value: object, declared: Sequence[str]) -> bool:
    if isinstance(value, str):
        return bool(value.strip()) and value.isprintable()
    return isinstance(value, int) and 0 <= value < (len(declared) or value + 1)


def _image_column(file: Path, schema: "pa.Schema", features: Mapping[str, Any], wanted: str) -> str:
    def holds_images(name: str) -> bool:
        return _type_of(features.get(name)) == "Image" or _is_image_type(schema.field(name).type)

    name = _chosen(file, schema, (wanted, "image", "images"), _IMAGE_NAMES, holds_images)
    if not _is_image_type(schema.field(name).type):
        raise ValueError(
            f"data.root: {file}: column {name!r} holds {schema.field(name).type}, not encoded images: name another by "
            "data.image_column, or embed the images as {bytes, path}"
        )
    return name


def _label_column(file: Path, schema: "pa.Schema", features: Mapping[str, Any], wanted: str) -> str:
    def holds_classes(name: str) -> bool:
        return _type_of(features.get(name)) == "ClassLabel"

    return _chosen(file, schema, (wanted, "label", "classes"), _LABEL_NAMES, holds_classes)


def _chosen(
    file: Path,
    schema: "pa.Schema",
    asked: tuple[str, str, str],
    usual: Sequence[str],
    would_do: Callable[[str], bool],
) -> str:
    """The column that the user names, or the first usual one, or the only one that would do.

    Args:
        file: what the error names.
        schema: of the file.
        asked: the name that the user gave, what such a column is called, and what it holds.
        usual: names that it often has.
        would_do: whether a column could be it.
    """
    wanted, kind, content = asked
    columns, setting = ", ".join(schema.names), f"data.{kind}_column"
    if wanted:
        if wanted not in schema.names:
            raise ValueError(f"{setting}: {file} has no column {wanted!r}: it has {columns}")
        return wanted
    found = [name for name in usual if name in schema.names][:1] or [n for n in schema.names if would_do(n)]
    if len(found) > 1:
        raise ValueError(
            f"data.root: {file}: several columns hold {content} ({', '.join(found)}): name one by {setting}"
        )
    if not found:
        raise ValueError(f"data.root: {file} has no column {usual[0]!r}: it has {columns}: name one by {setting}")
    return found[0]


def _is_image_type(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _features(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """What `datasets` wrote about the columns; nothing where it wrote nothing that can be read."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _type_of(feature: object) -> str:
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""


def _names(feature: object) -> tuple[str, ...]:
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(str(name) for name in names) if isinstance(names, list) else ()
