"""The drawn images of a run that leave it, in the order and choice in which the sweep's first repetition adds them.

This module does not know in which form they leave.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from flowerti.artifacts import layout
from flowerti.artifacts.identity import num_synthetic, seed_for
from flowerti.data.shards import read_rows, synthetic_address, synthetic_png
from flowerti.export.contents import Contents
from flowerti.tables.sources import SOURCES


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnImage:
    """Where one drawn image lies, and what is known of it."""

    shard: str
    row: int
    fields: dict[str, Any]
    """The columns of its shard but the image itself; its weight is that of the filters as well."""

    @property
    def address(self) -> str:
        """Its `shards.synthetic_address`."""
        return synthetic_address(self.shard, self.row)

    def png(self, contents: Contents) -> bytes:
        """The image as it was drawn."""
        return synthetic_png(contents.run, self.address)


def drawn_images(
    contents: Contents, class_name: str, sources: Sequence[str], num_real: int | None = None
) -> list[DrawnImage]:
    """The images of a class that leave the run, by source and index.

    Args:
        contents: the run and what is asked of it.
        class_name: a weak class.
        sources: whose images.
        num_real: the class's training images, of which the asked ratio is a multiple; None for all images that were
            kept, whatever is asked.

    Raises:
        ValueError: a ratio asks for more than were kept, or a shard is damaged.
    """
    found, ratio = [], contents.request.ratio
    for source in sources:
        of_source = images_of(contents, class_name, source, contents.request.learning)
        kept = [one for one in of_source if one.fields["weight"] > 0]
        if ratio is not None and num_real is not None and of_source:
            kept = _first_repetition(contents, class_name, of_source, num_synthetic(ratio, num_real))
        found += kept
    return found


def size_drawn_at(contents: Contents) -> tuple[int, int] | None:
    """Width and height, in pixels, at which the base draws; None where nothing was drawn yet."""
    shard = next((names[0] for names in contents.shards.values()), None)
    if shard is None:
        return None
    with Image.open(io.BytesIO(read_rows(contents.run, shard)[0]["image"]["bytes"])) as image:
        return image.size


def images_of(contents: Contents, class_name: str, source: str, learning: int) -> list[DrawnImage]:
    """All images of a class and source that the settings ask for, by index; those that filters refuse have weight 0.

    Args:
        contents: the run.
        class_name: a weak class.
        source: whose images.
        learning: which of the class's learnings drew them; of no effect where all of them have the same images.

    Raises:
        ValueError: a shard is damaged.
    """
    learning = learning if SOURCES[source].is_per_learning else 0
    images = list(_images_in(contents, contents.shards.get(layout.shards(class_name, source, learning), [])))
    weights = _curation_weights(contents, class_name, source, learning)
    for place, image in enumerate(images):
        image.fields["weight"] *= weights[place] if place < len(weights) else 1.0
    return images


def _images_in(contents: Contents, names: Sequence[str]) -> Iterator[DrawnImage]:
    num_wanted = contents.experiment.sampling.num_per_class
    for name in names:
        for row, columns in enumerate(read_rows(contents.run, name)):
            if columns["index"] < num_wanted:  # a run that draws fewer now leaves the shards of more behind
                fields = {key: value for key, value in columns.items() if key != "image"}
                weight = fields.get("weight")
                fields["weight"] = 1.0 if weight is None else weight
                yield DrawnImage(shard=name, row=row, fields=fields)


def _curation_weights(contents: Contents, class_name: str, source: str, learning: int) -> list[float]:
    wanted = (class_name, source, learning)
    sets = contents.curation.sets if contents.curation else []
    return next((one.weights for one in sets if (one.class_name, one.source, one.learning) == wanted), [])


def _first_repetition(contents: Contents, class_name: str, images: list[DrawnImage], count: int) -> list[DrawnImage]:
    """As `sweep.mixing` has it: a prefix of a permutation of what was kept in the repetition's pool, by index."""
    replication = contents.experiment.replication
    per_learning = replication.num_pools * replication.num_seeds
    kept = [i for i in range(len(images) // replication.num_pools) if images[i].fields["weight"] > 0]
    if count > len(kept):
        raise ValueError(
            f"--ratio: {contents.request.ratio:g} asks for {count} images of class {class_name!r}, and {len(kept)} "
            "were drawn and kept for it: ask for less"
        )
    class_id = contents.class_names.index(class_name)
    # the first repetition with this learning
    repetition = contents.request.learning * per_learning
    shuffle = np.random.default_rng(seed_for(contents.experiment.seed, str(class_id), "sweep/pool", repetition))
    return [images[i] for i in sorted(np.array(kept)[shuffle.permutation(len(kept))][:count].tolist())]
