"""The checksum that a file carries in itself: SHA-256 over its name in the run directory and all its other bytes.

The name is in it, so that a file in its twin's place is told, and the key of its inputs, which stands in the file or
in its name. A writer leaves a blank where its format has a place for a text: a field of JSON, the metadata of Parquet
and safetensors. This module works on bytes alone: it opens nothing and knows no format.
"""

import hashlib

FIELD = "checksum"
"""What the place is called in a file's fields or metadata."""
_MARK = b"flowerti-sha256:"
_NUM_DIGITS = 64
_NO_DIGITS = b"0" * _NUM_DIGITS
BLANK = (_MARK + _NO_DIGITS).decode()
"""What a writer leaves in the place of the checksum."""


def with_checksum(name: str, content: bytes) -> bytes:
    """The content with its checksum in the place of the last blank.

    Raises:
        ValueError: it has no blank.
    """
    place = content.rfind(BLANK.encode())
    if place < 0:
        raise ValueError(f"{name} has no place for a checksum")
    begin = place + len(_MARK)
    return b"".join((content[:begin], _checksum(name, content, begin), content[begin + _NUM_DIGITS :]))


def stated(content: bytes) -> str:
    """The checksum that a file states, as 64 hexadecimal digits; empty where it states none."""
    place = content.rfind(_MARK)
    begin = place + len(_MARK)
    return content[begin : begin + _NUM_DIGITS].decode("ascii", "replace") if place >= 0 else ""


def problem_of(name: str, content: bytes) -> str:
    """Why a file cannot be believed; empty where it holds what was written under its name."""
    place = content.rfind(_MARK)
    if place < 0:
        return "it is cut off, or has no checksum, as files of earlier versions"
    begin = place + len(_MARK)
    if _checksum(name, content, begin) != content[begin : begin + _NUM_DIGITS]:
        return "its content was changed, or is that of another file"
    return ""


def contradiction_in(name: str, content: bytes) -> str:
    """As `problem_of`, but a file that states no checksum passes, as those of earlier versions, which are looked at."""
    return problem_of(name, content) if stated(content) else ""


def _checksum(name: str, content: bytes, begin: int) -> bytes:
    rest = memoryview(content)
    digest = hashlib.sha256(f"{len(name)}:{name}:".encode())
    for part in (rest[:begin], _NO_DIGITS, rest[begin + _NUM_DIGITS :]):
        digest.update(part)
    return digest.hexdigest().encode()
