"""Nearest vocabulary tokens of learnt rows, by cosine: what a token means in the base's own words.

Whole words and pieces of words are told apart, special tokens are left out. This module does not know how the rows were
learnt.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.artifacts import Neighbour
from flowerti.diffusion import Base

_WORD_END = "</w>"


def nearest_tokens(base: Base, rows: Float[Tensor, "vectors width"], num_tokens: int = 5) -> list[Neighbour]:
    """The nearest vocabulary tokens of each row, nearest first; a piece inside a word is shown with a hyphen."""
    # a table may have more rows than there are tokens
    table = base.text_encoder.get_input_embeddings().weight[: len(base.tokenizer)].detach().float()
    cosines = torch.nn.functional.normalize(rows.float(), dim=1) @ torch.nn.functional.normalize(table, dim=1).T
    special = torch.tensor(sorted(set(base.tokenizer.all_special_ids)), device=cosines.device)
    cosines[:, special] = -torch.inf
    top = cosines.topk(min(num_tokens, cosines.shape[1] - len(special)), dim=1)
    return [
        Neighbour(vector=vector, token=_readable(base, int(token_id)), cosine=round(float(cosine), 6))
        for vector in range(len(rows))
        for token_id, cosine in zip(top.indices[vector], top.values[vector], strict=True)
    ]


def _readable(base: Base, token_id: int) -> str:
    from tokenizers.decoders import ByteLevel

    entry = str(base.tokenizer.convert_ids_to_tokens(token_id))
    text = ByteLevel().decode([entry.removesuffix(_WORD_END)])
    if "\N{REPLACEMENT CHARACTER}" in text or not text.isprintable():
        text = entry.removesuffix(_WORD_END)
    return text if entry.endswith(_WORD_END) else f"{text}-"
