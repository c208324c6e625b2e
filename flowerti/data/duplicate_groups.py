"""Groups of images that are alike, whatever their class: what a cut of a data set must keep together.

Two images are alike if their bytes are the same or their thumbnails correlate above `CORRELATION_LIMIT`, plain or
mirrored: what the scoring calls near duplicates. Likeness is followed from image to image, so that A and C are in one
group where both are like B. This module does not know about splits.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32

from flowerti.data.dataset import Record
from flowerti.data.image_pass import ImagePass
from flowerti.data.thumbnails import CORRELATION_LIMIT, correlations

_BLOCK = 1024


def duplicate_groups(records: Sequence[Record], images: ImagePass) -> list[list[str]]:
    """Find the groups of at least two images that are alike.

    Time grows with the square of the number of images (8,189 take seconds), memory with the number.

    Args:
        records: all images of the data set.
        images: a pass over them that takes thumbnails; unreadable ones are like no other.

    Returns:
        Ids, sorted within each group and by the first one.

    Raises:
        ValueError: an image cannot be read; names it.
    """
    ordered = sorted(records, key=lambda record: record.id)
    looks = images.of(ordered)
    readable = [(record.id, look) for record, look in zip(ordered, looks, strict=True) if look.thumbnail is not None]
    if not readable:
        return []
    flat = np.stack([look.thumbnail for _, look in readable if look.thumbnail is not None])
    pairs = [*_same_bytes([look.digest for _, look in readable]), *_alike(flat)]
    return [[readable[place][0] for place in group] for group in _components(len(readable), pairs)]


def _same_bytes(digests: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Each image with the first one of the same bytes; thumbnails do not tell images of one colour."""
    first: dict[str, int] = {}
    for place, digest in enumerate(digests):
        if first.setdefault(digest, place) != place:
            yield first[digest], place


def _alike(flat: Float32[np.ndarray, "num pixels"]) -> Iterator[tuple[int, int]]:
    """Places of images whose thumbnails correlate above the limit, plain or mirrored."""
    for begin in range(0, len(flat), _BLOCK):
        for other in range(begin, len(flat), _BLOCK):
            values = correlations(flat[begin : begin + _BLOCK], flat[other : other + _BLOCK]).max(axis=2)
            for i, j in np.argwhere(values > CORRELATION_LIMIT):
                if begin + i < other + j:
                    yield int(begin + i), int(other + j)


def _components(num: int, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Connected components of at least two places, sorted."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not pairs:
        return []
    first, second = np.array(pairs).T
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (first, second)), shape=(num, num))
    labels = connected_components(graph, directed=False)[1]
    members: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        members.setdefault(int(label), []).append(place)
    return [group for group in members.values() if len(group) > 1]
