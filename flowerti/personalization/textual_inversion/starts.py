"""Initial values of learnt rows: an initializer token, the class name's tokens, the nearest word, or a constant.

It knows the frozen embedding table and the denoising loss, and nothing about optimisers or files.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.base_checks.tokenizer_files import load_tokenizer
from flowerti.config.experiment import TextualInversionConfig
from flowerti.diffusion import Base
from flowerti.personalization.denoising import EncodedImages, draw, evaluate
from flowerti.personalization.textual_inversion.losses import denoising_loss, denoising_losses

_SHORTLIST_SIZE = 12
_WORD_END = "</w>"


def check_initializer(folder: Path, word: str) -> None:
    """Reject an initializer token that is not a single token of the base in a folder.

    Raises:
        ValueError: it is split into several tokens; names them. Or there is no tokenizer.
    """
    word_id(load_tokenizer(folder / "tokenizer"), word)


def word_id(tokenizer: Any, word: str) -> int:
    """The id of an initializer token, which must be a single token of the base's vocabulary.

    Raises:
        ValueError: it is not a single token; names the tokens that it is split into.
    """
    ids = tokenizer(word, add_special_tokens=False).input_ids
    if len(ids) != 1:
        pieces = tokenizer.convert_ids_to_tokens(ids)
        raise ValueError(
            f"textual_inversion.initializer_token: {word!r} is {len(ids)} tokens in this base ({' '.join(pieces)}): "
            "choose a word that is one token"
        )
    return ids[0]


def start_rows(
    base: Base, data: EncodedImages, config: TextualInversionConfig, class_name: str, seed: int
) -> Float[Tensor, "vectors width"]:
    """The initial rows for `config.start`, float32.

    Raises:
        ValueError: the initializer token is not one token of the base, or the class name has no token.
    """
    if config.start == "class_name":
        return _spread(_rows_of(base, _word_ids(base, class_name)), config.num_vectors)
    row = _single_row(base, data, config, class_name, seed)
    if config.start == "random":
        return row
    return row.repeat(config.num_vectors, 1)


def _single_row(base: Base, data: EncodedImages, config: TextualInversionConfig, class_name: str, seed: int) -> Tensor:
    if config.start == "initializer_token":
        return _rows_of(base, [word_id(base.tokenizer, config.initializer_token)])
    if config.start == "class_name_mean":
        return _rows_of(base, _word_ids(base, class_name)).mean(dim=0, keepdim=True)
    if config.start == "nearest":
        return _rows_of(base, [nearest_word(base, data, config, class_name, seed)])
    table = whole_table(base)
    if config.start == "zero":
        return torch.zeros_like(table[:1])
    if config.start == "mean":
        return table.mean(dim=0, keepdim=True)
    # rows ~ N(mean, std^2) of the vocabulary's rows, column by column
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(config.num_vectors, table.shape[1], generator=generator).to(table)
    return table.mean(dim=0) + table.std(dim=0) * noise


def whole_table(base: Base) -> Float[Tensor, "tokens width"]:
    """The vocabulary's rows in the order of their ids, float32; those of SDXL's two encoders side by side."""
    # a table may have more rows than there are tokens
    tables = [e.get_input_embeddings().weight[: len(base.tokenizer)].detach().float() for e in base.text_encoders]
    return torch.cat(tables, dim=1)


def _rows_of(base: Base, ids: list[int]) -> Float[Tensor, "tokens width"]:
    tables = [encoder.get_input_embeddings().weight[ids].detach().float() for encoder in base.text_encoders]
    return torch.cat(tables, dim=1)


def _word_ids(base: Base, words: str) -> list[int]:
    ids = base.tokenizer(words, add_special_tokens=False).input_ids
    if not ids:
        raise ValueError(
            f"textual_inversion.start: class name {words!r} has no token in this base: choose another start"
        )
    return ids


def _spread(rows: Float[Tensor, "tokens width"], num_vectors: int) -> Float[Tensor, "vectors width"]:
    """Distribute words over vectors in order: a vector is the mean of its words, or several vectors share a word."""
    if len(rows) >= num_vectors:
        return torch.stack([part.mean(dim=0) for part in torch.tensor_split(rows, num_vectors)])
    return rows[torch.arange(num_vectors) * len(rows) // num_vectors]


def nearest_word(base: Base, data: EncodedImages, config: TextualInversionConfig, class_name: str, seed: int) -> int:
    """The id of the vocabulary's word whose evaluation loss on the images is lowest, over a shortlist.

    The shortlist consists of the initializer token, the class name's own tokens and the words with the lowest
    first-order estimate of the loss around the initializer token (Ebrahimi et al. 2018, arXiv 1712.06751, eq. 1).
    """
    initial = word_id(base.tokenizer, config.initializer_token)
    row = _rows_of(base, [initial])
    shortlist = [initial, *_word_ids(base, class_name)]
    promise = _first_order_promise(base, row, data, config, seed)
    for token_id in promise.argsort(stable=True).tolist():
        if len(set(shortlist)) >= _SHORTLIST_SIZE or promise[token_id] == torch.inf:
            break
        if str(base.tokenizer.convert_ids_to_tokens(token_id)).removesuffix(_WORD_END).isalpha():
            shortlist.append(token_id)
    losses = {}
    for token_id in dict.fromkeys(shortlist):
        rows = _rows_of(base, [token_id]).repeat(config.num_vectors, 1)
        losses[token_id] = evaluate(base, rows, data, config, seed, denoising_losses)
    return min(losses, key=lambda token_id: (losses[token_id], token_id))


def _first_order_promise(
    base: Base, row: Float[Tensor, "1 width"], data: EncodedImages, config: TextualInversionConfig, seed: int
) -> Float[Tensor, "tokens"]:
    """First-order change of the loss if the row is replaced by each vocabulary word; infinite for subword pieces."""
    rows = row.repeat(config.num_vectors, 1).requires_grad_()
    num_timesteps = base.noise_scheduler.config.num_train_timesteps
    loss = denoising_loss(base, rows, data, draw(data, config.batch_size, num_timesteps, seed))
    (gradient,) = torch.autograd.grad(loss, [rows])
    # L(row + d) - L(row) ~ d . dL/drow, with d = word - row, and the same d for all vectors
    promise = (whole_table(base) - row) @ gradient.float().sum(dim=0)
    entries = base.tokenizer.convert_ids_to_tokens(list(range(len(promise))))
    is_word = [str(entry).endswith(_WORD_END) for entry in entries]
    special = torch.tensor(sorted(set(base.tokenizer.all_special_ids)), device=promise.device)
    promise[special] = torch.inf
    return promise.masked_fill(~torch.tensor(is_word, device=promise.device), torch.inf)
