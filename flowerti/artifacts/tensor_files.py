"""Metadata of safetensors files, in memory or in a run directory.

The safetensors package reads metadata from a path only, while a run directory may lie on an object store. This module
knows the header's layout (length, then JSON) and nothing about what the tensors are.
"""

import json

from flowerti.artifacts.run_directory import RunDirectory

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 10_000_000
"""Upper limit for the header, so that a corrupt length field cannot exhaust the memory."""


def metadata_in(run: RunDirectory, name: str) -> dict[str, str]:
    """The metadata of a safetensors file of a run, without reading its tensors.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `metadata_of`.
    """
    length = int.from_bytes(run.read_bytes(name, _LENGTH_BYTES), "little")
    return metadata_of(run.read_bytes(name, _LENGTH_BYTES + min(length, _MAX_HEADER_BYTES)))


def metadata_of(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file; empty where it has none.

    Raises:
        ValueError: the content is no safetensors file.
    """
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    try:
        header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
        return header.get("__metadata__", {})
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"no safetensors header: {error}") from error
