"""Textual Inversion as diffusers' example script does it, stated anew: what the engine is measured and checked against.

A step decodes, crops, scales and mirrors its images, tokenises their captions, encodes the images with the
autoencoder, takes the dense gradient of the whole vocabulary table, lets AdamW move all of it, and puts every row but
the new ones back. Written from a description of the script (commit 000280f), not copied. Frozen networks need no weight
gradients here either, because the script's do not.
"""

import copy
import io
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor

from flowerti.diffusion import Base
from flowerti.personalization.encoding import placeholder_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class ScriptFlags:
    """The script's options that matter here, with its defaults."""

    learning_rate: float = 1e-4
    weight_decay: float = 1e-2
    autocast_dtype: torch.dtype | None = None
    """--mixed_precision: bfloat16 weights of U-Net and autoencoder, autocast for the text encoder."""
    logs_each_step: bool = True
    """Reads the loss back at every step, for its progress bar."""


class ExampleScript:
    """One concept's training on copies of a base's networks."""

    def __init__(
        self, base: Base, token: str, num_vectors: int, initializer_token: str, flags: ScriptFlags | None = None
    ) -> None:
        self.flags = flags or ScriptFlags()
        self.tokenizer = copy.deepcopy(base.tokenizer)
        (initializer_id,) = self.tokenizer.encode(initializer_token, add_special_tokens=False)
        words = placeholder_tokens(token, num_vectors)
        self.tokenizer.add_tokens(words)
        self.row_ids: list[int] = self.tokenizer.convert_tokens_to_ids(words)
        self.words = " ".join(words)
        self.text_encoder = copy.deepcopy(base.text_encoder)
        self.text_encoder.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)
        self.table: torch.nn.Parameter = self.text_encoder.get_input_embeddings().weight
        self.table.data[self.row_ids] = self.table.data[initializer_id].clone()
        self.table.requires_grad_(True)
        self.table_before = self.table.detach().clone()
        self.optimizer = torch.optim.AdamW(
            [self.table], lr=self.flags.learning_rate, weight_decay=self.flags.weight_decay
        )
        self.last_loss = torch.zeros(())
        self.unet, self.vae, self.noise_scheduler = base.unet, base.vae, base.noise_scheduler
        if self.flags.autocast_dtype is not None:
            self.unet = copy.deepcopy(self.unet).to(self.flags.autocast_dtype)
            self.vae = copy.deepcopy(self.vae).to(self.flags.autocast_dtype)

    @property
    def rows(self) -> Float[Tensor, "vectors width"]:
        """The learnt rows."""
        return self.table.detach()[self.row_ids].clone()

    def load_batch(
        self, files: list[bytes], templates: list[str], batch_size: int, size_px: int, rng: random.Random
    ) -> tuple[Float[Tensor, "batch 3 size size"], Int64[Tensor, "batch length"]]:
        """What the data loader does, one image at a time."""
        pixels, ids = [], []
        for content in rng.choices(files, k=batch_size):
            image = Image.open(io.BytesIO(content)).convert("RGB").resize((size_px, size_px), Image.Resampling.BICUBIC)
            values = np.asarray(image)
            values = values[:, ::-1] if rng.random() < 0.5 else values
            pixels.append(torch.from_numpy((values / 127.5 - 1.0).astype(np.float32)).permute(2, 0, 1))
            caption = rng.choice(templates).format(self.words)
            encoded = self.tokenizer(
                caption,
                padding="max_length",
                truncation=True,
                max_length=self.tokenizer.model_max_length,
                return_tensors="pt",
            )
            ids.append(encoded.input_ids[0])
        return torch.stack(pixels), torch.stack(ids)

    def step(
        self,
        pixels: Float[Tensor, "batch 3 height width"],
        ids: Int64[Tensor, "batch length"],
        timesteps: Int64[Tensor, "batch"] | None = None,
        posterior_noise: Float[Tensor, "batch channels h w"] | None = None,
        noise: Float[Tensor, "batch channels h w"] | None = None,
        learning_rate: float | None = None,
    ) -> float:
        """One step; random choices that are not given are drawn as the script draws them. Returns the loss, or 0."""
        with torch.no_grad():
            posterior = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist
            spread = torch.randn_like(posterior.mean) if posterior_noise is None else posterior_noise
            latents = (posterior.mean + posterior.std * spread) * self.vae.config.scaling_factor
        noise = torch.randn_like(latents) if noise is None else noise.to(latents.dtype)
        if timesteps is None:
            timesteps = torch.randint(self.noise_scheduler.config.num_train_timesteps, (len(latents),))
        noisy = self.noise_scheduler.add_noise(latents, noise, timesteps)
        target = self._target(latents, noise, timesteps)
        if learning_rate is not None:
            self.optimizer.param_groups[0]["lr"] = learning_rate
        self.descend(noisy, target, timesteps, ids)
        return self.last_loss.item() if self.flags.logs_each_step else 0.0

    def descend(self, noisy: Tensor, target: Tensor, timesteps: Tensor, ids: Tensor) -> None:
        """The second half of a step: loss, dense gradient, AdamW on the table, other rows put back."""
        loss = self._loss(noisy, target, timesteps, ids)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.put_back()
        self.last_loss = loss.detach()

    def _target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        if self.noise_scheduler.config.prediction_type == "v_prediction":
            return self.noise_scheduler.get_velocity(latents, noise, timesteps)
        return noise

    def _loss(self, noisy: Tensor, target: Tensor, timesteps: Tensor, ids: Tensor) -> Tensor:
        precision = self.flags.autocast_dtype
        with torch.autocast(noisy.device.type, dtype=precision or torch.bfloat16, enabled=precision is not None):
            states: Any = self.text_encoder(ids)[0].to(self.unet.dtype)
            predicted = self.unet(noisy.to(self.unet.dtype), timesteps, states).sample
        exact = torch.float64 if predicted.dtype == torch.float64 else torch.float32
        return torch.nn.functional.mse_loss(predicted.to(exact), target.to(exact))

    @torch.no_grad()
    def put_back(self) -> None:
        """Every row but the learnt ones as it was."""
        is_kept = torch.ones(len(self.tokenizer), dtype=torch.bool)
        is_kept[min(self.row_ids) : max(self.row_ids) + 1] = False
        self.table[is_kept] = self.table_before[is_kept]
