"""Nearest neighbours of learnt rows: vocabulary tokens of the base, and learnt rows of other classes.

Whole words and subword pieces are distinguished, special tokens are excluded. For SDXL a cosine is the mean over the
two text encoders. This module does not know how the rows were trained.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.artifacts.records import ConceptNeighbour, Neighbour
from flowerti.diffusion import Base
from flowerti.personalization.textual_inversion.starts import whole_table

_WORD_END = "</w>"


def nearest_tokens(base: Base, rows: Float[Tensor, "vectors width"], num_tokens: int = 5) -> list[Neighbour]:
    """The nearest vocabulary tokens of each row, nearest first; a piece inside a word is shown with a hyphen."""
    cosines = _cosines(rows, whole_table(base), base.row_widths)
    special = torch.tensor(sorted(set(base.tokenizer.all_special_ids)), device=cosines.device)
    cosines[:, special] = -torch.inf
    top = cosines.topk(min(num_tokens, cosines.shape[1] - len(special)), dim=1)
    return [
        Neighbour(vector=vector, token=_readable(base, int(token_id)), cosine=round(float(cosine), 6))
        for vector in range(len(rows))
        for token_id, cosine in zip(top.indices[vector], top.values[vector], strict=True)
    ]


def nearest_concepts(
    rows: dict[str, Float[Tensor, "_ width"]], row_widths: list[int], num_rows: int = 3
) -> list[ConceptNeighbour]:
    """The rows of other classes that are nearest to each learnt row, nearest first.

    Args:
        rows: class name -> its learnt rows.
        row_widths: number of columns of each text encoder.
        num_rows: maximum number of neighbours per row.
    """
    if len(rows) < 2:
        return []
    places = [(name, vector) for name, of_class in rows.items() for vector in range(len(of_class))]
    flat = torch.cat(list(rows.values()))
    cosines = _cosines(flat, flat, row_widths)
    owners = torch.tensor([i for i, of_class in enumerate(rows.values()) for _ in of_class])
    cosines[owners[:, None] == owners] = -torch.inf
    top = cosines.topk(min(num_rows, len(flat)), dim=1)
    return [
        ConceptNeighbour(
            class_name=name,
            vector=vector,
            other_class_name=places[other][0],
            other_vector=places[other][1],
            cosine=round(cosine, 6),
        )
        for (name, vector), others, values in zip(places, top.indices.tolist(), top.values.tolist(), strict=True)
        for other, cosine in zip(others, values, strict=True)
        if cosine > -torch.inf
    ]


def _cosines(
    ours: Float[Tensor, "vectors width"], theirs: Float[Tensor, "others width"], widths: list[int]
) -> Float[Tensor, "vectors others"]:
    normalize = torch.nn.functional.normalize
    parts = zip(ours.float().split(widths, dim=1), theirs.float().split(widths, dim=1), strict=True)
    return torch.stack([normalize(a, dim=1) @ normalize(b, dim=1).T for a, b in parts]).mean(dim=0)


def _readable(base: Base, token_id: int) -> str:
    from tokenizers.decoders import ByteLevel

    entry = str(base.tokenizer.convert_ids_to_tokens(token_id))
    text = ByteLevel().decode([entry.removesuffix(_WORD_END)])
    if "\N{REPLACEMENT CHARACTER}" in text or not text.isprintable():
        text = entry.removesuffix(_WORD_END)
    return text if entry.endswith(_WORD_END) else f"{text}-"
