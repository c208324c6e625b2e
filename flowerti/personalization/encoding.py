"""Encodes prompts and images with the frozen networks: token ids, text states with learnt rows, latent posteriors.

Learnt rows are inserted at the output of a text encoder's embedding, so the embedding table is never resized or
modified. For SDXL a row is the concatenation of its parts for the first and the second text encoder. This module does
not know how anything is trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from flowerti.artifacts.identity import slug
from flowerti.diffusion import Base, require_finite


@dataclass(frozen=True, kw_only=True, slots=True)
class TextStates:
    """Text conditioning of the U-Net."""

    hidden: Float[Tensor, "num length width"]
    pooled: Float[Tensor, "num pooled_width"] | None
    """SDXL only: the projected state of the end token in the second text encoder."""

    def at(self, indices: Int64[Tensor, "chosen"]) -> "TextStates":
        """The states of some of the prompts, in the order of the indices."""
        pooled = None if self.pooled is None else self.pooled[indices]
        return TextStates(hidden=self.hidden[indices], pooled=pooled)


def joined(parts: Sequence[TextStates]) -> TextStates:
    """The states of several batches of prompts of one base, one after another."""
    pooled = [part.pooled for part in parts if part.pooled is not None]
    return TextStates(hidden=torch.cat([part.hidden for part in parts]), pooled=torch.cat(pooled) if pooled else None)


def token_of(class_name: str) -> str:
    """The placeholder token of a class."""
    return f"<{slug(class_name)}>"


def placeholder_tokens(token: str, num_vectors: int) -> list[str]:
    """The words that stand for a token's rows, as diffusers names them: token, token_1, token_2, ..."""
    return [token, *(f"{token}_{i}" for i in range(1, num_vectors))]


def tokenise(base: Base, prompts: list[str], token: str = "", num_vectors: int = 0) -> Int64[Tensor, "num length"]:
    """Tokenise prompts; each occurrence of `token` becomes the ids vocabulary_size, vocabulary_size + 1, ...

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


def with_rows_from(ids: Int64[Tensor, "num length"], vocabulary_size: int, offset: int) -> Int64[Tensor, "num length"]:
    """Token ids whose learnt rows 0, 1, ... are numbered offset, offset + 1, ...; words stay."""
    return torch.where(ids >= vocabulary_size, ids + offset, ids)


def encode_text(
    base: Base, ids: Int64[Tensor, "num length"], rows: Float[Tensor, "vectors width"] | None = None
) -> TextStates:
    """Run the text encoders; ids beyond the vocabulary are embedded by learnt rows, which receive gradients.

    A row replaces the embedding's output, which is equivalent to an embedding table extended by the rows. SDXL uses the
    penultimate hidden states of both encoders and the second one's projected end token (Podell et al. 2023,
    arXiv 2307.01952, section 2.1), like diffusers.

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
    # [num, length, w1], [num, length, w2] -> [num, length, w1 + w2]
    hidden = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    return TextStates(hidden=hidden, pooled=second.text_embeds)


def encode_prompts(base: Base, prompts: list[str]) -> TextStates:
    """Encode prompts, which may contain the base's placeholder token.

    Raises:
        ValueError: as `tokenise`.
    """
    num_vectors = 0 if base.token_rows is None else len(base.token_rows)
    return encode_text(base, tokenise(base, prompts, base.token, num_vectors), base.token_rows)


def encode_empty_prompt(base: Base) -> TextStates:
    """Unconditional input of classifier-free guidance: the encoded empty prompt, or zeros if the base requires it."""
    states = encode_text(base, tokenise(base, [""]))
    if not base.zero_empty_prompt or states.pooled is None:
        return states
    return TextStates(hidden=torch.zeros_like(states.hidden), pooled=torch.zeros_like(states.pooled))


def _run(encoder: Any, ids: Tensor, vocabulary_size: int, rows: Tensor | None, **options: Any) -> Any:
    if rows is None:
        return encoder(ids, **options)
    # ids [num, length]: below vocabulary_size a word of the table, from there on rows 0, 1, ...
    is_row = ids >= vocabulary_size
    positions = (ids - vocabulary_size).clamp(min=0)

    def insert_rows(_module: Any, _inputs: Any, embedded: Tensor) -> Tensor:
        # not rows[positions]: several threads sum its gradient in a non-deterministic order
        inserted = torch.nn.functional.embedding(positions, rows).to(embedded.dtype)
        return torch.where(is_row[..., None], inserted, embedded)  # [num, length, width]

    handle = encoder.get_input_embeddings().register_forward_hook(insert_rows)
    try:
        # id 0 as a stand-in for a row, so that the end token remains the highest id, by which older configs locate it
        return encoder(ids.masked_fill(is_row, 0), **options)
    finally:
        handle.remove()


def _padded_like(tokenizer: Any, ids: Int64[Tensor, "num length"], end_id: int) -> Int64[Tensor, "num length"]:
    """Replace the padding after the first end token by that of another tokenizer."""
    # true after the first end token: more end tokens up to here than this position itself counts
    after_end = (ids == end_id).cumsum(dim=1) > (ids == end_id)
    return ids.masked_fill(after_end, tokenizer.pad_token_id)


@torch.no_grad()
def encode_images(
    base: Base, images: UInt8[Tensor, "num height width 3"], batch_size: int = 8
) -> tuple[Float[Tensor, "num channels h w"], Float[Tensor, "num channels h w"]]:
    """Mean and std of the posterior of the scaled latents, on the base's device.

    Both have the autoencoder's precision, float32. AutoencoderTiny is deterministic: its std is 0.

    Raises:
        NotFiniteError: the autoencoder overflows.
    """
    means, stds = [], []
    for batch in images.split(batch_size):
        # NHWC uint8 in [0, 255] -> NCHW in [-1, 1]
        scaled = batch.to(base.device).permute(0, 3, 1, 2).to(base.vae.dtype) / 127.5 - 1
        encoded = base.vae.encode(scaled)  # pixels -> latents [batch, channels, h / f, w / f]
        if hasattr(encoded, "latents"):
            mean, std = encoded.latents, torch.zeros_like(encoded.latents)
        else:
            mean, std = encoded.latent_dist.mean, encoded.latent_dist.std
        # z = scaling_factor * latent, of about unit variance (Rombach et al. 2022, arXiv 2112.10752, section G)
        means.append(mean * base.vae.config.scaling_factor)
        stds.append(std * base.vae.config.scaling_factor)
    moments = torch.cat(means), torch.cat(stds)
    for one in moments:
        require_finite(one, "the autoencoder's latents of images")
    return moments
