"""Puts classes that are learnt together on one base: their tokens' rows and their images, one class after another.

The rows of class k follow those of the classes before it, and its captions hold their numbers, so that code that
encodes captions with the base's rows needs to know nothing of classes. This module does not know what is learnt.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.techniques import with_needs
from flowerti.diffusion import Base
from flowerti.personalization.denoising import EncodedImages
from flowerti.personalization.encoding import with_rows_from
from flowerti.personalization.store import applied


def with_each_token(
    base: Base, run: RunDirectory, class_names: Sequence[str], technique: str, learning: int
) -> list[Base]:
    """The base with the token of each class.

    Args:
        base: the loaded base.
        run: the run directory with the tokens.
        class_names: the classes.
        technique: what made their tokens.
        learning: which of the classes' learnings.

    Raises:
        ValueError: a class's token has not finished, or the technique leaves none, or may change the networks as well.
    """
    if len(with_needs(technique)) != 1:
        raise ValueError(f"{technique} stands on another technique: classes can be learnt together on tokens alone")
    with_tokens = []
    for class_name in class_names:
        with applied(base, run, class_name, technique, learning) as with_token:
            with_tokens.append(with_token)
    if any(one.token_rows is None for one in with_tokens):
        raise ValueError(f"{technique} leaves no token: classes can be learnt together on tokens alone")
    return with_tokens


def with_all_tokens(with_tokens: Sequence[Base]) -> Base:
    """The base with the rows of all classes, one after another; no single word stands for them."""
    rows = [one.token_rows for one in with_tokens if one.token_rows is not None]
    return replace(with_tokens[0], token="", token_rows=torch.cat(rows))


def put_together(with_tokens: Sequence[Base], of_classes: Sequence[EncodedImages]) -> EncodedImages:
    """The data of all classes, whose captions hold the rows of `with_all_tokens`.

    Args:
        with_tokens: the base with the token of each class.
        of_classes: the data of each class, prepared with its own token alone.
    """
    captions, num_rows = [], 0
    for one, data in zip(with_tokens, of_classes, strict=True):
        captions.append(with_rows_from(data.captions, one.vocabulary_size, num_rows))
        num_rows += 0 if one.token_rows is None else len(one.token_rows)
    return EncodedImages(
        mean=torch.cat([data.mean for data in of_classes]),
        std=torch.cat([data.std for data in of_classes]),
        captions=torch.cat(captions),
        num_views=tuple(len(data.mean) for data in of_classes),
    )
