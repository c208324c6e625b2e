"""Prompts and images as the frozen networks see them: token ids, text states with learnt rows, latent posteriors.

Learnt rows enter a text encoder at the embedding's output, so that the vocabulary table is never resized or touched.
For SDXL a row holds its part for the first text encoder, then that for the second. This module does not know how
anything is learnt.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from flowerti.artifacts.identity import slug
from flowerti.diffusion import Base


@dataclass(frozen=True, kw_only=True, slots=True)
class TextStates:
    """What the U-Net is conditioned on."""

    hidden: Float[Tensor, "num length width"]
    pooled: Float[Tensor, "num pooled_width"] | None
    """SDXL only: the projected state of the end token in the second text encoder."""


def token_of(class_name: str) -> str:
    """The placeholder token of a class."""
    return f"<{slug(class_name)}>"


def placeholder_tokens(token: str, num_vectors: int) -> list[str]:
    """The words that stand for a token's rows, as diffusers names them: token, token_1, token_2, ..."""
    return [token, *(f"{token}_{i}" for i in range(1, num_vectors))]


def tokenise(base: Base, prompts: list[str], token: str = "", num_vectors: int = 0) -> Int64[Tensor, "num length"]:
    """Turn prompts into ids; each occurrence of `token` becomes ids vocabulary_size, vocabulary_size + 1, ...

    Raises:
        ValueError: the token already is a word of the base, or a prompt is too long for the text encoder.
    """
    import copy

    tokenizer = base.tokenizer
    if num_vectors:
        words = placeholder_tokens(token, num_vectors)
        tokenizer = copy.deepcopy(tokenizer)
        if not set(words).isdisjoint(tokenizer.get_vocab()):
            raise ValueError(f"token {token!r} exists already in the base's vocabulary: choose another")
        tokenizer.add_tokens(words)
        prompts = [prompt.replace(token, " ".join(words)) for prompt in prompts]
    max_length = tokenizer.model_max_length
    ids = tokenizer(prompts, padding="max_length", max_length=max_length).input_ids
    for prompt, row in zip(prompts, ids, strict=True):
        if len(row) > max_length:
            raise ValueError(f"prompt {prompt!r} has {len(row)} tokens: the text encoder takes {max_length}")
    ids = torch.tensor(ids, dtype=torch.int64)
    if num_vectors:
        ids = _renumber(ids, tokenizer.convert_tokens_to_ids(words), base.vocabulary_size)
    return ids.to(base.device)


def _renumber(ids: Int64[Tensor, "num length"], word_ids: list[int], first: int) -> Int64[Tensor, "num length"]:
    renumbered = ids.clone()
    for offset, word_id in enumerate(word_ids):
        renumbered[ids == word_id] = first + offset
    return renumbered


def encode_text(
    base: Base, ids: Int64[Tensor, "num length"], rows: Float[Tensor, "vectors width"] | None = None
) -> TextStates:
    """Run the text encoders; ids beyond the vocabulary take learnt rows, through which gradients flow.

    The row replaces the embedding's output, which gives the same states as a table enlarged by these rows. SDXL takes
    the last but one hidden states of both encoders and the second one's projected end token (Podell et al. 2023,
    arXiv 2307.01952, section 2.1), as diffusers does.

    Raises:
        ValueError: the rows do not have the width of the base's embedding.
    """
    if rows is not None and rows.shape[1] != sum(base.row_widths):
        raise ValueError(
            f"learnt rows are {rows.shape[1]} wide, the base's embedding {sum(base.row_widths)}: "
            "they were learnt on another base"
        )
    if base.text_encoder_2 is None:
        return TextStates(hidden=_run(base.text_encoder, ids, base.vocabulary_size, rows)[0], pooled=None)
    first_rows, second_rows = rows.split(base.row_widths, dim=1) if rows is not None else (None, None)
    first = _run(base.text_encoder, ids, base.vocabulary_size, first_rows, output_hidden_states=True)
    second_ids = _padded_like(base.tokenizer_2, ids, base.tokenizer.eos_token_id)
    second = _run(base.text_encoder_2, second_ids, base.vocabulary_size, second_rows, output_hidden_states=True)
    hidden = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    return TextStates(hidden=hidden, pooled=second.text_embeds)


def encode_prompts(base: Base, prompts: list[str]) -> TextStates:
    """Encode prompts, which may hold the base's placeholder token.

    Raises:
        ValueError: as `tokenise`.
    """
    num_vectors = 0 if base.token_rows is None else len(base.token_rows)
    return encode_text(base, tokenise(base, prompts, base.token, num_vectors), base.token_rows)


def encode_empty_prompt(base: Base) -> TextStates:
    """What guidance compares with: the encoded empty prompt, or zeros where the base asks for them."""
    states = encode_text(base, tokenise(base, [""]))
    if not base.zero_empty_prompt or states.pooled is None:
        return states
    return TextStates(hidden=torch.zeros_like(states.hidden), pooled=torch.zeros_like(states.pooled))


def _run(encoder: Any, ids: Tensor, vocabulary_size: int, rows: Tensor | None, **options: Any) -> Any:
    if rows is None:
        return encoder(ids, **options)
    is_row = ids >= vocabulary_size
    positions = (ids - vocabulary_size).clamp(min=0)

    def insert_rows(_module: Any, _inputs: Any, embedded: Tensor) -> Tensor:
        # not rows[positions]: its gradient is summed by several threads in no fixed order
        inserted = torch.nn.functional.embedding(positions, rows).to(embedded.dtype)
        return torch.where(is_row[..., None], inserted, embedded)

    handle = encoder.get_input_embeddings().register_forward_hook(insert_rows)
    try:
        # id 0 stands in for a row: the end token stays the highest id, by which older configs find it
        return encoder(ids.masked_fill(is_row, 0), **options)
    finally:
        handle.remove()


def _padded_like(tokenizer: Any, ids: Int64[Tensor, "num length"], end_id: int) -> Int64[Tensor, "num length"]:
    """The ids with another tokenizer's padding after the first end token."""
    after_end = (ids == end_id).cumsum(dim=1) > (ids == end_id)
    return ids.masked_fill(after_end, tokenizer.pad_token_id)


@torch.no_grad()
def encode_images(
    base: Base, images: UInt8[Tensor, "num height width 3"], batch_size: int = 8
) -> tuple[Float[Tensor, "num channels h w"], Float[Tensor, "num channels h w"]]:
    """Mean and standard deviation of the scaled latents' posterior, on the base's device.

    Both come in the autoencoder's precision, which is float32. AutoencoderTiny has no posterior: the deviation is 0.
    """
    means, stds = [], []
    for batch in images.split(batch_size):
        # NHWC uint8 in [0, 255] -> NCHW in [-1, 1]
        scaled = batch.to(base.device).permute(0, 3, 1, 2).to(base.vae.dtype) / 127.5 - 1
        encoded = base.vae.encode(scaled)
        if hasattr(encoded, "latents"):
            mean, std = encoded.latents, torch.zeros_like(encoded.latents)
        else:
            mean, std = encoded.latent_dist.mean, encoded.latent_dist.std
        # the factor by which the U-Net's latents are the autoencoder's
        means.append(mean * base.vae.config.scaling_factor)
        stds.append(std * base.vae.config.scaling_factor)
    return torch.cat(means), torch.cat(stds)
