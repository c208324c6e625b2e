"""What learnt rows mean in the base's own words: nearest vocabulary tokens, and cosines between concepts.

Whole words and pieces of words are told apart, special tokens are left out. For SDXL a cosine is the mean over the two
text encoders. This module does not know how the rows were learnt.
"""

from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.artifacts.records import Neighbour
from flowerti.diffusion import Base
from flowerti.inversion.starts import whole_table

_WORD_END = "</w>"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConceptCosine:
    """How alike a vector of one concept and a vector of another are."""

    class_name: str
    vector: int
    other_class_name: str
    other_vector: int
    cosine: float


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


def cosines_between(rows: dict[str, Float[Tensor, "vectors width"]], row_widths: list[int]) -> list[ConceptCosine]:
    """Cosines of every vector of every class with every vector of every other class, most alike first.

    Args:
        rows: class name -> its learnt rows.
        row_widths: the base's `row_widths`.
    """
    found = []
    for (name, ours), (other_name, theirs) in combinations(rows.items(), 2):
        for (i, j), cosine in _entries(_cosines(ours, theirs, row_widths)):
            found.append(
                ConceptCosine(
                    class_name=name, vector=i, other_class_name=other_name, other_vector=j, cosine=round(cosine, 6)
                )
            )
    return sorted(found, key=lambda pair: -pair.cosine)


def _cosines(
    ours: Float[Tensor, "vectors width"], theirs: Float[Tensor, "others width"], widths: list[int]
) -> Float[Tensor, "vectors others"]:
    normalize = torch.nn.functional.normalize
    parts = zip(ours.float().split(widths, dim=1), theirs.float().split(widths, dim=1), strict=True)
    return torch.stack([normalize(a, dim=1) @ normalize(b, dim=1).T for a, b in parts]).mean(dim=0)


def _entries(matrix: Tensor) -> list[tuple[tuple[int, int], float]]:
    return [((i, j), value) for i, row in enumerate(matrix.tolist()) for j, value in enumerate(row)]


def _readable(base: Base, token_id: int) -> str:
    from tokenizers.decoders import ByteLevel

    entry = str(base.tokenizer.convert_ids_to_tokens(token_id))
    text = ByteLevel().decode([entry.removesuffix(_WORD_END)])
    if "\N{REPLACEMENT CHARACTER}" in text or not text.isprintable():
        text = entry.removesuffix(_WORD_END)
    return text if entry.endswith(_WORD_END) else f"{text}-"
