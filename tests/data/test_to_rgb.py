"""Odd images: each shows the pixels that an independent formula gives, and what it took is told; others are refused."""

import io
import struct
import zipfile

import numpy as np
import pytest
from odd_images import ORIENTATION, encoded, exif_with, noise, pgm, png_of_16_bits
from PIL import Image

from flowerti.data import to_rgb
from flowerti.data.images import decode_image, decode_rgb

DEEP = noise(1, 12, 12, top=65536)
RGBA = noise(2, 12, 12, 4)
ON_WHITE = RGBA[..., :3] * (RGBA[..., 3:] / 255) + 255 * (1 - RGBA[..., 3:] / 255)
FRAMES = [Image.fromarray(noise(seed)) for seed in (3, 4)]
FEW_COLOURS = noise(5, 12, 12, top=5) * 50
CMYK = noise(6, 12, 12, 4)
FROM_CMYK = (255 - CMYK[..., :3].astype(float)) * (255 - CMYK[..., 3:].astype(float)) / 255


def grey(levels: np.ndarray) -> np.ndarray:
    return np.repeat(np.asarray(levels, dtype=float)[..., None], 3, axis=2)


def with_palette(clear: int | bytes) -> bytes:
    image = Image.fromarray(FEW_COLOURS // 50).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([channel for level in range(5) for channel in (level * 50, 10, 200)])
    return encoded(image, transparency=clear)


PALETTE = np.stack([FEW_COLOURS, np.full_like(FEW_COLOURS, 10), np.full_like(FEW_COLOURS, 200)], axis=2).astype(float)
EIGHT = DEEP * 255.0 / 65535
TIFF_16 = Image.fromarray(DEEP)

READ: dict[str, tuple[bytes, np.ndarray, float, tuple[str, ...]]] = {
    "grey PNG of 16 bits": (png_of_16_bits(DEEP, 0), grey(EIGHT), 0.51, (to_rgb.DEEP_GREY,)),
    "grey TIFF of 16 bits": (encoded(TIFF_16, "TIFF"), grey(EIGHT), 0.51, (to_rgb.DEEP_GREY,)),
    "grey TIFF of 16 bits, other byte order": (
        encoded(Image.frombytes("I;16B", (12, 12), DEEP.astype(">u2").tobytes()), "TIFF"),
        grey(EIGHT), 0.51, (to_rgb.DEEP_GREY,),
    ),
    "grey TIFF of 16 bits, white is zero": (
        encoded(TIFF_16, "TIFF", tiffinfo={262: 0}), grey(255 - EIGHT), 0.51, (to_rgb.DEEP_GREY,),
    ),
    "grey JPEG 2000 of 16 bits": (encoded(TIFF_16, "JPEG2000"), grey(EIGHT), 0.51, (to_rgb.DEEP_GREY,)),
    "PGM of 16 bits": (pgm(DEEP, 65535), grey(EIGHT), 0.51, (to_rgb.DEEP_GREY,)),
    "PGM of 12 bits": (pgm(DEEP >> 4, 4095), grey((DEEP >> 4) * 255.0 / 4095), 0.52, (to_rgb.DEEP_GREY,)),
    "grey PNG of 16 bits with a transparent value": (
        png_of_16_bits(DEEP, 0, (int(DEEP[3, 4]),)),
        grey(np.where(DEEP == DEEP[3, 4], 255, EIGHT)), 0.51, (to_rgb.DEEP_GREY,),
    ),
    "RGB PNG of 16 bits": (
        png_of_16_bits(noise(7, 12, 12, 3, top=65536), 2), noise(7, 12, 12, 3, top=65536) / 257, 1, (),
    ),
    "RGBA PNG of 16 bits": (
        png_of_16_bits(RGBA.astype(np.uint16) * 257, 6), ON_WHITE, 1, (to_rgb.TRANSPARENT,),
    ),
    "grey TIFF of 8 bits, white is zero": (
        encoded(noise(8, 12, 12), "TIFF", tiffinfo={262: 0}), grey(noise(8, 12, 12)), 0, (),
    ),
    "half transparent PNG": (encoded(RGBA), ON_WHITE, 1, (to_rgb.TRANSPARENT,)),
    "half transparent WebP": (
        encoded(RGBA, "WEBP", lossless=True, exact=True), ON_WHITE, 1, (to_rgb.TRANSPARENT,),
    ),
    "half transparent TIFF": (encoded(RGBA, "TIFF"), ON_WHITE, 1, (to_rgb.TRANSPARENT,)),
    "wholly transparent PNG": (
        encoded(np.dstack([noise(9), np.zeros((12, 12), np.uint8)])),
        np.full((12, 12, 3), 255.0), 0, (to_rgb.TRANSPARENT,),
    ),
    "opaque PNG with alpha": (encoded(np.dstack([noise(9), np.full((12, 12), 255, np.uint8)])), noise(9), 0, ()),
    "grey PNG with alpha": (
        encoded(Image.merge("LA", [Image.fromarray(RGBA[..., channel]) for channel in (2, 3)])),
        grey(ON_WHITE[..., 2]), 1, (to_rgb.TRANSPARENT,),
    ),
    "PNG with a transparent colour": (
        encoded(Image.fromarray(PALETTE.astype(np.uint8)), transparency=(50, 10, 200)),
        np.where(FEW_COLOURS[..., None] == 50, 255, PALETTE), 0, (to_rgb.TRANSPARENT,),
    ),
    "PNG with a palette": (with_palette(b"\xff" * 5), PALETTE, 0, ()),
    "PNG with a palette and a transparent entry": (
        with_palette(3), np.where(FEW_COLOURS[..., None] == 150, 255, PALETTE), 0, (to_rgb.TRANSPARENT,),
    ),
    "PNG with a palette and half transparent entries": (
        with_palette(bytes([255, 128, 255, 255, 255])),
        np.where(FEW_COLOURS[..., None] == 50, PALETTE * (128 / 255) + 255 * (1 - 128 / 255), PALETTE),
        1, (to_rgb.TRANSPARENT,),
    ),
    "GIF": (encoded(Image.fromarray(FEW_COLOURS.astype(np.uint8)), "GIF"), grey(FEW_COLOURS), 0, ()),
    "PNG of one bit": (encoded(Image.fromarray(noise(10, 12, 12) > 127)), grey(255 * (noise(10, 12, 12) > 127)), 0, ()),
    "TIFF for print": (encoded(Image.fromarray(CMYK, "CMYK"), "TIFF"), FROM_CMYK, 1, (to_rgb.FOR_PRINT,)),
    "animated PNG": (
        encoded(FRAMES[0], save_all=True, append_images=FRAMES[1:]), noise(3), 0, (to_rgb.SEVERAL_FRAMES,),
    ),
    "animated WebP": (
        encoded(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:], lossless=True),
        noise(3), 0, (to_rgb.SEVERAL_FRAMES,),
    ),
    "animated GIF": (
        encoded(Image.fromarray(FEW_COLOURS.astype(np.uint8)), "GIF", save_all=True, append_images=FRAMES),
        grey(FEW_COLOURS), 0, (to_rgb.SEVERAL_FRAMES,),
    ),
    "TIFF of two pages": (
        encoded(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]), noise(3), 0, (to_rgb.SEVERAL_FRAMES,),
    ),
    "TIFF in CIELAB": (
        # L* 53.3: Y = ((53.3 + 16) / 116) ** 3 = 0.213, which sRGB stores as 127
        encoded(Image.new("LAB", (12, 12), (136, 128, 128)), "TIFF"), np.full((12, 12, 3), 127.0), 3, (),
    ),
    "PPM": (encoded(noise(11), "PPM"), noise(11), 0, ()),
    "JPEG 2000": (encoded(noise(11), "JPEG2000"), noise(11), 0, ()),
    "TGA": (encoded(noise(11), "TGA"), noise(11), 0, ()),
    "PCX": (encoded(noise(11), "PCX"), noise(11), 0, ()),
    "DIB": (encoded(noise(11), "DIB"), noise(11), 0, ()),
    "ICO": (encoded(noise(12, 16, 16, 3), "ICO", sizes=[(16, 16)]), noise(12, 16, 16, 3), 0, ()),
    "AVIF": (encoded(np.full((12, 12, 3), (180, 60, 120), np.uint8), "AVIF", quality=100),
             np.full((12, 12, 3), (180.0, 60, 120)), 4, ()),
}  # fmt: skip
"""Content, the pixels that it shows, how far they may be off, and what it took."""


@pytest.mark.parametrize("name", list(READ))
def test_an_odd_image_shows_its_pixels_and_what_it_took_is_named(name: str):
    content, expected, tolerance, changes = READ[name]
    found = decode_rgb(content, name)
    assert found.image.mode == "RGB"
    assert np.abs(np.asarray(found.image, dtype=float) - expected).max() <= tolerance
    assert found.changes == changes
    assert np.array_equal(decode_image(content, expected.shape[0], name), np.asarray(found.image))


ODD_FIELDS = {
    "bytes for a number": (0x011A, 1, 1, b"\xff" * 4),
    "a folder of fields nowhere": (0x8769, 6, 1, b"\xff" * 4),
    "no number": (0x011A, 11, 1, b"\xff" * 4),
    "a number for a text": (0x010F, 11, 1, b"\xff" * 4),
    "a fraction over nothing": (0x010F, 5, 1, b"\0" * 4),
    "a number out of range": (0x0111, 4, 1, b"\xff" * 4),
}


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
@pytest.mark.parametrize("name", list(ODD_FIELDS))
def test_an_image_is_turned_whatever_else_its_exif_says(name: str, file_format: str):
    exif = exif_with(ORIENTATION, ODD_FIELDS[name])
    content = encoded(noise(13), file_format, exif=exif, **({"lossless": True} if file_format == "WEBP" else {}))
    assert np.array_equal(decode_image(content, 12, name), np.rot90(noise(13), -1))


@pytest.mark.parametrize("value", [0, 9, 200])
def test_an_orientation_that_does_not_exist_turns_nothing(value: int):
    content = encoded(noise(13), exif=exif_with((0x0112, 3, 1, struct.pack("<HH", value, 0))))
    assert np.array_equal(decode_image(content, 12, "x"), noise(13))


def test_damaged_exif_data_turn_nothing_and_are_named():
    found = decode_rgb(encoded(noise(13), exif=b"Exif\0\0no such thing"), "x")
    assert np.array_equal(np.asarray(found.image), noise(13))
    assert found.changes == (to_rgb.DAMAGED_EXIF,)


def test_a_tiff_is_turned_once():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert np.array_equal(decode_image(encoded(noise(13), "TIFF", exif=exif), 12, "x"), np.rot90(noise(13), -1))


def test_a_mirrored_deep_image_is_scaled_and_turned():
    exif = Image.Exif()
    exif[0x0112] = 2
    content = encoded(Image.fromarray(DEEP), exif=exif)
    assert np.abs(decode_image(content, 12, "x") - grey(np.fliplr(EIGHT))).max() <= 0.51


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("a.txt", "x")
    return stream.getvalue()


REFUSED = {
    "nothing": (b"", "no image that Pillow knows"),
    "a page": (b"<html>404 not found</html>", "no image that Pillow knows"),
    "a drawing": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "no image that Pillow knows"),
    "an archive": (zipped(), "no image that Pillow knows"),
    "half a PNG": (encoded(noise(14))[:200], "truncated"),
    "half a JPEG": (encoded(noise(14, 64, 64, 3), "JPEG")[:900], "truncated"),
    "whole numbers of 32 bits": (encoded(Image.fromarray(DEEP.astype(np.int32)), "TIFF"), "32 bits.*save it with"),
    "fractions": (encoded(Image.fromarray(DEEP.astype(np.float32) / 65535), "TIFF"), "32 bits.*save it with 8 or 16"),
    "a bomb": (
        b"\x89PNG\r\n\x1a\n" + encoded(noise(14))[8:16] + struct.pack(">II", 60000, 60000) + encoded(noise(14))[24:],
        ".",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_cannot_be_shown_is_refused_in_one_line(name: str):
    content, reason = REFUSED[name]
    with pytest.raises(ValueError, match=rf"^image a\.png cannot be read \(.*{reason}.*\): remove it") as caught:
        decode_image(content, 8, "a.png")
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value), "an address in memory helps nobody"


def test_a_name_that_does_not_print_stays_in_one_line():
    with pytest.raises(ValueError, match=r"^image 'a\\nb' cannot be read"):
        decode_image(b"", 8, "a\nb")
