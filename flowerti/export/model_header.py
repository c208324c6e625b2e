"""The header of a safetensors file by Stability's ModelSpec, version 1.0.1: what it is, and the word that calls it.

The header is written here and not by the safetensors package, which puts metadata in another order each time, so that
the same file would have other bytes. Tensors are neither read nor changed. This module does not know what was learnt.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_LENGTH_BYTES = 8
_METADATA = "__metadata__"
_FAMILIES = {768: "stable-diffusion-v1", 2048: "stable-diffusion-xl-v1-base"}
"""By the width of the text states that the U-Net sees."""


def with_metadata(content: bytes, metadata: Mapping[str, str], names: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file with other metadata; its tensors keep their bytes.

    Args:
        content: the file.
        metadata: what its header says; the hash of its tensors is added as ModelSpec asks.
        names: other names for some of its tensors.

    Raises:
        ValueError: the content is no safetensors file.
    """
    header, tensors = _parts_of(content)
    hashed = {"modelspec.hash_sha256": f"0x{hashlib.sha256(tensors).hexdigest()}"}
    header.pop(_METADATA, None)
    ordered = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    renamed = {(names or {}).get(name, name): described for name, described in ordered}
    text = json.dumps(
        {_METADATA: dict(sorted({**metadata, **hashed}.items())), **renamed},
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()
    # the format wants tensors to begin at a multiple of eight bytes
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + tensors


def shapes_in(content: bytes) -> dict[str, list[int]]:
    """The shape of each tensor by its name.

    Raises:
        ValueError: the content is no safetensors file.
    """
    header, _ = _parts_of(content)
    return {name: described["shape"] for name, described in header.items() if name != _METADATA}


def _parts_of(content: bytes) -> tuple[dict[str, Any], bytes]:
    begin = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    try:
        header = json.loads(content[_LENGTH_BYTES:begin])
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"no safetensors header: {error}") from error
    return header, content[begin:]


def architecture_of(text_width: int, prediction_type: str) -> str:
    """ModelSpec's name of a base's family; one of another width has a name of this project's.

    Args:
        text_width: of the text states that the U-Net sees.
        prediction_type: of the base's scheduler; empty where it is not known.
    """
    if text_width == 1024:
        return "stable-diffusion-v2-768-v" if prediction_type == "v_prediction" else "stable-diffusion-v2-512"
    return _FAMILIES.get(text_width, f"stable-diffusion-text-width-{text_width}")
