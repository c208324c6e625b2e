"""LoRA adapters as files that diffusers loads, each beside the token that it stands on, with its model card.

This module does not know how an adapter was learnt.
"""

from pathlib import Path

from flowerti.export.contents import Contents
from flowerti.export.model_card import Card, model_card, write_samples
from flowerti.export.model_header import shapes_in, with_metadata
from flowerti.export.snippets import snippet
from flowerti.export.tokens import header_of, write_token

_TECHNIQUE = "lora"
_FILE = "pytorch_lora_weights.safetensors"


def write_adapters(contents: Contents, folder: Path) -> None:
    """Write ti-<name>-lora/ with adapter, token, README.md and images for every class that has an adapter.

    Raises:
        ValueError: no class has one.
    """
    learned = {name: one for name in contents.weak if (one := contents.learned(name, _TECHNIQUE)) is not None}
    tokens = {name: one for name in learned if (one := contents.learned(name)) is not None}
    if not tokens:
        raise ValueError(
            f"{contents.run.uri}: no adapter has been learnt: add lora to sampling.sources, and let it go on"
        )
    for class_name, token in tokens.items():
        word, adapter = contents.words[class_name], learned[class_name]
        own = folder / f"{word}-lora"
        own.mkdir()
        is_xl = "clip_g" in shapes_in(write_token(contents, token, own))
        content = contents.learnt_bytes(adapter, _FILE)
        file = own / f"{word}-lora.safetensors"
        file.write_bytes(with_metadata(content, header_of(contents, adapter, content, "lora")))
        card = Card(
            title=f"{class_name}: an adapter and its token for {contents.base_model}",
            kind="adapter",
            tags=("lora",),
            what=f"A LoRA adapter of the U-Net for the class “{class_name}”, on its token `{word}.safetensors`",
            snippet=snippet(
                contents.base_model, word, contents.experiment.sampling, is_xl=is_xl, adapter_file=file.name
            ),
            samples=write_samples(contents, class_name, (_TECHNIQUE,), own),
        )
        (own / "README.md").write_text(model_card(contents, class_name, adapter, card), encoding="utf-8")
