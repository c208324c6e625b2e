"""What the embedded base can draw, before any token is learnt: where a token's help must come from.

`python benchmarks/base.py` prints one JSON object with kernel distances on EfficientNet-Lite0 to freshly drawn real
images, for every species: other real images, these through the autoencoder alone (no drawing can lie much nearer),
drawings of no name ("flower"), and of the right words: the name of a common species, the traits of a rare one, whose
name the base does not know. The p-value asks whether the right words lie nearer than no name.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.paired import print_result
from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import SamplingConfig
from flowerti.data.sources.herbarium.herbarium import draw
from flowerti.data.sources.herbarium.species import SPECIES, Species, sample_traits
from flowerti.diffusion import Base, load_base
from flowerti.features.backbones import load_backbone
from flowerti.features.extraction import extract
from flowerti.generation.denoise import Conditioning
from flowerti.generation.text_to_image import draw_images
from flowerti.metrics.kernel import kernel_distance
from flowerti.metrics.nearer import compare_nearness
from flowerti.personalization.encoding import encode_empty_prompt, encode_text, tokenise
from pretraining.trait_captions import NUMBER_WORDS

_FIRST_SEED = 1_000_000
"""Images of the herbarium that neither the base nor a run sees."""
BATCH_SIZE = 20
_SIZE_PX = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Measures what a base for the herbarium can draw."""

    base: Path = Path(__file__).resolve().parent.parent / "flowerti" / "demo" / "base"
    """Folder of the pipeline."""
    num_images: int = 80
    """Images in every set."""
    guidance_scale: float = 3.0
    """Weight of classifier-free guidance."""
    quick: bool = False
    """Rare species only, 40 images."""
    tiny: bool = False
    """One rare species and 4 images: as little as has every part of the answer; its numbers mean nothing."""


def main() -> None:
    """Draw, measure and print."""
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    num = 4 if options.tiny else 40 if options.quick else options.num_images
    base = load_base(options.base, "float32", "cpu")
    rare = [species for species in SPECIES if species.rare]
    chosen = rare[:1] if options.tiny else rare if options.quick else SPECIES
    found = {species.name: of_species(base, species, num, options) for species in chosen}
    print_result("base", {}, {"num_images": num, "guidance_scale": options.guidance_scale, "species": found})


def of_species(base: Base, species: Species, num: int, options: Options) -> dict[str, Any]:
    """Distances of one species' sets, and the test of the right words."""
    real, others = (_real(species.name, _FIRST_SEED + begin, num) for begin in (0, num))
    sampling = SamplingConfig(guidance_scale=options.guidance_scale)
    rng = np.random.default_rng(seed_for(0, species.name, "words", 0))
    # every image of the rare species has traits of its own, as the real ones have
    right = [words_for(species, rng) for _ in range(num)]
    sets = {
        "real": others,
        "autoencoder": restored(base, others),
        "no_name": _drawn(base, ["flower"] * num, sampling),
        "right_words": _drawn(base, right, sampling),
    }
    features = {name: features_of(images) for name, images in sets.items()}
    reference = features_of(real)
    nearer = compare_nearness(reference, features["right_words"], features["no_name"], 999, np.random.default_rng(0))
    distances = {name: round(kernel_distance(reference, of_set), 4) for name, of_set in features.items()}
    return {"distances": distances, "nearer_by": round(nearer.difference, 4), "p_value": nearer.p_value}


def words_for(species: Species, rng: np.random.Generator) -> str:
    """A common species' name; for a rare one what can be seen, in the words of the base's captions."""
    if not species.rare:
        return species.name
    traits = sample_traits(species, rng)
    marks = {"edged": "edges", "striped": "stripes"}.get(traits.pattern, "eye")
    centre = f"{traits.centre_colour} {'star centre' if traits.centre == 'star' else traits.centre}"
    kind = "double flower" if traits.arrangement == "double" else "flower"
    petals = f"{NUMBER_WORDS[traits.num_petals]} {traits.petal_shape} petals"
    return f"{traits.petal_colour} {kind} with {petals} and {traits.mark_colour} {marks} and a {centre}"


def _real(name: str, begin: int, num: int) -> np.ndarray:
    return np.stack([draw(name, begin + i, _SIZE_PX) for i in range(num)])


@torch.no_grad()
def restored(base: Base, images: np.ndarray) -> np.ndarray:
    """Images through the autoencoder alone."""
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    parts = [base.vae.decode(base.vae.encode(part).latent_dist.mean).sample for part in scaled.split(BATCH_SIZE)]
    return _as_levels(torch.cat(parts))


def _as_levels(images: Tensor) -> np.ndarray:
    return ((images.clamp(-1.0, 1.0) + 1.0) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def _drawn(base: Base, names: list[str], config: SamplingConfig) -> np.ndarray:
    empty = encode_empty_prompt(base)
    parts = []
    for index, name in enumerate(names):
        states = encode_text(base, tokenise(base, [config.prompt.format(name)]))
        conditioning = Conditioning(states=states, empty_states=empty)
        parts.append(draw_images(base, conditioning, [seed_for(0, "", "base", index)], config))
    return np.concatenate(parts)


def features_of(images: np.ndarray) -> np.ndarray:
    """Features on which the distances of this file are measured, a row for each image."""
    lite = load_backbone("efficientnet_lite0", "", 2 * _SIZE_PX)
    parts = [images[i : i + BATCH_SIZE] for i in range(0, len(images), BATCH_SIZE)]
    return np.concatenate([extract(lite, part) for part in parts])


if __name__ == "__main__":
    main()
