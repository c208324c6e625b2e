"""Finds the images of a data set that a base was trained on, and says for which classes that spoils a measurement.

A class whose validation or test images the base has seen cannot be a weak one: what it draws for it may repeat the very
images by which it is judged. This module does not know where a base or a data set comes from.
"""

from collections.abc import Collection

from flowerti.artifacts.records import SeenImages
from flowerti.artifacts.training_images import TrainingImages
from flowerti.data.census import class_counts
from flowerti.data.dataset import Dataset
from flowerti.data.image_pass import ImagePass


def count_seen(dataset: Dataset, images: ImagePass, known: TrainingImages) -> SeenImages:
    """Count the images that a base was trained on, by class and split.

    Args:
        dataset: readable images.
        images: a pass over them that hashes their pixels at the list's size.
        known: what the base was trained on; where it is said to be drawn, no image is opened.
    """
    looks = images.of(dataset.records) if known.sha256 else ()
    records = tuple(r for r, look in zip(dataset.records, looks, strict=False) if look.pixel_sha256 in known.sha256)
    rows = class_counts(Dataset(dataset.class_names, records))
    return SeenImages(
        fingerprint=known.fingerprint,
        drawn=known.drawn,
        counts=[row for row in rows if row.num_train + row.num_validation + row.num_test],
        held_out_ids=[record.id for record in records if record.split != "train"],
    )


def seen_held_out(seen: SeenImages | None) -> dict[str, str]:
    """Classes of which the base has seen held-out images, with a clause that says how many; none where unknown."""
    return {
        row.class_name: f"the base was trained on {row.num_validation} of its validation images and {row.num_test} of "
        "its test images"
        for row in (seen.counts if seen else ())
        if row.num_validation + row.num_test
    }


def check_unseen(class_names: Collection[str], seen: SeenImages | None) -> None:
    """Refuse weak classes that are named in the config and whose held-out images the base has seen.

    Raises:
        ValueError: there is one; names the first and says what to do.
    """
    spoilt = [(name, clause) for name, clause in seen_held_out(seen).items() if name in class_names]
    if spoilt:
        name, clause = spoilt[0]
        others = f", and on those of {len(spoilt) - 1} more" if len(spoilt) > 1 else ""
        raise ValueError(
            f"selection.class_names: {name!r} cannot be judged: {clause}{others}: select classes that it has not seen, "
            "use a base made without them (--held-out-classes), or set base.allow_seen_held_out"
        )
