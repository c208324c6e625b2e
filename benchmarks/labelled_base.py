"""What a base of labelled images can draw and restore, on images that it never saw.

`python benchmarks/labelled_base.py --base FOLDER` prints one JSON object. "reconstruction": decibels of validation and
test images through the autoencoder, of the classes that the base saw and of those that were held out. "classes": kernel
distances on EfficientNet-Lite0 to half of a class's validation and test images, of the other half (no drawing can lie
much nearer), of these through the autoencoder alone, of drawings by the class's name, and of drawings by the next
class's. The p-value asks whether the right name lies nearer than the wrong one.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.base import BATCH_SIZE, features_of, restored
from benchmarks.paired import print_result
from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import SamplingConfig
from flowerti.data.access import read_image
from flowerti.data.dataset import Record
from flowerti.diffusion import Base, load_base
from flowerti.generation.denoise import Conditioning
from flowerti.generation.text_to_image import draw_images
from flowerti.metrics.kernel import kernel_distance
from flowerti.metrics.nearer import compare_nearness
from flowerti.personalization.encoding import encode_empty_prompt, encode_text, tokenise
from pretraining.allowed_images import AllowedImages, list_allowed
from pretraining.autoencoder import reconstruction_errors
from pretraining.recipes import flowers64_v2


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Measures what a base of labelled images can draw and restore."""

    base: Path
    """Folder of the pipeline."""
    images: Annotated[AllowedImages, tyro.conf.arg(name="")] = field(default_factory=lambda: flowers64_v2().images)
    """Which images the base has seen, by its recipe."""
    classes: tuple[str, ...] = ("sunflower", "rose", "water lily", "passion flower", "lotus", "petunia")
    """Classes that are drawn; each one's wrong name is the next one's."""
    num_images: int = 48
    """Drawings of each class, and images in a set at most."""
    guidance_scale: float = 3.0
    """Weight of classifier-free guidance."""
    quick: bool = False
    """Every sixteenth image alone goes through the autoencoder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unseen:
    """Images of the data set that the base never saw."""

    class_names: tuple[str, ...]
    seen_classes: list[Record]
    """Validation and test images of classes of which the base saw the training images."""
    held_out_classes: list[Record]
    """All images of the other classes."""

    def of_class(self, name: str) -> list[Record]:
        """The unseen images of one class that the base saw."""
        return [record for record in self.seen_classes if self.class_names[record.class_id] == name]


def main() -> None:
    """Restore, draw, measure and print."""
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    base, unseen = load_base(options.base, "float32", "cpu"), list_unseen(options.images)
    groups = {"seen_classes": unseen.seen_classes, "held_out_classes": unseen.held_out_classes}
    every, size_px = 16 if options.quick else 1, options.images.data.image_size_px
    reconstruction = {name: decibels(base, read(of[::every], size_px)) for name, of in groups.items() if of}
    classes = distances(base, unseen, options)
    settings = {"num_images": options.num_images, "guidance_scale": options.guidance_scale}
    print_result("labelled_base", {}, settings | {"reconstruction": reconstruction, "classes": classes})


def list_unseen(allowed: AllowedImages) -> Unseen:
    """The images that a base of these settings did not see."""
    everything = list_allowed(replace(allowed, held_out_classes=()), ("train", "validation", "test"))
    names = everything.dataset.class_names
    held_out = {names.index(name) for name in allowed.held_out_classes}
    return Unseen(
        class_names=names,
        seen_classes=[r for r in everything.records if r.split != "train" and r.class_id not in held_out],
        held_out_classes=[r for r in everything.records if r.class_id in held_out],
    )


def read(records: list[Record], size_px: int) -> np.ndarray:
    """The images of records, uint8 [n, size, size, 3]."""
    return np.stack([read_image(record.address, size_px) for record in records])


def decibels(base: Base, images: np.ndarray) -> dict[str, float]:
    """Decibels of the mean error over images, and the mean of each image's decibels."""
    errors = reconstruction_errors(base.vae, images).numpy()
    of_mean, mean_of_each = -10 * np.log10(errors.mean()), (-10 * np.log10(errors)).mean()
    return {"num": len(images), "of_mean_error": round(float(of_mean), 2), "mean": round(float(mean_of_each), 2)}


def distances(base: Base, unseen: Unseen, options: Options) -> dict[str, Any]:
    """Distances of each class's sets, and the test of the right name."""
    size_px = options.images.data.image_size_px
    drawn = {name: features_of(draw(base, name, options)) for name in options.classes}
    found = {}
    for name, other in zip(options.classes, [*options.classes[1:], options.classes[0]], strict=True):
        images = read(unseen.of_class(name), size_px)
        real, others = images[::2][: options.num_images], images[1::2][: options.num_images]
        sets = {
            "real": features_of(others),
            "autoencoder": features_of(restored(base, others)),
            "right_name": drawn[name],
            "wrong_name": drawn[other],
        }
        reference = features_of(real)
        nearer = compare_nearness(reference, sets["right_name"], sets["wrong_name"], 999, np.random.default_rng(0))
        of_sets = {label: round(kernel_distance(reference, of_set), 4) for label, of_set in sets.items()}
        found[name] = {"num_real": len(real), "distances": of_sets, "p_value": nearer.p_value}
    return found


def draw(base: Base, name: str, options: Options) -> np.ndarray:
    """Drawings of the raw prompt with a class's name, each from a seed of its own."""
    sampling = SamplingConfig(guidance_scale=options.guidance_scale)
    states = encode_text(base, tokenise(base, [sampling.prompt.format(name)]))
    conditioning = Conditioning(states=states, empty_states=encode_empty_prompt(base))
    seeds = [seed_for(0, name, "base", index) for index in range(options.num_images)]
    parts = [seeds[begin : begin + BATCH_SIZE] for begin in range(0, len(seeds), BATCH_SIZE)]
    return np.concatenate([draw_images(base, conditioning, part, sampling) for part in parts])


if __name__ == "__main__":
    main()
