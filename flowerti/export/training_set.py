"""The images of an augmented training set: real ones of the training split and drawn ones, as one list.

Validation and test images never leave a run: whoever trains elsewhere has nothing here to train on by mistake. This
module does not know in which form the images leave.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from flowerti.artifacts import layout
from flowerti.artifacts.records import AlikeImages, Census, SplitLists
from flowerti.data.access import list_records, reader_of
from flowerti.data.census import census_key, split_lists
from flowerti.data.dataset import Dataset, Record, without
from flowerti.data.image_hashes import ImageHashes, KnownHashes
from flowerti.data.image_pass import ImagePass
from flowerti.data.imbalance import imbalanced
from flowerti.data.sources.files import FILES
from flowerti.data.sources.implementation import ImageReader
from flowerti.export.contents import Contents
from flowerti.export.provenance import Drawing, marked_png
from flowerti.export.synthetic import DrawnImage, drawn_images
from flowerti.tables.sources import SOURCES

_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportImage:
    """One image of a training set."""

    class_id: int
    class_name: str
    file: str
    """Its name, which no other image of the class has."""
    read: Callable[[], bytes]
    """Its encoded bytes."""
    path: Path | None = None
    """Where it is a file of its own; None where it is not."""
    is_synthetic: bool
    fields: dict[str, Any] = field(default_factory=dict)
    """What is known of how it was drawn, or the id of a real one in the data set."""


def training_set(contents: Contents) -> list[ExportImage]:
    """Real and drawn images of a run, class by class in the order of their ids; the real ones first.

    Raises:
        ValueError: the learning is of another draw of training images, the data set is not what the run had, a ratio
            asks for more images than there are, or there are none.
    """
    check_draw(contents)
    dataset = None if contents.holds_back_real else dataset_of(contents)
    found: list[ExportImage] = []
    for name in contents.class_names:
        if dataset is not None:
            records = dataset.of("train", name)
            found += [
                _real(record, name, place, contents.experiment.data.image_size_px)
                for place, record in enumerate(records)
            ]
        if name in contents.weak:
            found += drawn_of_class(contents, name)
    if not found:
        raise ValueError(f"{contents.run.uri}: it holds no image that may leave it: let the run draw some")
    return found


def check_draw(contents: Contents) -> None:
    """Refuse a learning whose training images are not the training split.

    Raises:
        ValueError: it is of another draw of them.
    """
    replication, learning = contents.experiment.replication, contents.request.learning
    if replication.draw_of(learning):
        raise ValueError(
            f"--learning: {learning} was learnt on another draw of training images than the training split: choose one "
            f"below {replication.num_learnings}"
        )


def _census(contents: Contents, key: str | None = None) -> Census:
    found = contents.run.load(layout.CENSUS, Census, key)
    if found is None:
        raise ValueError(
            f"{contents.run.uri}/{layout.CENSUS}: the images in {contents.experiment.data.root or 'the data set'} are "
            "no longer those that the run had: bring them back, or start a new run"
        )
    return found


def dataset_of(contents: Contents) -> Dataset:
    """The data set as the run cut it; only images whose files were written since are opened.

    Raises:
        ValueError: it is not what the run had; says what to do.
    """
    run, experiment = contents.run, contents.experiment
    listed = list_records(experiment.data, experiment.seed)
    hashes = ImageHashes(run.load(layout.IMAGE_HASHES, KnownHashes), ImagePass(experiment.data))
    alike = run.load(layout.ALIKE, AlikeImages)
    dataset = imbalanced(listed, experiment.imbalance, experiment.seed, alike.groups if alike else [])
    readable = without(dataset, _census(contents, census_key(dataset, experiment.data, hashes)).unreadable)
    splits = run.load(layout.SPLITS, SplitLists)
    if splits is None or splits.sha256 != split_lists(readable).sha256:
        raise ValueError(f"{run.uri}/{layout.SPLITS}: the images split otherwise now: start a new run")
    return readable


def _real(record: Record, class_name: str, place: int, size_px: int) -> ExportImage:
    reader = reader_of(record.address)
    path = Path(record.address) if reader is FILES else None
    if (draw := reader.draw) is not None:
        # drawn by rule, at the side that the run saw
        suffix, read = ".png", lambda: _png_of(draw(record.address, size_px))
    else:
        suffix, read = _suffix_of(record, path, reader), lambda: reader.identify(record.address)
    return ExportImage(
        class_id=record.class_id,
        class_name=class_name,
        file=f"real-{place:06d}{suffix}",
        read=read,
        path=path,
        is_synthetic=False,
        fields={"image_id": record.id},
    )


def _png_of(image: UInt8[np.ndarray, "height width 3"]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()


def _suffix_of(record: Record, path: Path | None, reader: ImageReader) -> str:
    if path is not None:
        return {".jpeg": ".jpg"}.get(path.suffix.lower(), path.suffix.lower())
    with Image.open(io.BytesIO(reader.identify(record.address))) as image:
        return _SUFFIXES.get(image.format or "", ".img")


def drawn_of_class(contents: Contents, class_name: str) -> list[ExportImage]:
    """The drawn images of a weak class; each says in its file that it was drawn.

    Raises:
        ValueError: a ratio asks for more than there are.
    """
    class_id = contents.class_names.index(class_name)
    num_real = _census(contents).counts[class_id].num_train
    return [
        _drawn(contents, class_id, image) for image in drawn_images(contents, class_name, contents.sources, num_real)
    ]


def _drawn(contents: Contents, class_id: int, image: DrawnImage) -> ExportImage:
    fields, source = image.fields, SOURCES[image.fields["source"]]
    name = fields["class_name"]
    learning = f"-learning-{fields['learning']}" if fields["learning"] else ""
    return ExportImage(
        class_id=class_id,
        class_name=name,
        file=f"{source.name}{learning}-{fields['index']:06d}.png",
        read=lambda: marked_png(image.png(contents), drawing_of(contents, image)),
        is_synthetic=True,
        fields=fields | {"prompt": contents.prompt_elsewhere(name, fields["prompt"] or "")},
    )


def drawing_of(contents: Contents, image: DrawnImage) -> Drawing:
    """How an image was drawn, in the words of other programs."""
    fields, source = image.fields, SOURCES[image.fields["source"]]
    return Drawing(
        prompt=contents.prompt_elsewhere(fields["class_name"], fields["prompt"] or "", is_web=True),
        negative_prompt=fields.get("negative_prompt") or "",
        seed=fields["seed"],
        num_steps=contents.experiment.sampling.num_inference_steps if source.has_steps else 0,
        guidance_scale=fields.get("guidance_scale"),
        strength=fields.get("strength") if source.has_strength else None,
        base=contents.base_model,
        base_sha256=contents.base_sha256,
        starts_from_image=source.starts_from_images,
    )
