"""The card of an exported token or adapter, README.md in the form of the Hugging Face Hub, and the images beside it.

Images are drawn ones that start from noise: no real one, nor one that shows a real one, gets into a card. This module
does not know how anything was learnt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowerti.artifacts.records import Learned
from flowerti.export.class_words import trigger_of
from flowerti.export.contents import Contents
from flowerti.export.provenance import marked_png
from flowerti.export.synthetic import drawn_images
from flowerti.export.training_set import drawing_of
from flowerti.tables.sources import SOURCES

_NUM_SAMPLES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One image of a card."""

    file: str
    prompt: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What is particular to one card."""

    title: str
    kind: str
    tags: tuple[str, ...]
    what: str
    """What the file holds."""
    snippet: str
    """Python that draws an image with it."""
    samples: Sequence[Sample]


def write_samples(contents: Contents, class_name: str, sources: Sequence[str], folder: Path) -> list[Sample]:
    """Write the first images of a class that were drawn with its token to images/; none where there are none."""
    drawn = [name for name in sources if name in contents.experiment.sampling.sources]
    assert not any(SOURCES[name].starts_from_images for name in drawn)
    found = []
    for image in drawn_images(contents, class_name, drawn)[:_NUM_SAMPLES]:
        file = folder / "images" / f"{image.fields['source']}-{image.fields['index']:06d}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(marked_png(image.png(contents), drawing_of(contents, image)))
        prompt = contents.prompt_elsewhere(class_name, image.fields["prompt"] or "")
        found.append(Sample(file=f"images/{file.name}", prompt=prompt))
    return found


def model_card(contents: Contents, class_name: str, learned: Learned, card: Card) -> str:
    """The text of README.md."""
    from huggingface_hub import ModelCardData

    word = contents.words[class_name]
    data = ModelCardData(
        base_model=contents.base_model,
        base_model_relation="adapter",
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=["text-to-image", "stable-diffusion", "diffusers", "flowerti", *card.tags],
        instance_prompt=trigger_of(word),
        widget=[{"text": one.prompt, "output": {"url": one.file}} for one in card.samples] or None,
    )
    shown = "\n".join(f"![drawn image]({one.file})" for one in card.samples)
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {card.title}",
        f"{card.what}, learnt by flowerti on the frozen base `{contents.base_model}` from {learned.num_images} "
        f"training images in {learned.num_steps} steps (the best, which is kept, after {learned.best_step}).",
        f"Its word is `{word}` in AUTOMATIC1111, `embedding:{word}` in ComfyUI and `{trigger_of(word)}` in diffusers.",
        f"{shown}\n\nDrawn images, the first ones and not the best; no photograph is shown." if shown else "",
        f"```python\n{card.snippet}\n```",
        f"The content hash of the base's files is `{learned.base_sha256}`. On another base the {card.kind} does not "
        "mean the same.",
        _finding(contents),
        "Licence: none is named here; choose one that the base and the source of the training images allow.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _finding(contents: Contents) -> str:
    found = contents.summary.get("recommendation")
    return f"What the run found about images of the class in training: {found}" if found else ""
