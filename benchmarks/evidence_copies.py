"""What the check for copies sees and what it calls a copy that is none, on drawn images and on photographs.

`python benchmarks/evidence_copies.py` prints one JSON object. The limits were chosen on images whose id has an even
SHA-256 (LOG.md); photographs are those of the other half, drawn images those of a seed that the choice did not see.
"""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from jaxtyping import UInt8

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.paired import print_result
from flowerti.config.experiment import DataConfig
from flowerti.data.access import list_records, read_images
from flowerti.scoring import copy_sensitivity as counting

Images = UInt8[np.ndarray, "num side side 3"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Plants copies and counts false ones."""

    quick: bool = False
    """A third of the images: a ninth of the pairs."""
    tiny: bool = False
    """As little as has every part of the answer; its numbers mean nothing."""
    root: str = "../shared/data/flowers102-64"
    """Oxford 102 in torchvision's layout; left out where the folder is missing or none is named."""


def copy_sensitivity(images: Images) -> dict[str, dict[str, float]]:
    """The share of planted copies that is found, by kind: value, low and high (95 %, Wilson), and num."""
    found = counting.copy_sensitivity(images)
    return {row.kind: {"value": row.share, "low": row.low, "high": row.high, "num": row.num_images} for row in found}


def false_copies(images: Images) -> dict[str, float]:
    """The share of pairs of different images that is called a copy: value, high and the number of pairs.

    `high` is the one-sided upper 95 % limit of Clopper and Pearson (1934, Biometrika 26). Near duplicates by the older
    check are left out; those that only this check finds count as false, though many show the same.
    """
    from scipy.stats import binomtest

    found = counting.false_copies(images)
    exact = binomtest(len(found.pairs), found.num_pairs, alternative="less")
    high = float(exact.proportion_ci(confidence_level=0.95, method="exact").high)
    return {"value": len(found.pairs) / found.num_pairs, "high": high, "num_pairs": found.num_pairs}


def drawn_images(num_per_split: int) -> Images:
    """Images of the drawn herbarium, of a seed of their own: that many of each species in each of three splits."""
    counts = dict.fromkeys(("num_train_common", "num_train_rare", "num_validation", "num_test"), num_per_split)
    records = list_records(DataConfig(kind="herbarium", **counts), seed=8).records
    return read_images([record.address for record in records], 64)


def photographs(root: str, every: int) -> Images | None:
    """Of Oxford 102 those that the limits were not chosen on, one in `every`; None where there is no folder."""
    if not root or not Path(root).is_dir():
        return None
    config = DataConfig(kind="flowers102", root=root, show_images=False)
    records = [r for r in list_records(config, seed=0).records if _is_odd(r.id)]
    return read_images([record.address for record in records[::every]], 64)


def _is_odd(name: str) -> bool:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 2 == 1


def evidence(options: Options) -> dict[str, Any]:
    """Both counts for both kinds of images."""
    num_per_split, every = (2, 200) if options.tiny else (20, 3) if options.quick else (60, 1)
    images = {"herbarium": drawn_images(num_per_split), "flowers": photographs(options.root, every)}
    rng = np.random.default_rng(0)
    answer = {}
    for name, of_kind in images.items():
        if of_kind is not None:
            planted = of_kind[rng.choice(len(of_kind), min(len(of_kind), 300), replace=False)]
            answer[name] = {"copy_sensitivity": copy_sensitivity(planted), "false_copies": false_copies(of_kind)}
    return answer


if __name__ == "__main__":
    print_result("evidence_copies", ratios={}, details=evidence(tyro.cli(Options)))
