"""What drawing an image costs in diffusers' pipeline and here, and how near the images come to real ones.

`python benchmarks/sampling.py --quick` prints one JSON object. Ratios are CPU seconds an image (arms by turns, one
thread) of diffusers' pipeline as people call it (its own scheduler, 50 steps, guidance 7.5, one prompt at a time) and
as an expert does (DPM-Solver++, 20 steps, batches) over ours (fewer steps, guidance in an interval). Beside them stands
the kernel distance of each arm's images to freshly drawn real ones on EfficientNet-Lite0, over common species of the
embedded base. The settings of our arm were fixed on other noise and other real images. `--sd15` also times Stable
Diffusion 1.5's shape with random weights, where distances mean nothing.
"""

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.inversion_steps import sd15_shaped_base, small_base
from benchmarks.paired import by_turns, print_result, ratio_of
from benchmarks.sampling_arms import Arm, Steps, arms_of
from flowerti.artifacts.identity import seed_for
from flowerti.base_files import DEMO_BASE
from flowerti.config.experiment import SamplingConfig
from flowerti.data.sources.herbarium.herbarium import draw
from flowerti.data.sources.herbarium.species import SPECIES
from flowerti.diffusion import Base
from flowerti.features.backbones import load_backbone
from flowerti.features.extraction import extract
from flowerti.metrics.kernel import kernel_distance

_FIRST_SEED = 2_000_000
"""Images of the herbarium that neither the base nor a run sees, nor the choice of settings."""
_FEATURE_BATCH_SIZE = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Measures drawing."""

    quick: bool = False
    """Fewer pairs, species and images; answers within ten minutes on two cores."""
    tiny: bool = False
    """As little as has every part of the answer; its numbers mean nothing."""
    sd15: bool = False
    """Also time Stable Diffusion 1.5's shape with random weights: about 8 GB, and hours without --quick."""
    sd15_size_px: int = 256
    """Side of the images for --sd15."""
    num_inference_steps: int = 12
    """Of our arm."""
    guidance_scale: float = 2.0
    """Of our arm."""
    guidance_interval: tuple[float, float] = (0.25, 0.75)
    """Of our arm."""

    @property
    def ours(self) -> SamplingConfig:
        """Settings of our arm."""
        return SamplingConfig(
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            guidance_interval=self.guidance_interval,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much is measured."""

    num_pairs: int
    batch_size: int
    num_species: int
    num_images: int
    """Of each species and arm."""
    steps: Steps = field(default_factory=Steps)


FULL = Size(num_pairs=15, batch_size=16, num_species=11, num_images=96)
QUICK = Size(num_pairs=5, batch_size=16, num_species=6, num_images=32)
TINY = Size(num_pairs=2, batch_size=2, num_species=2, num_images=4, steps=Steps(usual=4, expert=3))


def main() -> None:
    """Draw, measure and print."""
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    size = TINY if options.tiny else QUICK if options.quick else FULL
    base = small_base(DEMO_BASE)
    arms = arms_of(base, options.ours, size.steps, _own_scheduler(DEMO_BASE))
    ratios, seconds = speed(arms, size)
    details = {
        "base": DEMO_BASE.name,
        "clock": "CPU seconds of one thread",
        "ours": {
            "num_inference_steps": options.num_inference_steps,
            "guidance_scale": options.guidance_scale,
            "guidance_interval": options.guidance_interval,
            "batch_size": size.batch_size,
        },
        "seconds_per_image": seconds,
        "kernel_distance": nearness(base, arms, size),
    }
    if options.sd15:
        part, details["sd15"] = sd15(options, size)
        ratios |= part
    print_result("sampling", ratios, details)


def _own_scheduler(folder: Path) -> str:
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    return config["_class_name"]


def speed(arms: dict[str, Arm], size: Size, prefix: str = "") -> tuple[dict[str, Any], dict[str, float]]:
    """CPU seconds of the other arms over ours, and the median ones of an image."""
    seeds = list(range(size.batch_size))
    steps: dict[str, Callable[[], Any]] = {name: partial(arm, "daisy", seeds) for name, arm in arms.items()}
    seconds = by_turns(steps, size.num_pairs)
    ratios = {f"{prefix}{name}_to_ours": ratio_of(seconds[name], seconds["ours"]) for name in arms if name != "ours"}
    return ratios, {name: float(np.median(spent)) / size.batch_size for name, spent in seconds.items()}


def nearness(base: Base, arms: dict[str, Arm], size: Size) -> dict[str, Any]:
    """Kernel distances to real images, and how much further the other arms are than ours.

    Returns:
        For each arm the mean over species, and for each other arm the mean difference to ours ("further", positive
        where ours is nearer) with its 95 % t interval over species, which are paired.
    """
    names = [species.name for species in SPECIES if not species.rare][: size.num_species]
    size_px = base.unet.config.sample_size * base.pixels_per_latent
    found = {arm: np.zeros(len(names)) for arm in arms}
    for place, name in enumerate(names):
        real = _features(np.stack([draw(name, _FIRST_SEED + i, size_px) for i in range(size.num_images)]))
        for arm, draws in arms.items():
            found[arm][place] = kernel_distance(real, _features(_drawn(draws, name, size)))
    further = {arm: _with_interval(found[arm] - found["ours"]) for arm in arms if arm != "ours"}
    return {
        "num_species": len(names),
        "num_images": size.num_images,
        "mean": {arm: float(values.mean()) for arm, values in found.items()},
        "further": further,
    }


def _drawn(draws: Arm, name: str, size: Size) -> np.ndarray:
    seeds = [seed_for(0, name, "benchmark/sampling", i) for i in range(size.num_images)]
    return np.concatenate([draws(name, seeds[i : i + size.batch_size]) for i in range(0, len(seeds), size.batch_size)])


def _features(images: np.ndarray) -> np.ndarray:
    lite = load_backbone("efficientnet_lite0", "", 2 * images.shape[1])
    parts = [images[i : i + _FEATURE_BATCH_SIZE] for i in range(0, len(images), _FEATURE_BATCH_SIZE)]
    return np.concatenate([extract(lite, part) for part in parts])


def _with_interval(differences: np.ndarray) -> dict[str, float]:
    half = stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / np.sqrt(len(differences))
    mean = float(differences.mean())
    return {"value": mean, "low": mean - float(half), "high": mean + float(half)}


def sd15(options: Options, size: Size) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same times at Stable Diffusion 1.5's shape: its own scheduler is PNDM."""
    base = sd15_shaped_base(DEMO_BASE, options.sd15_size_px)
    small = Size(num_pairs=2 if options.quick else 5, batch_size=4, num_species=0, num_images=0, steps=size.steps)
    ratios, seconds = speed(arms_of(base, options.ours, small.steps, "PNDMScheduler"), small, "sd15_")
    return ratios, {"size_px": options.sd15_size_px, "batch_size": small.batch_size, "seconds_per_image": seconds}


if __name__ == "__main__":
    main()
