"""The gallery: all synthetic images of a run as thumbnails, with what is known of each, as far as there is place.

Photographs of the data set are among them only where they may be shown. This module does not know what a page looks
like.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flowerti.artifacts.image_scores import ImageScore, scores_by_image
from flowerti.artifacts.page_record import GalleryImage
from flowerti.artifacts.records import ImageSet, Selection
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.data.access import read_image
from flowerti.data.images import decode_image
from flowerti.data.shards import read_rows, synthetic_address
from flowerti.report.names import REAL, shows_photographs, source_order
from flowerti.report.web_images import thumbnail
from flowerti.study import Study

MAX_IMAGES = 1000
"""Synthetic images in the gallery."""
NUM_REAL = 8
"""Real images of each class beside them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """What the page shows of the images."""

    images: list[GalleryImage]
    num_not_shown: int
    nearest: dict[str, str]
    """Thumbnails of training images by id."""


def gallery_of(study: Study, selection: Selection, sets: Sequence[ImageSet]) -> Gallery:
    """Make the thumbnails of every selected class, an equal number of each set where not all have a place."""
    show_real, size_px = study.experiment.data.show_images, study.experiment.data.image_size_px
    names = [chosen.class_name for chosen in selection.selected]
    shown = [s for s in _in_order(sets, names) if show_real or not shows_photographs(s.source)]
    most = MAX_IMAGES // max(1, len(shown))
    scores = scores_by_image(study.run)
    found: list[GalleryImage] = []
    for name in names:
        found += list(_real_images(study, name)) if show_real else []
        for images in (s for s in shown if s.class_name == name):
            found += list(_of_set(study.run, images, min(most, images.num_images), size_px, scores))
    train_ids = {image.train_id for image in found} - {""} if show_real else set()
    addresses = {r.id: r.address for r in study.records_of("train") if r.id in train_ids} if train_ids else {}
    num_synthetic = sum(image.source != REAL for image in found)
    return Gallery(
        images=found,
        num_not_shown=sum(images.num_images for images in _in_order(sets, names)) - num_synthetic,
        nearest={one: thumbnail(read_image(address, size_px)) for one, address in addresses.items()},
    )


def _in_order(sets: Sequence[ImageSet], class_names: Sequence[str]) -> list[ImageSet]:
    order = source_order(images.source for images in sets)
    known = [images for images in sets if images.class_name in class_names]
    return sorted(known, key=lambda images: (class_names.index(images.class_name), order.index(images.source)))


def _real_images(study: Study, class_name: str) -> Iterator[GalleryImage]:
    for index, record in enumerate(study.records_of("validation", class_name)[:NUM_REAL]):
        image = read_image(record.address, study.experiment.data.image_size_px)
        yield GalleryImage(class_name=class_name, source=REAL, index=index, thumbnail=thumbnail(image))


def _of_set(
    run: RunDirectory, images: ImageSet, num: int, size_px: int, scores: Mapping[str, ImageScore]
) -> Iterator[GalleryImage]:
    rows = ((file, place, row) for file in images.files for place, row in enumerate(read_rows(run, file)))
    for index, (file, place, row) in zip(range(num), rows, strict=False):
        address = synthetic_address(file, place)
        score = scores.get(address)
        yield GalleryImage(
            class_name=images.class_name,
            source=images.source,
            index=index,
            thumbnail=thumbnail(decode_image(row["image"]["bytes"], size_px, address)),
            seed=row["seed"],
            prompt=row["prompt"] or "",
            probability=score.probability if score else None,
            similarity=score.similarity if score else None,
            train_id=score.train_id if score else "",
        )
