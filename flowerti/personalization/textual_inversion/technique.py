"""Textual Inversion (Gal et al. 2022, arXiv 2208.01618) as a technique: the tensor is a token's embedding rows.

This module combines initial rows, loss, files and nearest neighbours; it does not know how steps are taken.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.artifacts.identity import slug
from flowerti.artifacts.records import ConceptNeighbour
from flowerti.config.experiment import TextualInversionConfig
from flowerti.diffusion import Base
from flowerti.personalization.denoising import EncodedImages, Losses
from flowerti.personalization.encoding import token_of
from flowerti.personalization.technique import Content, Implementation
from flowerti.personalization.textual_inversion.embedding_files import diffusers_bytes, read_parts, web_bytes
from flowerti.personalization.textual_inversion.losses import denoising_losses
from flowerti.personalization.textual_inversion.neighbours import nearest_concepts, nearest_tokens
from flowerti.personalization.textual_inversion.norms import norm_keeper
from flowerti.personalization.textual_inversion.starts import check_initializer, start_rows

EMBEDDINGS = "learned_embeds.safetensors"
"""What diffusers' `load_textual_inversion` looks for."""


def web_file(class_name: str) -> str:
    """The file for AUTOMATIC1111 and ComfyUI; its name is the word to write there."""
    return f"web/{slug(class_name)}.safetensors"


def _losses(_base: Base, _data: Sequence[EncodedImages]) -> Losses:
    return denoising_losses


def _export(base: Base, rows: Float[Tensor, "vectors width"], class_name: str) -> dict[str, bytes]:
    return {
        EMBEDDINGS: diffusers_bytes(token_of(class_name), rows, base.row_widths),
        web_file(class_name): web_bytes(rows, base.row_widths),
    }


def _derived(content: Content) -> dict[str, bytes]:
    if EMBEDDINGS not in content.files:
        return {}
    parts = _parts(content)
    web = web_bytes(torch.cat(parts, dim=1), [part.shape[1] for part in parts])
    return {web_file(content.learned.class_name): web}


@contextmanager
def _apply(base: Base, content: Content) -> Iterator[Base]:
    rows = torch.cat(_parts(content), dim=1)
    yield replace(base, token=content.learned.token, token_rows=rows.to(base.device))


def _parts(content: Content) -> list[Float[Tensor, "vectors _"]]:
    return read_parts(content.files[EMBEDDINGS], content.learned.token)


def _neighbours_among(contents: Sequence[Content]) -> list[ConceptNeighbour]:
    parts = {content.learned.class_name: _parts(content) for content in contents}
    # all come from one base
    row_widths = [part.shape[1] for part in next(iter(parts.values()), [])]
    return nearest_concepts({name: torch.cat(of_class, dim=1) for name, of_class in parts.items()}, row_widths)


def _details(config: TextualInversionConfig) -> dict[str, str | int | float]:
    return {"start": config.start, "initializer_token": config.initializer_token}


def _check(folder: Path, config: TextualInversionConfig) -> None:
    if config.start == "initializer_token":
        check_initializer(folder, config.initializer_token)


TEXTUAL_INVERSION: Implementation[TextualInversionConfig] = Implementation(
    check=_check,
    num_vectors=lambda config: config.num_vectors,
    start=start_rows,
    losses=_losses,
    after_step=norm_keeper,
    export=_export,
    derived=_derived,
    apply=_apply,
    details=_details,
    neighbours=nearest_tokens,
    neighbours_among=_neighbours_among,
    can_compile=True,
)
