"""The census of a data set: every image opened once, counted, hashed, and byte-identical ones across splits found.

Its fingerprint is what artifacts that depend on the images are keyed by; it follows their content and not where they
lie. This module does not know where a data set comes from.
"""

import hashlib
import json
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flowerti.artifacts.records import Census, ClassCount, SplitLists
from flowerti.config.experiment import DataConfig
from flowerti.data.dataset import (
    SPLITS,
    Dataset,
    Record,
    check_counts,
    count_by_split,
    decode_image,
    read_bytes,
    without,
)


def listing_key(dataset: Dataset) -> str:
    """Hash of which images there are and how large their files are; cheap, for noticing a changed folder."""
    rows = [(r.id, r.class_id, r.split, _size_of(r.address)) for r in dataset.records]
    return hashlib.sha256(json.dumps([dataset.class_names, rows]).encode()).hexdigest()


def _size_of(address: str) -> int | str:
    if address.startswith("herbarium:"):
        return read_bytes(address).decode()
    file = address.removeprefix("parquet:").rpartition("#")[0] if address.startswith("parquet:") else address
    try:
        return Path(file).stat().st_size
    except OSError:  # the census names it
        return -1


def split_lists(dataset: Dataset) -> SplitLists:
    """The ids of each split, written down so that a made split can be named and repeated."""
    ids = {split: [record.id for record in dataset.of(split)] for split in SPLITS}
    return SplitLists(**ids, sha256=hashlib.sha256(json.dumps(ids).encode()).hexdigest())


def take_census(dataset: Dataset, config: DataConfig) -> Census:
    """Open every image once: count, hash, find unreadable ones and byte-identical ones across splits.

    Raises:
        ValueError: an image cannot be read and config.skip_unreadable is off, or too few are left; names it.
    """
    with ThreadPoolExecutor() as threads:
        verdicts = list(threads.map(lambda r: _inspect(r, config.skip_unreadable), dataset.records))
    digests = {r.id: digest for r, digest in zip(dataset.records, verdicts, strict=True) if digest}
    unreadable = [r.id for r in dataset.records if r.id not in digests]
    kept = without(dataset, unreadable)
    check_counts(kept)
    counts = count_by_split(kept)
    rows = sorted((r.id, r.class_id, r.split, digests[r.id]) for r in kept.records)
    return Census(
        fingerprint=hashlib.sha256(json.dumps([dataset.class_names, rows]).encode()).hexdigest(),
        counts=[
            ClassCount(
                class_name=name,
                num_train=counts[i, "train"],
                num_validation=counts[i, "validation"],
                num_test=counts[i, "test"],
            )
            for i, name in enumerate(dataset.class_names)
        ],
        unreadable=unreadable,
        duplicates=_straddling_duplicates(kept, digests),
    )


def _inspect(record: Record, skip_unreadable: bool) -> str:
    try:
        content = read_bytes(record.address)
        if not record.address.startswith("herbarium:"):
            decode_image(content, 8, record.address)
    except ValueError:
        if not skip_unreadable:
            raise
        return ""
    return hashlib.sha256(content).hexdigest()


def _straddling_duplicates(dataset: Dataset, digests: dict[str, str]) -> list[list[str]]:
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in dataset.records:
        groups[digests[record.id]].append(record)
    return sorted(sorted(r.id for r in g) for g in groups.values() if len({r.split for r in g}) > 1)
