"""Learnt tokens as files that diffusers, AUTOMATIC1111 and ComfyUI read alike, each in a folder with its model card.

This module does not know how a token was learnt.
"""

import json
from pathlib import Path

from flowerti.artifacts.records import Learned
from flowerti.base_files import resolve_folder
from flowerti.export.class_words import trigger_of
from flowerti.export.contents import Contents
from flowerti.export.model_card import Card, model_card, write_samples
from flowerti.export.model_header import architecture_of, shapes_in, with_metadata
from flowerti.export.snippets import snippet
from flowerti.export.synthetic import size_drawn_at

TOKENS = "textual_inversion"
TOKEN_FILE = "learned_embeds.safetensors"


def write_tokens(contents: Contents, folder: Path) -> None:
    """Write ti-<name>/ti-<name>.safetensors with README.md and images for every class that has a token.

    Raises:
        ValueError: no class has one.
    """
    learned = {name: one for name in contents.weak if (one := contents.learned(name)) is not None}
    if not learned:
        raise ValueError(
            f"{contents.run.uri}: no token has been learnt: let the run go on, or choose another --learning"
        )
    for class_name, one in learned.items():
        word = contents.words[class_name]
        own = folder / word
        own.mkdir()
        content = write_token(contents, one, own)
        samples = write_samples(contents, class_name, ("token",), own)
        card = Card(
            title=f"{class_name}: a token for {contents.base_model}",
            kind="textual inversion",
            tags=("textual_inversion",),
            what=f"{one.num_vectors} learnt embedding rows for the class “{class_name}”",
            snippet=snippet(
                contents.base_model, word, contents.experiment.sampling, is_xl="clip_g" in shapes_in(content)
            ),
            samples=samples,
        )
        (own / "README.md").write_text(model_card(contents, class_name, one, card), encoding="utf-8")


def write_token(contents: Contents, learned: Learned, folder: Path) -> bytes:
    """Write the file of one token and return its content."""
    content = contents.learnt_bytes(learned, TOKEN_FILE)
    word = contents.words[learned.class_name]
    # SDXL's two tensors have names that programs go by
    names = {} if "clip_g" in shapes_in(content) else {learned.token: trigger_of(word)}
    written = with_metadata(content, header_of(contents, learned, content, "textual-inversion"), names)
    (folder / f"{word}.safetensors").write_bytes(written)
    return written


def usage_of(word: str) -> str:
    """How the word is written in each program."""
    return f"{word} in AUTOMATIC1111, embedding:{word} in ComfyUI, {trigger_of(word)} in diffusers"


def header_of(contents: Contents, learned: Learned, content: bytes, kind: str) -> dict[str, str]:
    """ModelSpec's keys without a date, so that the same result has the same bytes, and what else is known."""
    word = contents.words[learned.class_name]
    architecture = architecture_of(text_width_of(shapes_in(content)), _prediction_type(contents))
    size = size_drawn_at(contents)
    return ({"modelspec.resolution": f"{size[0]}x{size[1]}"} if size else {}) | {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{architecture}/{kind}",
        "modelspec.implementation": "diffusers",
        "modelspec.title": f"{learned.class_name} ({word})",
        "modelspec.description": f"Learnt by flowerti on {learned.num_images} images of class {learned.class_name}.",
        "modelspec.trigger_phrase": word,
        "modelspec.usage_hint": usage_of(word),
        "flowerti.base_model": contents.base_model,
        "flowerti.base_sha256": learned.base_sha256,
        "flowerti.class_name": learned.class_name,
        "flowerti.technique": learned.technique,
    }


def text_width_of(shapes: dict[str, list[int]]) -> int:
    """Width of the text states that the base's U-Net sees, from the shapes of a token or of an adapter."""
    # an adapter of the U-Net: A [rank, inputs] of the keys of cross-attention
    keys = [shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.lora_A.weight")]
    return keys[0] if keys else sum(shape[1] for shape in shapes.values())


def _prediction_type(contents: Contents) -> str:
    base = resolve_folder(contents.experiment.base)
    file = base / "scheduler" / "scheduler_config.json" if base else None
    if file is None or not file.is_file():
        return ""
    return json.loads(file.read_text(encoding="utf-8")).get("prediction_type", "")
