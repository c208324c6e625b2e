"""Single steps of Textual Inversion as arms of a comparison: the usual script, the engine, and everything between.

Each arm is a function without arguments that takes one step. This module does not know how arms are timed.
"""

import io
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.inversion_baseline import ExampleScript, ScriptFlags
from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.records import LossPoint
from flowerti.config.experiment import TextualInversionConfig
from flowerti.diffusion import Base, load_base
from flowerti.personalization.denoising import Draw, EncodedImages, draw, prepare
from flowerti.personalization.textual_inversion.losses import denoising_losses
from flowerti.personalization.textual_inversion.norms import norm_keeper
from flowerti.personalization.textual_inversion.starts import start_rows
from flowerti.personalization.train_state import TrainState, state_from
from flowerti.personalization.trainer import ClassTraining, Procedure, Trainer, take_step
from flowerti.prompts import TEMPLATES

Step = Callable[[], Any]
Batch = tuple[Tensor, Tensor]
"""Pixels [batch, 3, size, size] in [-1, 1] and token ids [batch, length]."""

TOKEN = "<benchmark>"
SWITCHES = ("images_decoded_once", "latents_encoded_once", "rows_only", "loss_not_read_back", "bfloat16")
"""What tells the script's step from the engine's, in the order of the ladder."""


def random_images(num: int, size_px: int) -> Tensor:
    """Smooth images that compress as photographs do, uint8 [num, size, size, 3]."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (num, 8, 8, 3), dtype=np.uint8)
    return torch.from_numpy(np.stack([np.asarray(Image.fromarray(c).resize((size_px, size_px))) for c in coarse]))


def as_jpeg(images: Tensor) -> list[bytes]:
    """The files that the script's data loader opens."""
    files = []
    for image in images.numpy():
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, format="JPEG", quality=90)
        files.append(stream.getvalue())
    return files


def sd15_shaped_base(tokenizer_of: Path, size_px: int) -> Base:
    """Stable Diffusion 1.5's networks with random weights; timings mean something, losses do not."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_of, subfolder="tokenizer", model_max_length=77)
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    vae_config: dict[str, Any] = {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "sample_size": 512,
    }
    vae = AutoencoderKL(**vae_config)
    text_config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        bos_token_id=0,
        eos_token_id=2,
    )
    unet = UNet2DConditionModel(sample_size=size_px // 8, cross_attention_dim=768, attention_head_dim=8)
    networks = {"vae": vae, "text_encoder": CLIPTextModel(text_config), "unet": unet}
    for network in networks.values():
        network.requires_grad_(False).eval()
    scheduler = DDPMScheduler(**schedule)
    return Base(**networks, tokenizer=tokenizer, noise_scheduler=scheduler, scheduler_config=dict(scheduler.config))


def small_base(folder: Path, dtype: str = "float32") -> Base:
    """A small trained base from its folder."""
    return load_base(folder, dtype, "cpu")


def in_bfloat16(base: Base) -> Base:
    """The same base with U-Net and text encoder in bfloat16, as `base.dtype` bfloat16 loads it."""
    import copy

    lower = {name: copy.deepcopy(getattr(base, name)).bfloat16() for name in ("unet", "text_encoder")}
    return replace(base, **lower)


def engine_steps(base: Base, images: Tensor, batch_size: int, num_vectors: int, num_concepts: int = 1) -> Step:
    """The engine's own step for one or several concepts in one batch, evaluations left out."""
    config = TextualInversionConfig(num_steps=10**6, batch_size=batch_size, num_vectors=num_vectors)
    data = prepare(base, images, TOKEN, num_vectors)
    procedure, trainers = procedure_of(base, config), []
    for i in range(num_concepts):
        state = start(base, data, config)
        state.curve.append(LossPoint(step=0, loss=0.0))  # so that it is not evaluated first
        training = ClassTraining(class_name=str(i), run_seed=0, data=data, state=state)
        trainers.append(Trainer(procedure, training))
    return lambda: take_step(procedure, trainers)


def start(
    base: Base, data: EncodedImages, config: TextualInversionConfig, class_name: str = "", run_seed: int = 0
) -> TrainState:
    """A token at its beginning, as the package's worker starts it."""
    seed = seed_for(run_seed, class_name, "inversion/start", 0)
    return state_from(start_rows(base, data, config, class_name, seed), keeps_start=True)


def procedure_of(base: Base, config: TextualInversionConfig) -> Procedure:
    """How the package's worker learns a token."""
    keeper = norm_keeper(base, config)
    return Procedure(base=base, config=config, losses=denoising_losses, seed_name="inversion", after_step=keeper)


def script_steps(
    base: Base,
    images: Tensor,
    batch_size: int,
    num_vectors: int,
    *,
    best_flags: bool,
    dtype: torch.dtype | None = None,
) -> Step:
    """The usual script's step.

    Args:
        base: the networks; they are shared, except for those that the script changes.
        images: uint8 [num, size, size, 3].
        batch_size: images in a step.
        num_vectors: rows of the token.
        best_flags: images and captions come at no cost, as from the script's loader processes.
        dtype: the script's --mixed_precision.
    """
    script = ExampleScript(base, TOKEN, num_vectors, "flower", ScriptFlags(autocast_dtype=dtype))
    load = _script_loader(script, images, batch_size, is_decoded_once=best_flags)
    return lambda: script.step(*load())


def switched_steps(base: Base, images: Tensor, batch_size: int, num_vectors: int, switches: frozenset[str]) -> Step:
    """A step with some of the engine's savings; none of them is the script, all of them are the engine."""
    unknown = switches - set(SWITCHES)
    if unknown:
        raise ValueError(f"no such switches: {', '.join(sorted(unknown))}")
    if "bfloat16" in switches:
        base = in_bfloat16(base)
    script = ExampleScript(base, TOKEN, num_vectors, "flower")
    data = prepare(base, images, TOKEN, num_vectors)
    rows = start(base, data, TextualInversionConfig(num_vectors=num_vectors)).learnt.requires_grad_()
    row_optimizer = torch.optim.AdamW([rows], lr=1e-4)
    load = _script_loader(script, images, batch_size, is_decoded_once="images_decoded_once" in switches)
    seeds = iter(range(10**9))

    def step() -> None:
        fresh, chosen = data, draw(data, batch_size, base.noise_scheduler.config.num_train_timesteps, next(seeds))
        if "latents_encoded_once" not in switches:
            fresh, chosen = _encoded(base, load(), chosen)
        if "rows_only" in switches:
            (loss,) = denoising_losses(base, [rows], [fresh], [chosen])
            (rows.grad,) = torch.autograd.grad(loss, [rows])
            row_optimizer.step()
        else:
            whole_table_step(script, base, fresh, chosen)
            loss = script.last_loss
        if "loss_not_read_back" not in switches:
            loss.item()

    return step


def _script_loader(
    script: ExampleScript, images: Tensor, batch_size: int, *, is_decoded_once: bool
) -> Callable[[], Batch]:
    """Batches as the script's data loader makes them, or one of 8 that were made beforehand."""
    files, rng, size_px = as_jpeg(images), random.Random(0), images.shape[1]

    def load() -> Batch:
        return script.load_batch(files, list(TEMPLATES), batch_size, size_px, rng)

    if not is_decoded_once:
        return load
    batches = [load() for _ in range(8)]
    return lambda: rng.choice(batches)


def _encoded(base: Base, batch: Batch, chosen: Draw) -> tuple[EncodedImages, Draw]:
    """A batch through the autoencoder, with the timesteps and noise of a draw: each image of the batch once."""
    pixels, ids = batch
    with torch.no_grad():
        posterior = base.vae.encode(pixels).latent_dist
    scale = base.vae.config.scaling_factor
    fresh = EncodedImages(mean=posterior.mean * scale, std=posterior.std * scale, captions=ids)
    places = torch.arange(len(pixels))
    return fresh, replace(chosen, views=places, captions=places)


def whole_table_step(script: ExampleScript, base: Base, data: EncodedImages, chosen: Draw) -> None:
    """The script's step from latents on: dense gradient, AdamW on the table, other rows put back."""
    latents = data.mean[chosen.views] + data.std[chosen.views] * chosen.posterior_noise
    noisy = base.noise_scheduler.add_noise(latents, chosen.noise, chosen.timesteps)
    script.descend(noisy, chosen.noise, chosen.timesteps, data.captions[chosen.captions])


def table_steps(base: Base, num_vectors: int) -> Step:
    """What the vocabulary table alone costs the script: dense gradient, AdamW on all of it, and the putting back."""
    script = ExampleScript(base, TOKEN, num_vectors, "flower")
    ids = torch.randint(len(script.tokenizer), (4, script.tokenizer.model_max_length))

    def step() -> None:
        torch.nn.functional.embedding(ids, script.table).sum().backward()
        script.optimizer.step()
        script.optimizer.zero_grad()
        script.put_back()

    return step
