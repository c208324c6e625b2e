"""Decoding: square, upright, RGB, scaled without aliasing, and damage named."""

import hashlib
import io
import random
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from flowerti.data.images import decode_image, pixel_sha256, to_square


def noise(seed: int, height: int = 12, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: np.ndarray | Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, file_format, **options)
    return stream.getvalue()


@pytest.mark.parametrize(("height", "width"), [(20, 30), (30, 20), (21, 40), (20, 20)])
def test_the_central_square_is_taken(height: int, width: int):
    image = noise(3, height, width)
    top, left = (height - 20) // 2, (width - 20) // 2
    side = min(height, width)
    expected = image[(height - side) // 2 :, (width - side) // 2 :][:side, :side]
    assert np.array_equal(decode_image(encoded(image), side, "x"), expected)
    if side == 20:
        assert np.array_equal(expected, image[top : top + 20, left : left + 20])


def test_scaling_is_antialiased_bicubic_as_torch_does_it():
    import torch

    rows, columns = np.mgrid[0:96, 0:96]
    waves = 127 + 100 * np.sin(rows / 9)[..., None] * np.cos(columns[..., None] / np.array([5.0, 8.0, 12.0]))
    image = waves.astype(np.uint8)
    levels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    reference = torch.nn.functional.interpolate(levels, (24, 24), mode="bicubic", antialias=True)
    expected = reference[0].permute(1, 2, 0).clamp(0, 255).numpy()
    found = np.asarray(to_square(Image.fromarray(image), 24), dtype=float)
    assert np.abs(found - expected).max() < 1.5
    assert found.std() > 20


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", list(UPRIGHT))
def test_a_phones_image_comes_upright(orientation: int):
    stored = noise(orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(stored, "PNG", exif=exif.tobytes())
    assert np.array_equal(decode_image(content, 12, "x"), UPRIGHT[orientation](stored))


def test_a_jpegs_orientation_is_followed_too():
    stored = np.zeros((32, 32, 3), np.uint8)
    stored[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decode_image(encoded(stored, "JPEG", quality=95, exif=exif.tobytes()), 32, "x").astype(int)
    assert found[:12].min() > 240, "what was stored on the left is the top"
    assert found[20:].max() < 15


def test_grey_images_become_rgb():
    grey = noise(4)[..., 0]
    found = decode_image(encoded(Image.fromarray(grey)), 12, "x")
    assert found.shape == (12, 12, 3)
    assert all(np.array_equal(found[..., channel], grey) for channel in range(3))


def test_images_with_a_palette_become_rgb():
    flat = Image.new("RGB", (12, 12), (200, 30, 90))
    found = decode_image(encoded(flat.convert("P", palette=Image.Palette.ADAPTIVE)), 12, "x")
    assert np.array_equal(found[5, 5], [200, 30, 90])


def test_opaque_images_with_alpha_keep_their_colours():
    rgba = np.dstack([noise(5), np.full((12, 12), 255, np.uint8)])
    assert np.array_equal(decode_image(encoded(Image.fromarray(rgba)), 12, "x"), noise(5))


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 200, 30), (255, 255, 255), (0, 0, 0)])
def test_images_for_print_become_rgb(colour: tuple[int, int, int]):
    cmyk = Image.new("RGB", (16, 16), colour).convert("CMYK")
    found = decode_image(encoded(cmyk, "JPEG", quality=100), 16, "x")
    assert np.abs(found[8, 8].astype(int) - colour).max() <= 4


@pytest.mark.parametrize("file_format", ["BMP", "WEBP", "JPEG", "PNG"])
def test_the_listed_formats_can_be_read(file_format: str):
    flat = np.full((16, 16, 3), (180, 60, 120), np.uint8)
    found = decode_image(encoded(flat, file_format), 16, "x").astype(int)
    assert np.abs(found - (180, 60, 120)).max() <= 4


@pytest.mark.parametrize("file_format", ["BMP", "WEBP", "JPEG", "PNG"])
def test_any_damage_is_either_readable_or_refused_by_name(file_format: str):
    rng = random.Random(file_format)
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encoded(noise(6, 14, 18), file_format, **({} if file_format == "BMP" else {"exif": exif.tobytes()}))
    refusals = []
    for round_ in range(300):
        content = bytearray(whole)
        if round_ % 3 == 0:
            del content[rng.randrange(1, len(content)) :]
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(min(len(content), 120))] = rng.randrange(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd sizes and metadata
            try:
                assert decode_image(bytes(content), 8, "p").shape == (8, 8, 3)
            except ValueError as error:
                refusals.append(str(error))
    assert len(refusals) > 50
    assert all(refusal.startswith("image p cannot be read") for refusal in refusals)


def test_a_header_that_claims_to_be_short_is_refused_by_name():
    content = bytearray(encoded(noise(7)))
    assert content[8:16] == b"\0\0\0\x0dIHDR"
    content[11] = 5
    with pytest.raises(ValueError, match=r"^image p cannot be read"):
        decode_image(bytes(content), 8, "p")


def test_the_hash_of_pixels_does_not_know_what_holds_them():
    image = noise(5)
    expected = hashlib.sha256(bytes(image.flatten().tolist())).hexdigest()
    for file_format in ("PNG", "BMP", "TIFF"):
        assert pixel_sha256(decode_image(encoded(image, file_format), 12, "image")) == expected
    assert pixel_sha256(image[:, ::-1]) == hashlib.sha256(bytes(image[:, ::-1].flatten().tolist())).hexdigest()
    assert pixel_sha256(decode_image(encoded(image, "JPEG", quality=75), 12, "image")) != expected
