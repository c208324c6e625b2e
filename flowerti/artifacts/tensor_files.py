"""Metadata of safetensors content that is already in memory.

The safetensors package reads metadata from a path only, while a run directory may lie on an object store. This module
knows the header's layout (length, then JSON) and nothing about what the tensors are.
"""

import json


def metadata_of(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file; empty where it has none.

    Raises:
        ValueError: the content is no safetensors file.
    """
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        return header.get("__metadata__", {})
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError) as error:
        raise ValueError(f"no safetensors header: {error}") from error
