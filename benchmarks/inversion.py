"""What a step of Textual Inversion costs here and in the usual script, and how soon its final loss is reached.

`python benchmarks/inversion.py --quick` prints one JSON object: the step ratios on a small base, the ladder from script
to engine, several concepts in one batch, and the vocabulary table's share apart. `--sd15` adds Stable Diffusion 1.5's
networks with random weights at 256 px, `--to-target` the time to the script's final loss on real flowers. All times are
CPU seconds of one thread, arms by turns.
"""

import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.inversion_baseline import ExampleScript
from benchmarks.inversion_race import Race
from benchmarks.inversion_steps import (
    SWITCHES,
    TOKEN,
    Step,
    engine_steps,
    in_bfloat16,
    random_images,
    script_steps,
    sd15_shaped_base,
    small_base,
    start,
    switched_steps,
    table_steps,
)
from benchmarks.inversion_to_target import data_of, race
from benchmarks.paired import by_turns, print_result, ratio_of
from flowerti.base_files import DEMO_BASE
from flowerti.config.experiment import TextualInversionConfig
from flowerti.diffusion import Base
from flowerti.personalization.checkpoints import to_bytes
from flowerti.personalization.denoising import draw, prepare
from flowerti.personalization.textual_inversion.losses import denoising_losses

_FLOWERS_BASE = Path("../shared/models/flowers64-base")
_FLOWERS_DATA = Path("../shared/data/flowers102-64")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Measures the inversion."""

    quick: bool = False
    """Fewer pairs; answers within ten minutes on two cores."""
    sd15: bool = False
    """Also time Stable Diffusion 1.5's networks with random weights at 256 px: about 8 GB and 20 CPU minutes."""
    to_target: bool = False
    """Also race to the script's final loss on real flowers: hours."""
    small: bool = True
    """Time steps on the small base."""
    base: str = ""
    """Folder of the small base; empty for the one made for flowers where it is at hand, else the embedded one."""
    data_root: str = str(_FLOWERS_DATA)
    """Oxford 102 in torchvision's layout, for --to-target; empty for the drawn herbarium."""
    num_pairs: int = 0
    """Pairs of a ratio; 0 for 5 with --quick and 15 without."""
    num_concepts: int = 8
    """Concepts in one batch."""
    sd15_size_px: int = 256
    """Side of the images for --sd15."""
    sd15_batch_sizes: tuple[int, ...] = (1, 4)
    """Batch sizes for --sd15."""
    sd15_pairs: int = 5
    """Pairs for --sd15."""
    sd15_emulated_bfloat16: bool = False
    """Time bfloat16 even on a processor without instructions for it, where it is several times slower."""
    race: Race = field(default_factory=Race)
    """Settings of --to-target."""


def main() -> None:
    """Measure and print."""
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    folder = Path(options.base) if options.base else (_FLOWERS_BASE if _FLOWERS_BASE.is_dir() else DEMO_BASE)
    num_pairs = options.num_pairs or (5 if options.quick else 15)
    ratios, details = {}, {"base": folder.name, "threads": 1, "clock": "CPU seconds"}
    # without them bfloat16 is emulated, and slower than float32
    details["processor_has_bfloat16"] = _has_bfloat16()
    if options.small:
        base = small_base(folder)
        images = random_images(10, base.unet.config.sample_size * base.pixels_per_latent)
        parts = (
            per_step(base, images, num_pairs),
            ladder(base, images, num_pairs),
            several_concepts(base, images, num_pairs, options.num_concepts),
        )
        for part_ratios, part_details in parts:
            ratios |= part_ratios
            details |= part_details
        details["memory"] = memory(base, images)
    if options.sd15:
        for batch_size in options.sd15_batch_sizes:
            part_ratios, details[f"sd15_batch_{batch_size}"] = sd15(folder, options, batch_size)
            ratios |= part_ratios
    if options.to_target:
        data = data_of(options.data_root)
        part_ratios, details["to_target"] = race(folder, data, options.race, 3 * num_pairs)
        ratios |= part_ratios
    print_result("inversion", ratios, details)


def _has_bfloat16() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return any(flag in text for flag in ("avx512_bf16", "amx_bf16"))


def _medians(seconds: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(np.median(values)) for name, values in seconds.items()}


def per_step(base: Base, images: Tensor, num_pairs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Engine against script, as it comes and with its best flags; with and without the vocabulary table's share.

    On a small base the table is most of the script's step, which no full-size base shows: the ratios without it are the
    ones to look at.
    """
    batch_size, num_vectors = 4, 1
    seconds = by_turns(
        {
            "script": script_steps(base, images, batch_size, num_vectors, best_flags=False),
            "best_flags": script_steps(base, images, batch_size, num_vectors, best_flags=True),
            "engine": engine_steps(base, images, batch_size, num_vectors),
            "table": table_steps(base, num_vectors),
        },
        num_pairs,
        steps_a_round=4,
    )
    ratios = {}
    for arm in ("script", "best_flags"):
        ratios[f"step_to_{arm}"] = ratio_of(seconds[arm], seconds["engine"])
        ratios[f"step_to_{arm}_without_table"] = ratio_of(seconds[arm] - seconds["table"], seconds["engine"])
    return ratios, {"step_seconds": _medians(seconds), "step_batch_size": batch_size}


def ladder(base: Base, images: Tensor, num_pairs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """One saving after another, and each left out of all lossless ones: script's seconds over the rung's."""
    rungs = {"script": frozenset()}
    for i, switch in enumerate(SWITCHES):
        rungs[f"up_to_{switch}"] = frozenset(SWITCHES[: i + 1])
    lossless = frozenset(SWITCHES) - {"bfloat16"}
    without = {f"all_lossless_but_{switch}": lossless - {switch} for switch in sorted(lossless)}
    arms = {name: switched_steps(base, images, 4, 1, switches) for name, switches in (rungs | without).items()}
    seconds = by_turns(arms, num_pairs, steps_a_round=2)
    ratios = {f"ladder_{name}": ratio_of(seconds["script"], values) for name, values in seconds.items()}
    del ratios["ladder_script"]
    return ratios, {"ladder_seconds": _medians(seconds)}


def several_concepts(
    base: Base, images: Tensor, num_pairs: int, num_concepts: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Samples a second of one batch over several concepts against the same concepts in turn."""
    ratios, details = {}, {}
    for batch_size in (1, 4):
        alone = engine_steps(base, images, batch_size, 1)
        together = engine_steps(base, images, batch_size, 1, num_concepts)

        def in_turn(alone: Step = alone) -> None:
            for _ in range(num_concepts):
                alone()

        seconds = by_turns({"in_turn": in_turn, "together": together}, num_pairs)
        name = f"{num_concepts}_concepts_together_batch_{batch_size}"
        ratios[name] = ratio_of(seconds["in_turn"], seconds["together"])
        details[f"{name}_seconds"] = _medians(seconds)
    return ratios, details


def memory(base: Base, images: Tensor) -> dict[str, int]:
    """Bytes that a concept needs beyond the frozen networks, counted; activations for a batch of 4."""
    config = TextualInversionConfig(batch_size=4)
    data = prepare(base, images, TOKEN, 1)
    state = start(base, data, config)
    table = ExampleScript(base, TOKEN, 1, "flower").table
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    frozen = {p.untyped_storage().data_ptr() for n in (base.unet, base.text_encoder) for p in n.parameters()}
    rows = state.learnt.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = denoising_losses(base, [rows], [data], [draw(data, 4, 1000, 0)])
    activations = sum(size for pointer, size in kept.items() if pointer not in frozen)
    del losses
    return {
        "engine_rows_and_moments": 3 * rows.numel() * rows.element_size(),
        "engine_checkpoint": len(to_bytes(state, "k")),
        "engine_latent_moments": 2 * data.mean.numel() * data.mean.element_size(),
        "engine_activations_batch_4": activations,
        # the script holds the table's gradient, two moments and the copy that it puts back
        "script_table_state": 4 * table.numel() * table.element_size(),
    }


def sd15(folder: Path, options: Options, batch_size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Full-size networks with random weights: script with its best flags short of precision against the engine."""
    base = sd15_shaped_base(folder, options.sd15_size_px)
    images = random_images(5, options.sd15_size_px)
    begun = time.process_time()
    prepare(base, images, TOKEN, 1)
    encoding_s = time.process_time() - begun
    arms = {
        "best_flags": script_steps(base, images, batch_size, 1, best_flags=True),
        "engine_float32": engine_steps(base, images, batch_size, 1),
    }
    if _has_bfloat16() or options.sd15_emulated_bfloat16:
        arms["engine_bfloat16"] = engine_steps(in_bfloat16(base), images, batch_size, 1)
    seconds = by_turns(arms, options.sd15_pairs)
    ratios = {
        f"sd15_step_batch_{batch_size}_{arm.removeprefix('engine_')}": ratio_of(seconds["best_flags"], values)
        for arm, values in seconds.items()
        if arm != "best_flags"
    }
    one_off = {"encoding_a_image_and_its_mirror_s": encoding_s / len(images), "size_px": options.sd15_size_px}
    return ratios, {"seconds": _medians(seconds), "one_off": one_off}


if __name__ == "__main__":
    main()
