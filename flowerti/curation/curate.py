"""All filters of a run on the images of one class, source and learning; and what they kept over all of them.

This module does not know where features come from, nor about Ray or files.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float64, Int64

from flowerti.artifacts.curation import AcceptanceRow, CuratedSet
from flowerti.artifacts.records import ImageSet
from flowerti.config.filters import FiltersConfig
from flowerti.curation.judge import Judge
from flowerti.curation.rules import Evidence, rule_of
from flowerti.scoring.nearest_images import similarities
from flowerti.tables.filters import FILTERS


def evidence_of(
    class_id: int,
    drawn: Float[np.ndarray, "num views dim"],
    real: Float[np.ndarray, "real views dim"],
    judge: Judge | None = None,
    clip_ids: Int64[np.ndarray, " num"] | None = None,
) -> Evidence:
    """What the filters look at.

    Args:
        class_id: the class of all images.
        drawn: features of the drawn images.
        real: features of the training images of the class that the images were drawn with.
        judge: of real training images; None where no filter asks for it.
        clip_ids: the class that CLIP takes each drawn image for; None where no filter asks for it.
    """
    between = similarities(real, real)
    # an image lies next to itself
    between[np.arange(len(real)), np.arange(len(real))] = -np.inf
    return Evidence(
        class_id=class_id,
        similarities=similarities(drawn, real).max(axis=(1, 2)),
        real_similarities=between.max(axis=(1, 2)) if len(real) > 1 else np.zeros(0),
        probabilities=judge.probabilities(drawn) if judge else None,
        clip_ids=clip_ids,
    )


def curate_set(images: ImageSet, evidence: Evidence, config: FiltersConfig, num_parts: int) -> CuratedSet:
    """The weights of a set's images: the product of all filters', each on one pool of images after the other."""
    num = len(evidence.similarities)
    by_filter = {
        name: np.concatenate(
            [
                rule_of(FILTERS[name])(_rows(evidence, part * num // num_parts, (part + 1) * num // num_parts), config)
                for part in range(num_parts)
            ]
        )
        for name in config.keep
    }
    weights: Float64[np.ndarray, " num"] = np.prod(list(by_filter.values()), axis=0)
    return CuratedSet(
        class_name=images.class_name,
        source=images.source,
        learning=images.learning,
        weights=weights.tolist(),
        refused={name: int((found == 0).sum()) for name, found in by_filter.items()},
        similarities=evidence.similarities.tolist(),
    )


def _rows(evidence: Evidence, begin: int, end: int) -> Evidence:
    rows, probabilities, clip_ids = slice(begin, end), evidence.probabilities, evidence.clip_ids
    return replace(
        evidence,
        similarities=evidence.similarities[rows],
        probabilities=None if probabilities is None else probabilities[rows],
        clip_ids=None if clip_ids is None else clip_ids[rows],
    )


def refused_sets(curated: Sequence[CuratedSet], num_parts: int) -> list[tuple[str, str]]:
    """The (class, source) of which a learning has a pool without any image that is kept, each once."""
    found = []
    for one in curated:
        parts = np.array_split(np.array(one.weights) > 0, _ends(len(one.weights), num_parts))
        if not all(part.any() for part in parts):
            found.append((one.class_name, one.source))
    return list(dict.fromkeys(found))


def _ends(num: int, num_parts: int) -> list[int]:
    """Where the pools of `TrialData.kept` end, but for the last one."""
    return [(part + 1) * num // num_parts for part in range(num_parts - 1)]


def acceptance_rows(curated: Sequence[CuratedSet], left_out: Sequence[tuple[str, str]]) -> list[AcceptanceRow]:
    """What was kept of each class and source, over its learnings, in the order of the sets."""
    groups: dict[tuple[str, str], list[CuratedSet]] = {}
    for one in curated:
        groups.setdefault((one.class_name, one.source), []).append(one)
    return [_acceptance(sets, key in left_out) for key, sets in groups.items()]


def _acceptance(sets: Sequence[CuratedSet], is_left_out: bool) -> AcceptanceRow:
    weights = np.concatenate([np.array(one.weights) for one in sets])
    values, kept = np.concatenate([np.array(one.similarities) for one in sets]), weights > 0
    return AcceptanceRow(
        class_name=sets[0].class_name,
        source=sets[0].source,
        num_drawn=len(weights),
        num_kept=int(kept.sum()),
        share_kept=float(kept.mean()),
        mean_weight=float(weights[kept].mean()) if kept.any() else 0.0,
        refused={name: sum(one.refused[name] for one in sets) for name in sets[0].refused},
        similarity_kept=float(values[kept].mean()) if kept.any() else None,
        similarity_refused=float(values[~kept].mean()) if (~kept).any() else None,
        is_left_out=is_left_out,
    )
