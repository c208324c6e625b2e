"""Synthetic images on disk: Parquet shards that Hugging Face `datasets` opens as an image data set.

A row holds the image as PNG bytes with its class, source, learning, prompts, index, seed and mode of drawing; columns
for the image that it was drawn from, with its class, the strength and the share of the label, and for a filter's
verdict and weight, are there for sources that have them. A shard stores the key of its inputs in its schema metadata,
and its checksum in the file's. This module does not know how images are generated.
"""

import functools
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float64, UInt8

from flowerti.artifacts import checksums, layout
from flowerti.artifacts.checked_files import taken_from
from flowerti.artifacts.layout import num_rows
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.data.images import decode_image

SYNTHETIC_PREFIX = "synthetic:"
"""Prefix of the addresses of synthetic images."""

COLUMNS: list[tuple[str, pa.DataType, str]] = [
    ("class_name", pa.string(), "string"),
    ("source", pa.string(), "string"),
    ("learning", pa.int64(), "int64"),
    ("prompt", pa.string(), "string"),
    ("index", pa.int64(), "int64"),
    ("seed", pa.int64(), "int64"),
    ("source_image", pa.string(), "string"),
    ("strength", pa.float64(), "float64"),
    ("verdict", pa.string(), "string"),
    ("weight", pa.float64(), "float64"),
    # columns are added at the end: shards of earlier runs lack those that were added since, and keep their keys
    ("mode", pa.string(), "string"),
    ("guidance_scale", pa.float64(), "float64"),
    ("negative_prompt", pa.string(), "string"),
    ("source_class", pa.string(), "string"),
    ("label_share", pa.float64(), "float64"),
]
"""What is told of each image: name, and type as Arrow and as Hugging Face `datasets` call it."""
_DEFAULTS = {"weight": 1.0, "label_share": 1.0}
"""Of columns that a row lacks; the others are null. The label's share is the class's, the rest `source_class`'s."""


def _schema(key: str) -> pa.Schema:
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [pa.field("image", image), *(pa.field(name, kind) for name, kind, _ in COLUMNS)]
    features = {"image": {"_type": "Image"}}
    features |= {name: {"dtype": dtype, "_type": "Value"} for name, _, dtype in COLUMNS}
    huggingface = json.dumps({"info": {"features": features}})
    return pa.schema(fields, metadata={b"huggingface": huggingface.encode(), b"flowerti_key": key.encode()})


def write_shard(run: RunDirectory, name: str, rows: list[dict[str, Any]], key: str) -> None:
    """Write rows as one Parquet file; columns that a row lacks are null, weight and label_share 1."""
    empty = dict.fromkeys((column for column, _, _ in COLUMNS), None) | _DEFAULTS
    table = pa.Table.from_pylist([{**empty, **row} for row in rows], schema=_schema(key))
    stream = io.BytesIO()
    with pq.ParquetWriter(stream, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({checksums.FIELD: checksums.BLANK})
    run.write_checked(name, stream.getvalue())


def _damaged(run: RunDirectory, name: str, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno is not None:
        return error  # the disk failed, not Parquet, whose errors have no number
    reason = " ".join(str(error).split())
    told = f"{run.uri}/{name} is damaged ({reason}): delete it, the run makes it again"
    # errors of a store have no number either
    return ValueError(told) if run.is_local or isinstance(error, ValueError) else OSError(told)


def shard_keys(run: RunDirectory, names: Iterable[str]) -> dict[str, str]:
    """The keys of those of some shards that are there, by name; damaged ones are told and left out."""
    present = run.files(layout.SYNTHETIC)
    return taken_from(run, {name: present[name] for name in names if name in present}, _key_in)


def has_shard(run: RunDirectory, name: str, key: str) -> bool:
    """Whether there is a shard of that key; a damaged one is told, and is none."""
    info = run.filesystem.get_file_info(run.path(name))
    return bool(info.is_file) and taken_from(run, {name: info}, _key_in).get(name) == key


def _key_in(content: bytes) -> str:
    return (pq.read_schema(pa.BufferReader(content)).metadata or {}).get(b"flowerti_key", b"").decode()


@functools.lru_cache(maxsize=8)
def _read_rows(run: RunDirectory, name: str, _modified_ns: int) -> list[dict[str, Any]]:
    return _rows_of(run, name)


def _rows_of(run: RunDirectory, name: str) -> list[dict[str, Any]]:
    content = run.read_checked(name, may_lack=True)
    try:
        # not through a Python stream: pyarrow's threads then abort one process in fourteen at its exit (arrow#50482)
        return pq.read_table(pa.BufferReader(content)).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(run, name, error) from error


def read_rows(run: RunDirectory, name: str) -> list[dict[str, Any]]:
    """All rows of a shard; the last few shards read are kept in memory.

    Raises:
        DamagedError: it does not hold what was written.
    """
    modified = run.filesystem.get_file_info(run.path(name)).mtime_ns or 0
    return _read_rows(run, name, modified)


def read_weights(run: RunDirectory, names: list[str]) -> Float64[np.ndarray, " num"]:
    """The curation weights of all images of some shards, in order; 1 where an image has none."""
    (weights,) = _read_columns(run, names, ["weight"])
    return np.array([1.0 if weight is None else weight for weight in weights], dtype=np.float64)


def read_labels(run: RunDirectory, names: list[str]) -> tuple[Float64[np.ndarray, " num"], list[str]]:
    """The share of the label that is the image's class's, and the class that has the rest, of all images in order.

    Raises:
        ValueError: a shard is damaged, or an image was drawn from no other class's; names the first shard.
    """
    shares, classes = _read_columns(run, names, ["label_share", "source_class"])
    if any(share is None or name is None for share, name in zip(shares, classes, strict=True)):
        raise ValueError(f"{run.uri}/{names[0]}: its images are drawn from no other class: name another source")
    return np.array(shares, dtype=np.float64), classes


def _read_columns(run: RunDirectory, names: list[str], columns: list[str]) -> list[list[Any]]:
    found: list[list[Any]] = [[] for _ in columns]
    for name in names:
        try:
            # only the columns' bytes are fetched, not the images
            with run.filesystem.open_input_file(run.path(name)) as stream:
                table = pq.read_table(stream, columns=columns)
            for values, column in zip(found, columns, strict=True):
                values += table.column(column).to_pylist()
        except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
            raise _damaged(run, name, error) from error
    return found


def synthetic_address(name: str, row: int) -> str:
    """The address of one synthetic image: "synthetic:<shard>#<row>"."""
    return f"{SYNTHETIC_PREFIX}{name}#{row}"


def addresses_of(files: Sequence[str], num_images: int) -> list[str]:
    """The addresses of all images of a set, in order; no file is opened.

    Args:
        files: all shards of one class, source and learning, in order.
        num_images: of the whole set.

    Raises:
        ValueError: as `layout.num_rows`.
    """
    rows = zip(files, num_rows(files, num_images), strict=True)
    return [synthetic_address(file, row) for file, num in rows for row in range(num)]


def read_synthetic(run: RunDirectory, address: str, size_px: int) -> UInt8[np.ndarray, "{size_px} {size_px} 3"]:
    """Read the image at a `synthetic_address`."""
    return decode_image(synthetic_png(run, address), size_px, address)


def synthetic_png(run: RunDirectory, address: str) -> bytes:
    """The image at a `synthetic_address` as it was drawn.

    Raises:
        DamagedError: its shard does not hold what was written.
    """
    name, _, row = address.removeprefix(SYNTHETIC_PREFIX).rpartition("#")
    return read_rows(run, name)[int(row)]["image"]["bytes"]


def first_images(
    run: RunDirectory, files: Sequence[str], num_images: int, size_px: int
) -> UInt8[np.ndarray, "num {size_px} {size_px} 3"]:
    """The first images of a set, as many as there are up to a number; opens no more shards than hold them.

    Raises:
        ValueError: a shard is damaged or holds no image that can be read; names it.
    """
    found: list[UInt8[np.ndarray, "{size_px} {size_px} 3"]] = []
    for file in files:
        for row, content in enumerate(_rows_of(run, file)[: num_images - len(found)]):
            found.append(decode_image(content["image"]["bytes"], size_px, synthetic_address(file, row)))
        if len(found) == num_images:
            break
    return np.stack(found)
