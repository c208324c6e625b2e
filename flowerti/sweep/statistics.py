"""What the sweep's trials say: F1 of every arm, of weak classes and groups of classes, with intervals; and contrasts.

Gains are paired: all arms and seeds of a bootstrap replicate see the same draw, because they predicted the same
images. How intervals come about is in `sweep.bootstrap`, what follows from them in `recommendation`. This module
takes predictions as they are: it does not know how a trial is trained, nor anything about torch, Ray or files.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int64
from scipy import stats

from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.records import SweepRow, Trial
from flowerti.artifacts.sweep import SweepClassRow, SweepContrast, SweepGroupRow
from flowerti.config.experiment import SweepConfig
from flowerti.data.imbalance import SHOT_GROUPS, ShotGroup, shot_group
from flowerti.sweep.bootstrap import LEVEL, Estimate, Replicates, draw_resamples, estimate, resampled_f1
from flowerti.sweep.mixing import REPEATED_ARM
from flowerti.sweep.trial_layout import lay_out

_ALL, _WEAK, _REST = range(3)


def _check_weak(num_classes: int, weak_ids: Iterable[int]) -> list[int]:
    weak = sorted(set(weak_ids))
    if not weak or weak[0] < 0 or weak[-1] >= num_classes:
        raise ValueError(f"weak_ids: {weak}; name at least one class id in [0, {num_classes})")
    if len(weak) == num_classes:
        raise ValueError("weak_ids: every class is weak; leave one out to watch for harm")
    return weak


class SweepAnalysis:
    """The trials of one split with their bootstrap replicates; asks of it cost little."""

    def __init__(
        self,
        trials: Sequence[Trial],
        true_ids: Int64[np.ndarray, " num"],
        class_names: Sequence[str],
        weak_ids: Iterable[int],
        config: SweepConfig,
        seed: int,
        num_train: Sequence[int] | None = None,
    ) -> None:
        """Check the trials and draw the replicates.

        Args:
            trials: trials of one split, in any order; every arm and ratio with the same seeds.
            true_ids: true class id of each image of the split, in the order of the predictions.
            class_names: all classes; one without images counts with F1 0, as in the classifier's own score.
            weak_ids: class ids of the weak classes: at least one, and not all.
            config: `num_bootstrap` is the number of replicates.
            seed: run seed.
            num_train: real training images of each class, for the groups; none without.

        Raises:
            ValueError: no trials, several splits, `real` missing, a cell twice, seeds that differ between arms, a wrong
                number of predictions, NaN, or class ids out of range.
        """
        if not len(true_ids):
            raise ValueError("true_ids: empty; the split holds no images")
        num_classes = len(class_names)
        self._names, self._true_ids = class_names, true_ids
        self._layout = lay_out(trials, len(true_ids), num_classes)
        self._weak = _check_weak(num_classes, weak_ids)
        self._shots = [] if num_train is None else _shot_members(num_train)
        everyone = list(range(num_classes))
        rest = [i for i in everyone if i not in self._weak]
        members = [everyone, self._weak, rest, *([i] for i in self._weak), *(ids for _, ids in self._shots)]
        groups = np.array([np.isin(everyone, ids) / len(ids) for ids in members])
        # Images of one class, in the mean over the group's classes: what the small-sample factor is taken for.
        support = np.bincount(true_ids, minlength=num_classes)
        self._num_images = [max(2.0, float(support[ids].mean())) for ids in members]
        rng = np.random.default_rng(seed_for(seed, "", f"bootstrap/{self._layout.split}", 0))
        counts = draw_resamples(true_ids, self.num_seeds, config.num_bootstrap, rng)
        self._replicates: Replicates = resampled_f1(self._layout.predictions, true_ids, groups, *counts)

    @property
    def split(self) -> str:
        """The split that was predicted."""
        return self._layout.split

    @property
    def num_seeds(self) -> int:
        """Seeds of every arm."""
        return self._layout.predictions.shape[1]

    def has(self, arm: str, ratio: float) -> bool:
        """Whether an arm was run at a ratio."""
        return (arm, ratio) in self._layout.arms

    def _estimate(self, group: int, arm: int, against: int | None = None) -> Estimate:
        r = self._replicates
        parts = [array[group, arm] for array in (r.seeds, r.images_only, r.both)]
        if against is not None:
            others = (r.seeds, r.images_only, r.both)
            parts = [part - array[group, against] for part, array in zip(parts, others, strict=True)]
        found = estimate(parts[0], parts[1], parts[2], self._num_images[group])
        lowest = 0.0 if against is None else -1.0
        return replace(found, low=max(lowest, found.low), high=min(1.0, found.high))

    def rows(self) -> list[SweepRow]:
        """One row for each arm and ratio: `real` first, then the other arms at ratio 0, then by arm and ratio."""
        rows = [self._row(i) for i in range(len(self._layout.arms))]
        adjusted = holm_by([r.weak_gain_p for r in rows], [r.arm if r.ratio > 0 else (r.arm, r.ratio) for r in rows])
        return [replace(row, holm_p=p) for row, p in zip(rows, adjusted, strict=True)]

    def _row(self, i: int) -> SweepRow:
        arm, ratio = self._layout.arms[i]
        macro, weak, rest = (self._estimate(group, i) for group in (_ALL, _WEAK, _REST))
        gain, rest_gain = self._estimate(_WEAK, i, 0), self._estimate(_REST, i, 0)
        content = self._content(_WEAK, i)
        return SweepRow(
            split=self.split,
            arm=arm,
            ratio=ratio,
            num_seeds=self.num_seeds,
            macro_f1=macro.value,
            macro_f1_low=macro.low,
            macro_f1_high=macro.high,
            weak_f1=weak.value,
            weak_f1_low=weak.low,
            weak_f1_high=weak.high,
            rest_f1=rest.value,
            weak_gain=gain.value,
            weak_gain_low=gain.low,
            weak_gain_high=gain.high,
            weak_gain_p=gain.p,
            rest_gain=rest_gain.value,
            content_gain=content.value,
            content_gain_low=content.low,
            content_gain_high=content.high,
            content_gain_p=content.p,
            balanced_accuracy=float(np.mean([self._recall(i, c) for c in range(len(self._names))])),
        )

    def _content(self, group: int, i: int) -> Estimate:
        """What the images themselves do for a group: its F1 against the real ones shown again as often."""
        arm, ratio = self._layout.arms[i]
        twin = (REPEATED_ARM, ratio)
        if arm == REPEATED_ARM or twin not in self._layout.arms:
            return Estimate(value=0.0, low=0.0, high=0.0, p=1.0)
        return self._estimate(group, i, self._layout.arms.index(twin))

    def _recall(self, arm: int, class_id: int) -> float:
        members = self._true_ids == class_id
        return float((self._layout.predictions[arm][:, members] == class_id).mean()) if members.any() else 0.0

    def class_rows(self) -> list[SweepClassRow]:
        """One row for each weak class, arm and ratio; p-values adjusted over the classes and ratios of an arm."""
        rows = [self._class_row(i, place) for i in range(len(self._layout.arms)) for place in range(len(self._weak))]
        arms = [r.arm for r in rows]
        adjusted = zip(
            holm_by([r.gain_p for r in rows], arms), holm_by([r.content_holm_p for r in rows], arms), strict=True
        )
        return [replace(row, holm_p=p, content_holm_p=q) for row, (p, q) in zip(rows, adjusted, strict=True)]

    def _class_row(self, i: int, place: int) -> SweepClassRow:
        class_id, group = self._weak[place], _REST + 1 + place
        arm, ratio = self._layout.arms[i]
        num, recall = int((self._true_ids == class_id).sum()), self._recall(i, class_id)
        # Seeds see the same images, so their hits are averaged and not added up.
        low, high = wilson(recall, num) if num else (0.0, 1.0)
        gain, content = self._estimate(group, i, 0), self._content(group, i)
        return SweepClassRow(
            split=self.split,
            arm=arm,
            ratio=ratio,
            class_name=self._names[class_id],
            num_images=num,
            recall=recall,
            recall_low=low,
            recall_high=high,
            f1=float(self._replicates.seeds[group, i].mean()),
            gain=gain.value,
            gain_low=gain.low,
            gain_high=gain.high,
            gain_p=gain.p,
            holm_p=gain.p,
            content_gain=content.value,
            content_holm_p=content.p,
        )

    def group_rows(self) -> list[SweepGroupRow]:
        """One row for each group of classes that is not empty, arm and ratio."""
        first = _REST + 1 + len(self._weak)
        rows = []
        for i, (arm, ratio) in enumerate(self._layout.arms):
            for place, (name, ids) in enumerate(self._shots):
                f1, gain = self._estimate(first + place, i), self._estimate(first + place, i, 0)
                rows.append(
                    SweepGroupRow(
                        split=self.split,
                        arm=arm,
                        ratio=ratio,
                        group=name,
                        num_classes=len(ids),
                        f1=f1.value,
                        f1_low=f1.low,
                        f1_high=f1.high,
                        gain=gain.value,
                        gain_low=gain.low,
                        gain_high=gain.high,
                    )
                )
        return rows

    def contrast(
        self, arm: str, ratio: float, against_arm: str, against_ratio: float = 0.0, primary: bool = False
    ) -> SweepContrast:
        """Mean F1 of the weak classes under one arm minus that under another.

        Raises:
            ValueError: one of the arms was not run at that ratio.
        """
        for cell in ((arm, ratio), (against_arm, against_ratio)):
            if cell not in self._layout.arms:
                raise ValueError(f"contrast: there is no trial of {cell[0]} at ratio {cell[1]:g}")
        places = [self._layout.arms.index(cell) for cell in ((arm, ratio), (against_arm, against_ratio))]
        found = self._estimate(_WEAK, *places)
        return SweepContrast(
            split=self.split,
            arm=arm,
            ratio=ratio,
            against_arm=against_arm,
            against_ratio=against_ratio,
            difference=found.value,
            low=found.low,
            high=found.high,
            p=found.p,
            primary=primary,
        )


def _shot_members(num_train: Sequence[int]) -> list[tuple[ShotGroup, list[int]]]:
    members: dict[ShotGroup, list[int]] = {name: [] for name in SHOT_GROUPS}
    for class_id, num in enumerate(num_train):
        members[shot_group(num)].append(class_id)
    return [(name, ids) for name, ids in members.items() if ids]


def holm_by(p_values: Sequence[float], families: Sequence[object]) -> list[float]:
    """Adjust p-values within their families: the k-th smallest of m times m - k + 1, never falling, at most 1.

    statsmodels has this as well, but collects all of Python's garbage at every call.

    Source: Holm 1979 (Scand. J. Statist. 6).
    """
    adjusted = [1.0] * len(p_values)
    for family in set(families):
        members = sorted((i for i, own in enumerate(families) if own == family), key=lambda i: p_values[i])
        so_far = 0.0
        for place, i in enumerate(members):
            so_far = max(so_far, min(1.0, p_values[i] * (len(members) - place)))
            adjusted[i] = so_far
    return adjusted


def wilson(share: float, num: int) -> tuple[float, float]:
    """95 % interval of a share of `num` images; the share may be a mean over seeds (Wilson 1927, JASA 22)."""
    z2 = float(stats.norm.ppf((1 + LEVEL) / 2)) ** 2
    centre = (share + z2 / (2 * num)) / (1 + z2 / num)
    half = math.sqrt(z2 * (share * (1 - share) / num + z2 / (4 * num**2))) / (1 + z2 / num)
    return max(0.0, centre - half), min(1.0, centre + half)
