"""Detects copies of training images among synthetic images, and near duplicates across splits.

The decision is made on pixels (`thumbnails.correlations` above its limit, plain or mirrored); features only rank other
images for manual inspection. This module does not know about files, models or where features come from.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from flowerti.artifacts.scores import CopyCheck, CopyPair, NearDuplicate
from flowerti.data.dataset import SPLITS, Record
from flowerti.data.thumbnails import CORRELATION_LIMIT, check_thumbnails, correlations

SIMILARITY_QUANTILE = 0.95
"""Share of held-out images below the similarity limit.

The limit only selects images for inspection, so a false-positive rate of 5 % is acceptable. A higher quantile would
miss slightly rescaled training images: on Oxford 102 their similarity falls to 0.89, which is above the 0.95 quantile
(0.87) and below the 0.99 quantile (0.91).
"""

_BLOCK = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """Images of one class; the three fields are aligned."""

    ids: list[str]
    """Ids of real images, paths of synthetic ones."""
    features: Float[np.ndarray, "_ _ _"]
    """[num, views, dim]: the plain view; for training images also the mirrored view."""
    thumbnails: Float[np.ndarray, "_ _"]
    """The output of `data.thumbnails.thumbnails`."""


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


def _check(name: str, images: Images, dim: int | None = None) -> None:
    num = len(images.ids)
    if num == 0 or images.features.shape[0] != num:
        raise ValueError(f"{name}: {len(images.features)} feature rows for {num} image(s); give one for each")
    if dim is not None and images.features.shape[2] != dim:
        raise ValueError(
            f"{name}: features of width {images.features.shape[2]}, but the training images' have {dim}; "
            "use one extractor for both"
        )
    if not np.isfinite(images.features).all():
        raise ValueError(f"{name}: features hold NaN or infinity; check the feature extractor")
    check_thumbnails(name, images.thumbnails, num)


def _similarities(
    x: Float[np.ndarray, "num_x views_x dim"], train: Float[np.ndarray, "num_train views dim"]
) -> Float64[np.ndarray, "num_x num_train views"]:
    """Cosines x.y / (|x| |y|) of the plain views with all views of the training images."""
    plain, views = x[:, 0].astype(np.float64), train.reshape(-1, train.shape[2]).astype(np.float64)
    plain /= np.maximum(np.linalg.norm(plain, axis=1, keepdims=True), 1e-12)
    views /= np.maximum(np.linalg.norm(views, axis=1, keepdims=True), 1e-12)
    # [num_x, dim] x [dim, num_train * views] -> [num_x, num_train, views]
    return (plain @ views.T).reshape(len(x), len(train), -1)


def held_out_similarities(class_name: str, train: Images, held_out: Images) -> Float64[np.ndarray, " num"]:
    """Highest similarity of each held-out real image of a class to its training images: the reference without copies.

    Args:
        class_name: the class, for errors.
        train: its training images, in their plain and mirrored views.
        held_out: its held-out real images; near duplicates of training images are excluded.

    Returns:
        The highest cosine of each held-out image.

    Raises:
        ValueError: features or thumbnails do not fit together or are not finite; names the class.
    """
    _check(f"class {class_name!r}, training images", train)
    _check(f"class {class_name!r}, held-out images", held_out, train.features.shape[2])
    is_new = correlations(held_out.thumbnails, train.thumbnails).max(axis=(1, 2)) <= CORRELATION_LIMIT
    return _similarities(held_out.features, train.features).max(axis=(1, 2))[is_new]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """Comparison of synthetic images with training images, in the order of the synthetic ones."""

    pairs: list[CopyPair]
    is_copy: Bool[np.ndarray, " num"]
    highest: Float64[np.ndarray, " num"]
    """Highest cosine of each synthetic image with a training image."""

    @property
    def copies(self) -> list[CopyPair]:
        """The pairs that are copies."""
        return [pair for pair, is_copy in zip(self.pairs, self.is_copy, strict=True) if is_copy]


def check_copies(
    class_name: str,
    source: str,
    extractor: str,
    synthetic: Images,
    train: Images,
    held_out: Mapping[str, Float[np.ndarray, " _"]],
    num_closest: int = 12,
) -> CopyCheck:
    """Find copies of training images of a class among its synthetic images.

    A synthetic image is a copy if its pixels correlate above `CORRELATION_LIMIT` with some training image, regardless
    of its features, which do not match reliably after downscaling. The other pairs are those with the highest cosine.
    The p-value uses the held-out images of this class only, because the similarity between images differs by class.

    Args:
        class_name: name of the class, for the record.
        source: name of the source of the synthetic images, for the record.
        extractor: name of the feature extractor, for the record.
        synthetic: the synthetic images, in one view.
        train: the class's training images, in their plain and mirrored views.
        held_out: `held_out_similarities` of every available class; pooled, they determine the similarity limit.
        num_closest: number of closest pairs to keep.

    Raises:
        ValueError: features or thumbnails do not fit together or are not finite, or the class has no held-out
            similarities; names class and source.
    """
    where = f"class {class_name!r}, source {source!r}"
    _check(f"class {class_name!r}, training images", train)
    found = _look(where, synthetic, train)
    pool = _pooled(where, class_name, held_out)
    own = held_out[class_name] if len(held_out[class_name]) else pool
    return CopyCheck(
        class_name=class_name,
        source=source,
        extractor=extractor,
        num_images=len(found.pairs),
        similarity_limit=float(np.quantile(pool, SIMILARITY_QUANTILE)),
        correlation_limit=CORRELATION_LIMIT,
        copies=sorted(found.copies, key=lambda pair: -pair.pixel_correlation),
        closest=sorted(found.pairs, key=lambda pair: -pair.similarity)[:num_closest],
        p_value=_nearer_p_value(found.highest, own),
    )


def _pooled(where: str, class_name: str, held_out: Mapping[str, Float[np.ndarray, " _"]]) -> Float[np.ndarray, " num"]:
    if class_name not in held_out:
        raise ValueError(f"{where}: no held-out similarities of the class; compute them first")
    pool = np.concatenate(list(held_out.values()))
    if len(pool) == 0:
        raise ValueError(f"{where}: no held-out image is new to the training images; the check needs some")
    return pool


def _look(where: str, synthetic: Images, train: Images) -> _Look:
    _check(where, synthetic, train.features.shape[2])
    similarity = _similarities(synthetic.features, train.features)
    correlation = correlations(synthetic.thumbnails, train.thumbnails)
    is_copy = correlation.max(axis=(1, 2)) > CORRELATION_LIMIT
    pairs = _nearest_pairs(synthetic, train, similarity, correlation, is_copy)
    return _Look(pairs=pairs, is_copy=is_copy, highest=similarity.max(axis=(1, 2)))


def _nearest_pairs(
    synthetic: Images,
    train: Images,
    similarity: Float64[np.ndarray, "num num_train views"],
    correlation: Float32[np.ndarray, "num num_train 2"],
    is_copy: Bool[np.ndarray, " num"],
) -> list[CopyPair]:
    """Pair each synthetic image with the training image that it copies, else with the one of the highest cosine."""
    pairs = []
    for i, name in enumerate(synthetic.ids):
        deciding = correlation[i] if is_copy[i] else similarity[i]
        place, view = np.unravel_index(int(deciding.argmax()), deciding.shape)
        pairs.append(
            CopyPair(
                image=name,
                train_id=train.ids[place],
                is_mirrored=bool(view == 1),
                similarity=float(similarity[i, place].max()),
                pixel_correlation=float(correlation[i, place].max()),
            )
        )
    return pairs


def _nearer_p_value(synthetic: Float64[np.ndarray, " num"], held_out: Float64[np.ndarray, " _"]) -> float:
    """One-sided Mann-Whitney test of the null "synthetic images are not closer"; 1 if all values are equal."""
    from scipy.stats import mannwhitneyu

    if np.ptp(np.concatenate([synthetic, held_out])) == 0:
        return 1.0
    return float(mannwhitneyu(synthetic, held_out, alternative="greater").pvalue)
