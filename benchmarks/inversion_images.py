"""How near images drawn with learnt rows come to held-out real ones."""

import numpy as np
from torch import Tensor

from benchmarks.inversion_steps import TOKEN
from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import SamplingConfig
from flowerti.diffusion import Base
from flowerti.features.backbones import load_backbone
from flowerti.features.extraction import extract
from flowerti.generation.denoise import Conditioning
from flowerti.generation.text_to_image import draw_images
from flowerti.metrics.kernel import kernel_distance
from flowerti.personalization.encoding import encode_empty_prompt, encode_text, tokenise

_BATCH_SIZE = 20


class Gauge:
    """Draws with rows and measures against one class's real images, uint8 [num, height, width, 3]."""

    def __init__(self, base: Base, real: np.ndarray, num_images: int) -> None:
        self._base, self._num_images = base, num_images
        self._lite = load_backbone("efficientnet_lite0", "", 2 * real.shape[1])
        self._empty = encode_empty_prompt(base)
        self._real = self._features(real)

    def distance(self, rows: Tensor, seed: int) -> float:
        """Kernel distance on EfficientNet-Lite0; the same seed draws from the same noise."""
        config = SamplingConfig()
        ids = tokenise(self._base, [config.prompt.format(TOKEN)], TOKEN, len(rows))
        states = encode_text(self._base, ids, rows)
        seeds = [seed_for(seed, "", "benchmark/images", i) for i in range(self._num_images)]
        parts = [seeds[i : i + _BATCH_SIZE] for i in range(0, len(seeds), _BATCH_SIZE)]
        conditioning = Conditioning(states=states, empty_states=self._empty)
        drawn = [draw_images(self._base, conditioning, part, config) for part in parts]
        return float(kernel_distance(self._real, self._features(np.concatenate(drawn))))

    def _features(self, images: np.ndarray) -> np.ndarray:
        parts = [images[i : i + _BATCH_SIZE] for i in range(0, len(images), _BATCH_SIZE)]
        return np.concatenate([extract(self._lite, part) for part in parts])
