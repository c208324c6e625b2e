"""Encoded images that people have and encoders seldom write, made byte by byte where Pillow would not write them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

ORIENTATION = (0x0112, 3, 1, struct.pack("<HH", 6, 0))
"""A field of EXIF: stored on its side, to be turned clockwise."""


def noise(seed: int, *shape: int, top: int = 256) -> np.ndarray:
    kind = np.uint8 if top <= 256 else np.uint16
    return np.random.default_rng(seed).integers(0, top, shape or (12, 12, 3)).astype(kind)


def encoded(image: np.ndarray | Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, file_format, **options)
    return stream.getvalue()


def png_of_16_bits(values: np.ndarray, colour_type: int, transparent: tuple[int, ...] = ()) -> bytes:
    """A PNG with 16 bits a channel: grey (0), RGB (2), grey and alpha (4) or RGBA (6)."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour_type, 0, 0, 0)
    clear = struct.pack(f">{len(transparent)}H", *transparent)
    chunks = [(b"IHDR", header), *([(b"tRNS", clear)] if transparent else []), (b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in [*chunks, (b"IEND", b"")])


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def exif_with(*fields: tuple[int, int, int, bytes]) -> bytes:
    """EXIF data of fields (tag, type, count, value), whether they make sense or not."""
    body = b"".join(struct.pack("<HHI", *field[:3]) + field[3] for field in sorted(fields))
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(fields)) + body + struct.pack("<I", 0)


def pgm(values: np.ndarray, largest: int) -> bytes:
    return f"P5 {values.shape[1]} {values.shape[0]} {largest}\n".encode() + values.astype(">u2").tobytes()
