"""Detects copies of training images among synthetic images, and near duplicates across splits.

Pixels decide: copies by `alignment`, whatever was shifted, cropped, rotated, mirrored or recoloured; near duplicates by
`thumbnails.correlations`. Features only rank other images for manual inspection. This module does not know about files,
models or where features come from.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Float64, Int64

from flowerti.artifacts.scores import CopyCheck, CopyPair, NearDuplicate
from flowerti.data.dataset import SPLITS, Record
from flowerti.data.thumbnails import CORRELATION_LIMIT, check_thumbnails, correlations
from flowerti.scoring.alignment import COPY_LIMIT, Originals, aligned_pairs, find_copies, originals_of
from flowerti.scoring.nearest_images import (
    SIMILARITY_QUANTILE,
    Images,
    check_images,
    held_out_similarities,
    nearer_p_value,
    similarities,
)

__all__ = ["SIMILARITY_QUANTILE", "Images", "check_copies", "copied_from", "held_out_similarities", "near_duplicates"]

_BLOCK = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticSet:
    """The synthetic images of one class and source, in one view."""

    class_name: str
    source: str
    extractor: str
    """Name of the network of the features."""
    images: Images

    @property
    def where(self) -> str:
        """The set's name in errors."""
        return f"class {self.class_name!r}, source {self.source!r}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CopiedFrom:
    """Images that synthetic ones may copy: all training images at hand, of whatever class."""

    images: Images
    prepared: Originals
    """The same images' thumbnails, prepared once for all sets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Match:
    """Indices of two records that are near duplicates."""

    first: int
    second: int
    correlation: float
    is_mirrored: bool


def near_duplicates(
    records: Sequence[Record],
    class_names: Sequence[str],
    flat: Float[np.ndarray, "num pixels"],
    identical: Sequence[Sequence[str]] = (),
) -> list[NearDuplicate]:
    """Find near duplicates in different splits, plain or mirrored, within a class or between two.

    Time grows with the product of the splits' sizes, memory with their sum.

    Args:
        records: all images of the data set.
        class_names: names of the classes, by class id.
        flat: thumbnails of the records, in their order.
        identical: groups of ids of byte-identical images from the census; they are always listed.

    Returns:
        Byte-identical pairs first, then in descending order of correlation.

    Raises:
        ValueError: thumbnails do not fit the records, or a group names an unknown id.
    """
    check_thumbnails("near duplicates", flat, len(records))
    known = {record.id for record in records}
    unknown = sorted({name for group in identical for name in group} - known)
    if unknown:
        raise ValueError(f"near duplicates: identical names {unknown[0]!r}, which is not among the records")
    same_bytes = {frozenset(pair) for group in identical for pair in combinations(group, 2)}
    found = {frozenset((records[m.first].id, records[m.second].id)): m for m in _matches(records, flat)}
    found |= _same_bytes_matches(records, same_bytes - set(found))
    pairs = [
        _near_duplicate(records, class_names, match, is_identical=ids in same_bytes) for ids, match in found.items()
    ]
    return sorted(pairs, key=lambda p: (not p.is_identical, -p.pixel_correlation, p.first_id, p.second_id))


def _same_bytes_matches(records: Sequence[Record], pairs: Collection[frozenset[str]]) -> dict[frozenset[str], _Match]:
    """Byte-identical pairs across splits that thumbnails cannot detect, such as images of a single colour."""
    places = {record.id: i for i, record in enumerate(records)}
    found = {}
    for pair in pairs:
        i, j = sorted((places[name] for name in pair), key=lambda place: SPLITS.index(records[place].split))
        if records[i].split != records[j].split:
            found[pair] = _Match(first=i, second=j, correlation=1.0, is_mirrored=False)
    return found


def _near_duplicate(
    records: Sequence[Record], class_names: Sequence[str], match: _Match, *, is_identical: bool
) -> NearDuplicate:
    first, second = records[match.first], records[match.second]
    return NearDuplicate(
        first_id=first.id,
        first_split=first.split,
        first_class=class_names[first.class_id],
        second_id=second.id,
        second_split=second.split,
        second_class=class_names[second.class_id],
        is_identical=is_identical,
        is_mirrored=match.is_mirrored,
        pixel_correlation=match.correlation,
    )


def _matches(records: Sequence[Record], flat: Float[np.ndarray, "num pixels"]) -> Iterator[_Match]:
    """Images of different splits whose thumbnails correlate above the limit."""
    members = {split: np.array([i for i, r in enumerate(records) if r.split == split], np.int64) for split in SPLITS}
    for first, second in combinations(SPLITS, 2):
        for block in _blocks(members[first]):
            for others in _blocks(members[second]):
                values = correlations(flat[block], flat[others])
                best = values.max(axis=2)
                for i, j in np.argwhere(best > CORRELATION_LIMIT):
                    yield _Match(
                        first=int(block[i]),
                        second=int(others[j]),
                        correlation=float(best[i, j]),
                        is_mirrored=bool(values[i, j, 1] > values[i, j, 0]),
                    )


def _blocks(places: Int64[np.ndarray, " num"]) -> list[Int64[np.ndarray, " _"]]:
    return [places[begin : begin + _BLOCK] for begin in range(0, len(places), _BLOCK)]


def copied_from(images: Images) -> CopiedFrom:
    """Prepare the images that synthetic ones may copy.

    Args:
        images: training images of any classes, in their plain and mirrored views.

    Raises:
        ValueError: features or thumbnails do not fit together or are not finite.
    """
    check_images("images that may be copied", images)
    return CopiedFrom(images=images, prepared=originals_of(images.thumbnails))


def check_copies(
    synthetic: SyntheticSet,
    train: Images,
    originals: CopiedFrom,
    held_out: Mapping[str, Float[np.ndarray, " _"]],
    num_closest: int = 12,
) -> CopyCheck:
    """Find copies of training images among the synthetic images of a class.

    A synthetic image is a copy if its aligned correlation with some original exceeds `COPY_LIMIT`, whatever its
    features, which do not match reliably after downscaling. The other pairs are those with the highest cosine among the
    class's own training images. The p-value uses held-out images of this class only: similarity differs by class.

    Args:
        synthetic: the set.
        train: the class's training images, in their plain and mirrored views.
        originals: training images of every class, which are looked for among the synthetic ones.
        held_out: `held_out_similarities` of every available class; pooled, they determine the similarity limit.
        num_closest: number of closest pairs to keep.

    Returns:
        The check; similarity limit and p-value are None where no held-out image of any class is new to training.

    Raises:
        ValueError: features or thumbnails do not fit or are not finite, or there are no held-out similarities.
    """
    _check_inputs(synthetic, train, originals, held_out)
    pool = np.concatenate(list(held_out.values()))
    own = held_out[synthetic.class_name] if len(held_out[synthetic.class_name]) else pool
    similarity = similarities(synthetic.images.features, train.features)
    copies = _copies(synthetic.images, originals)
    nearest = _nearest(synthetic.images, train, similarity, copies)
    pairs = [copies.get(name) or nearest[name] for name in synthetic.images.ids]
    return CopyCheck(
        class_name=synthetic.class_name,
        source=synthetic.source,
        extractor=synthetic.extractor,
        num_images=len(pairs),
        num_compared=len(originals.images.ids),
        similarity_limit=float(np.quantile(pool, SIMILARITY_QUANTILE)) if len(pool) else None,
        correlation_limit=COPY_LIMIT,
        copies=sorted(copies.values(), key=lambda pair: -pair.pixel_correlation),
        closest=sorted(pairs, key=lambda pair: -pair.similarity)[:num_closest],
        p_value=nearer_p_value(similarity.max(axis=(1, 2)), own) if len(own) else None,
    )


def _check_inputs(
    synthetic: SyntheticSet, train: Images, originals: CopiedFrom, held_out: Mapping[str, Float[np.ndarray, " _"]]
) -> None:
    check_images(f"class {synthetic.class_name!r}, training images", train)
    for of_any in (train, originals.images):
        check_images(synthetic.where, synthetic.images, of_any.features.shape[2])
    if synthetic.class_name not in held_out:
        raise ValueError(f"{synthetic.where}: no held-out similarities of the class; compute them first")


def _copies(synthetic: Images, originals: CopiedFrom) -> dict[str, CopyPair]:
    """The pair of each synthetic image that copies an original, with the one of the highest correlation."""
    found = find_copies(synthetic.thumbnails, originals.prepared)
    pairs = {}
    for row in np.argsort(found.correlation, kind="stable"):  # the last one of an image stays
        i, j = int(found.image[row]), int(found.original[row])
        cosines = similarities(synthetic.features[i : i + 1], originals.images.features[j : j + 1])
        pairs[synthetic.ids[i]] = CopyPair(
            image=synthetic.ids[i],
            train_id=originals.images.ids[j],
            is_mirrored=bool(found.is_mirrored[row]),
            similarity=float(cosines.max()),
            pixel_correlation=float(found.correlation[row]),
        )
    return pairs


def _nearest(
    synthetic: Images,
    train: Images,
    similarity: Float64[np.ndarray, "num num_train views"],
    copies: Collection[str],
) -> dict[str, CopyPair]:
    """Each synthetic image that is no copy with the training image of its class that has the highest cosine."""
    rows = [i for i, name in enumerate(synthetic.ids) if name not in copies]
    nearest = [np.unravel_index(int(similarity[i].argmax()), similarity[i].shape) for i in rows]
    places = [int(place) for place, _ in nearest]
    values = aligned_pairs(synthetic.thumbnails[rows], train.thumbnails[places]).correlation
    return {
        synthetic.ids[i]: CopyPair(
            image=synthetic.ids[i],
            train_id=train.ids[place],
            is_mirrored=bool(view == 1),
            similarity=float(similarity[i, place].max()),
            pixel_correlation=float(value),
        )
        for i, (place, view), value in zip(rows, nearest, values, strict=True)
    }
