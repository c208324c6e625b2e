"""Which prompt each image of a set has, and its text states.

A set's images share one prompt, unless the source has contexts; they share one token, unless the source has noise on
it. All random choices come from seeds by name and index, so they do not depend on batches. This module does not know
how images are drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import SamplingConfig
from flowerti.diffusion import Base
from flowerti.personalization.encoding import TextStates, encode_prompts
from flowerti.tables.sources import Source


def prompts_of(source: Source, words: str, config: SamplingConfig, run_seed: int, indices: Sequence[int]) -> list[str]:
    """The prompt of each image; empty ones for a source that takes no steps.

    Image k of every class has the same context, so that contexts say nothing about classes, and all contexts are used
    before one is used again.
    """
    if not source.has_steps:
        return [""] * len(indices)
    if not source.has_contexts:
        return [config.prompt.format(words)] * len(indices)
    return [_context(config.contexts, run_seed, index).format(words) for index in indices]


def prompt_of_set(source: Source, words: str, config: SamplingConfig) -> str:
    """All prompts of a set in one line."""
    if not source.has_contexts:
        return prompts_of(source, words, config, 0, [0])[0]
    return "; ".join(context.format(words) for context in config.contexts)


def _context(contexts: Sequence[str], run_seed: int, index: int) -> str:
    turn, place = divmod(index, len(contexts))
    # no class and no source in the seed's name: see `prompts_of`
    rng = np.random.default_rng(seed_for(run_seed, "", "sample/contexts", turn))
    order = rng.permutation(len(contexts))
    return contexts[int(order[place])]


@torch.no_grad()
def encode_each(base: Base, prompts: Sequence[str], row_seeds: Sequence[int], noise: float) -> TextStates:
    """Encode prompts, each with a token of its own where there is noise.

    Args:
        base: with the token's rows.
        prompts: of each image.
        row_seeds: of each image's noise on the token's rows; none for the rows as they are.
        noise: its size as a multiple of the rows' norms, at least 0.

    Returns:
        One row of states where all are the same, else one for each prompt.
    """
    if row_seeds:
        each = [_with_noise(base, seed, noise) for seed in row_seeds]
        return _stacked([encode_prompts(one, [prompt]) for one, prompt in zip(each, prompts, strict=True)])
    distinct = list(dict.fromkeys(prompts))
    if len(distinct) == 1:
        return encode_prompts(base, distinct)
    # each alone, so that rounding does not depend on what else is in the batch
    states = {prompt: encode_prompts(base, [prompt]) for prompt in distinct}
    return _stacked([states[prompt] for prompt in prompts])


def _with_noise(base: Base, seed: int, noise: float) -> Base:
    if base.token_rows is None:
        return base
    generator = torch.Generator().manual_seed(seed)
    parts = base.token_rows.split(base.row_widths, dim=1)
    noisy = [noisy_rows(part, noise, generator) for part in parts]
    return replace(base, token_rows=torch.cat(noisy, dim=1))


def noisy_rows(
    rows: Float[Tensor, "vectors width"], noise: float, generator: torch.Generator
) -> Float[Tensor, "vectors width"]:
    """Rows with Gaussian noise, whose expected squared norm is (noise x the row's norm)^2.

    DIAGen (Lingenberg et al. 2024, arXiv 2408.14584) varies a learnt token in the same way, with a size that does not
    depend on the row's norm.
    """
    # r + noise * |r| / sqrt(width) * e, e ~ N(0, 1) in each of width dimensions
    scale = noise * rows.norm(dim=1, keepdim=True) / math.sqrt(rows.shape[1])
    return rows + scale * torch.randn(rows.shape, generator=generator).to(rows)


def _stacked(states: Sequence[TextStates]) -> TextStates:
    pooled = [one.pooled for one in states if one.pooled is not None]
    return TextStates(hidden=torch.cat([one.hidden for one in states]), pooled=torch.cat(pooled) if pooled else None)
