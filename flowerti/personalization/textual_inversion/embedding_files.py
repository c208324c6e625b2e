"""Learnt rows in the file formats of other programs, and in a diffusers pipeline.

`learned_embeds.safetensors` is what diffusers' `load_textual_inversion` reads: one tensor named by the token; for SDXL
the tensors `clip_l` and `clip_g`, which are loaded one text encoder at a time. The web form is what AUTOMATIC1111 and
ComfyUI read: one tensor `emb_params`, and for SDXL the same two as above; those programs take the file's name as the
word. This module does not know how rows were learnt.
"""

from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load, save
from torch import Tensor

from flowerti.personalization.encoding import placeholder_tokens

_XL_PARTS = ("clip_l", "clip_g")
_WEB_NAME = "emb_params"


def diffusers_bytes(token: str, rows: Float[Tensor, "vectors width"], widths: list[int]) -> bytes:
    """The content of `learned_embeds.safetensors`; `widths` are the base's `row_widths`."""
    return save(_by_encoder(token, rows, widths))


def web_bytes(rows: Float[Tensor, "vectors width"], widths: list[int]) -> bytes:
    """The content of the file that AUTOMATIC1111 and ComfyUI read."""
    return save(_by_encoder(_WEB_NAME, rows, widths))


def _by_encoder(name: str, rows: Tensor, widths: list[int]) -> dict[str, Tensor]:
    names = [name] if len(widths) == 1 else _XL_PARTS
    parts = rows.detach().cpu().split(widths, dim=1)
    return {name: part.contiguous() for name, part in zip(names, parts, strict=True)}


def read_rows(content: bytes, token: str) -> Float[Tensor, "vectors width"]:
    """Read the rows from either format; SDXL's two parts are concatenated.

    Raises:
        ValueError: the file holds no rows of that token.
    """
    return torch.cat(read_parts(content, token), dim=1)


def read_parts(content: bytes, token: str) -> list[Float[Tensor, "vectors _"]]:
    """Read the rows from either format, separately for each text encoder.

    Raises:
        ValueError: the file holds no rows of that token.
    """
    tensors = load(content)
    if all(part in tensors for part in _XL_PARTS):
        return [tensors[part] for part in _XL_PARTS]
    for name in (token, _WEB_NAME):
        if name in tensors:
            return [tensors[name]]
    raise ValueError(f"the embeddings file holds {', '.join(tensors)}, but no rows of token {token!r}")


def add_concepts(pipeline: Any, rows: dict[str, Float[Tensor, "vectors width"]]) -> None:
    """Add learnt rows of several tokens to a diffusers pipeline, resizing each embedding table once.

    Afterwards prompts may contain the tokens: the pipeline expands a token of several vectors itself.

    Args:
        pipeline: a StableDiffusionPipeline or StableDiffusionXLPipeline.
        rows: token -> its rows; for SDXL the parts of both text encoders side by side.

    Raises:
        ValueError: rows are not as wide as the pipeline's embedding, or a token exists already; nothing is changed.
    """
    encoders = [pipeline.text_encoder, getattr(pipeline, "text_encoder_2", None)]
    tokenizers = [pipeline.tokenizer, getattr(pipeline, "tokenizer_2", None)]
    pairs = [(encoder, tokenizers[i]) for i, encoder in enumerate(encoders) if encoder is not None]
    widths = [encoder.get_input_embeddings().embedding_dim for encoder, _ in pairs]
    words = {token: placeholder_tokens(token, len(of_token)) for token, of_token in rows.items()}
    for token, of_token in rows.items():
        if of_token.shape[1] != sum(widths):
            raise ValueError(
                f"token {token!r}: its rows are {of_token.shape[1]} wide, the pipeline's embedding {sum(widths)}: "
                "they were learnt on another base"
            )
        if any(not set(words[token]).isdisjoint(tokenizer.get_vocab()) for _, tokenizer in pairs):
            raise ValueError(f"token {token!r} exists already in the pipeline's vocabulary")
    flat_words = [word for token in rows for word in words[token]]
    if len(set(flat_words)) < len(flat_words):
        raise ValueError("two tokens share a word: a token must not be another one followed by _1, _2, ...")
    parts = torch.cat(list(rows.values())).split(widths, dim=1)
    for (encoder, tokenizer), part in zip(pairs, parts, strict=True):
        _enlarge(encoder, tokenizer, flat_words, part)


@torch.no_grad()
def _enlarge(encoder: Any, tokenizer: Any, words: list[str], part: Tensor) -> None:
    tokenizer.add_tokens(words)
    # a table may have more rows than there are tokens
    num_rows = max(len(tokenizer), encoder.get_input_embeddings().num_embeddings)
    encoder.resize_token_embeddings(num_rows, mean_resizing=False)
    table = encoder.get_input_embeddings().weight
    table[tokenizer.convert_tokens_to_ids(words)] = part.to(table)
    for module in encoder.modules():
        # older configs locate the end token as the highest id in a prompt, but new tokens have higher ids
        if getattr(module, "eos_token_id", None) == 2:
            module.eos_token_id = tokenizer.eos_token_id
