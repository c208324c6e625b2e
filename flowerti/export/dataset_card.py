"""The card of an exported training set, README.md in the form of the Hugging Face Hub: what is in it, and what is not.

This module does not know in which form the images leave.
"""

from collections.abc import Sequence
from typing import Any

from flowerti.artifacts.identity import label_of, subject_of
from flowerti.config.techniques import techniques_for
from flowerti.export.columns import counts_of
from flowerti.export.contents import Contents
from flowerti.export.training_set import ExportImage
from flowerti.tables.sources import SOURCES

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def dataset_card(contents: Contents, images: Sequence[ExportImage], loading: str, **metadata: Any) -> str:
    """The text of README.md.

    Args:
        contents: the run.
        images: all images of the training set.
        loading: how it is read, in Markdown.
        metadata: more keys of the YAML block, as in `configs`.
    """
    from huggingface_hub import DatasetCardData

    size = next((name for limit, name in _SIZES if len(images) < limit), "1M<n<10M")
    data = DatasetCardData(
        pretty_name=f"{contents.experiment.name}, augmented training set",
        task_categories=["image-classification"],
        size_categories=[size],
        tags=["synthetic", "data-augmentation", "flowerti"],
        **metadata,
    )
    rows = "\n".join(f"| {_in_table(name)} | {real} | {drawn} |" for name, (real, drawn) in counts_of(images).items())
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {contents.experiment.name}, augmented training set",
        _origin(contents),
        _real_images(contents),
        f"| class | real images | drawn images |\n|---|---|---|\n{rows}",
        "Images of the validation and test splits are not in here.",
        f"## Loading\n\n{loading}",
        _finding(contents),
        "## Licence\n\nNone is named here: choose one that the source of the real images and the base allow.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _in_table(name: str) -> str:
    return name.replace("|", "\\|")


def _origin(contents: Contents) -> str:
    labels = ", ".join(SOURCES[name].label for name in contents.sources)
    hashed = f" (SHA-256 of its files `{contents.base_sha256}`)" if contents.base_sha256 else ""
    ratio = contents.request.ratio
    chosen = "all that were drawn and kept" if ratio is None else f"{ratio:g} for each real one of their class"
    sentences = [
        f"Drawn images come from the base `{contents.base_model}`{hashed} by {labels}, {chosen}.",
        "Each says so in its file: IPTC's DigitalSourceType in XMP, and its prompt, seed and settings.",
    ]
    learnt = _learnt_files(contents)
    if learnt:
        sentences.append("What they were drawn with, by the SHA-256 of its files in the run:")
    return " ".join(sentences) + ("\n\n" + "\n".join(learnt) if learnt else "")


def _learnt_files(contents: Contents) -> list[str]:
    """A line for each file of what the images were drawn with; those that all classes share once."""
    lines = []
    for technique in techniques_for(contents.sources):
        for class_name in contents.weak:
            subject = subject_of(class_name, is_joint=technique.is_joint)
            learned = contents.learned(subject, technique.name)
            files = learned.files.items() if learned else ()
            label = label_of(subject, contents.request.learning)
            lines += [f"- {label}: {name} `{sha256}`" for name, sha256 in files if not name.startswith("web/")]
    return list(dict.fromkeys(lines))


def _real_images(contents: Contents) -> str:
    if contents.holds_back_real:
        return "**Without real images**: the run's settings say that their licence does not let them be passed on."
    if not contents.experiment.data.show_images:
        return (
            "**Restricted real images**: the run's settings say that their licence does not let them be shown; they "
            "are in here because somebody asked for them. Do not pass them on."
        )
    return "Real images are as they were in the data set, with whatever their files hold, such as EXIF."


def _finding(contents: Contents) -> str:
    found = contents.summary.get("recommendation")
    return f"## What the run found\n\n{found}" if found else ""
