import io

import numpy as np
import torch
from PIL import Image

from flowerti.generation.pixels import decode, encode_png


def test_decoding_in_parts_is_decoding_at_once(base):
    latents = torch.randn(9, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    ours = decode(base, latents)
    with torch.no_grad():
        decoded = base.vae.decode(latents / 0.18215).sample
    expected = (255 * (decoded.numpy() / 2 + 0.5).clip(0, 1)).round().transpose(0, 2, 3, 1)
    assert ours.shape == (9, 32, 32, 3)
    assert np.abs(ours - expected).max() <= 1


def test_png_is_lossless_and_steady():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    content = encode_png(image)
    assert encode_png(image) == content
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), image)
