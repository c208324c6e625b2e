"""Statistics of the sweep: F1 of every arm over weak classes and groups of classes with intervals, and contrasts.

Gains are paired: all arms and repetitions of a bootstrap replicate use the same resample, because they predicted the
same images. Intervals are computed in `sweep.intervals` and interpreted in `recommendation`. This module works on
predictions: it does not know how a trial is trained, nor about torch, Ray or files.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64, Int64

from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.records import SweepRow, Trial
from flowerti.artifacts.sweep import SweepClassRow, SweepContrast, SweepGroupRow
from flowerti.sweep.answers import answer_of, detectable_effect
from flowerti.sweep.bootstrap import Replicates, draw_resamples, resampled_f1
from flowerti.sweep.class_groups import ALL, FIRST_CLASS, REST, WEAK, class_groups
from flowerti.sweep.intervals import NOTHING, Estimate, estimate
from flowerti.sweep.question import SweepQuestion
from flowerti.sweep.repetitions import num_units
from flowerti.sweep.rounds import Cell, reference_cell
from flowerti.sweep.significance import holm_by, wilson
from flowerti.sweep.trial_grid import grid_of
from flowerti.tables import Table
from flowerti.tables.arms import Arm


class SweepAnalysis:
    """The trials of one split with their bootstrap replicates, which are computed once."""

    def __init__(
        self,
        trials: Sequence[Trial],
        arms: Table[Arm],
        true_ids: Int64[np.ndarray, " num"],
        question: SweepQuestion,
    ) -> None:
        """Check the trials and draw the replicates.

        Args:
            trials: trials of one split, in any order; every arm and ratio with the same repetitions.
            arms: definitions of the trials' arms.
            true_ids: true class id of each image of the split, in the order of the predictions.
            question: classes (one without images counts with F1 0, as in the classifier's own score), the number of
                replicates, and the run's seed.

        Raises:
            ValueError: trials do not fit together (as `grid_of`), the split is empty, or weak classes are unfit.
        """
        if not len(true_ids):
            raise ValueError("true_ids: empty; the split holds no images")
        self.arms = arms
        """Definitions of the arms."""
        self._names, self._true_ids = question.class_names, true_ids
        self._margin = question.config.equivalence_margin
        self._grid = grid_of(trials, arms, len(true_ids), len(question.class_names))
        self._groups = class_groups(question, true_ids)
        rng = np.random.default_rng(seed_for(question.run_seed, "", f"bootstrap/{self._grid.split}", 0))
        counts = draw_resamples(true_ids, self._num_units(question), question.config.num_bootstrap, rng)
        weights = self._groups.weights
        self._replicates: Replicates = resampled_f1(self._grid.predictions, true_ids, weights, *counts)

    @property
    def split(self) -> str:
        """The split that was predicted."""
        return self._grid.split

    @property
    def num_repetitions(self) -> int:
        """Repetitions of every arm."""
        return self._grid.predictions.shape[1]

    def _num_units(self, question: SweepQuestion) -> int:
        """Independent units of the repetitions.

        Raises:
            ValueError: another number of repetitions than the question says.
        """
        asked = question.replication.num_repetitions
        if self.num_repetitions != asked:
            raise ValueError(f"trials: {self.num_repetitions} repetitions of an arm; the question has {asked}")
        return num_units(question.replication)

    def has(self, cell: Cell) -> bool:
        """Whether an arm was run at a ratio."""
        return cell in self._grid.cells

    def weak_f1(self, cell: Cell) -> float:
        """Mean F1 of the weak classes under an arm that was run at that ratio."""
        return float(self._replicates.units[WEAK, self._grid.cells.index(cell)].mean())

    def gains(self, cell: Cell, against: Cell) -> Float64[np.ndarray, " repetitions"]:
        """Mean F1 of the weak classes under one arm minus that under another, of each repetition."""
        one, other = (self._replicates.repetitions[WEAK, self._grid.cells.index(c)] for c in (cell, against))
        return one - other

    def _estimate(self, group: int, arm: int, against: int | None = None) -> Estimate:
        """Mean F1 of a group under an arm, or F1(arm) - F1(against), replicate by replicate."""
        if arm == against:
            return NOTHING
        r, images = self._replicates, self._groups.images[group]
        parts = [array[group, arm] for array in (r.units, r.images_only, r.both)]
        level, lowest = float(parts[0].mean()), 0.0
        if against is not None:
            others = [array[group, against] for array in (r.units, r.images_only, r.both)]
            level, lowest = (level + float(others[0].mean())) / 2, -1.0
            parts = [part - other for part, other in zip(parts, others, strict=True)]
            images = replace(images, num_deciding=self._num_deciding(group, arm, against))
        found = estimate(parts[0], parts[1], parts[2], level, images)
        return replace(found, low=max(lowest, found.low), high=min(1.0, found.high))

    def _num_deciding(self, group: int, arm: int, against: int) -> int:
        """Images of the group, by true or guessed class, that two arms guess differently in half the repetitions."""
        guesses = self._grid.predictions[[arm, against]]
        is_of_group = self._groups.weights[group] > 0
        counts = is_of_group[self._true_ids] | is_of_group[guesses].any(axis=0)
        return int((((guesses[0] != guesses[1]) & counts).mean(axis=0) >= 0.5).sum())

    def rows(self) -> list[SweepRow]:
        """One row for each arm and ratio: the baseline first, then the other arms at ratio 0, then by arm and ratio."""
        rows = [self._row(i) for i in range(len(self._grid.cells))]
        adjusted = holm_by([r.weak_gain_p for r in rows], [r.arm if r.ratio > 0 else (r.arm, r.ratio) for r in rows])
        return [replace(row, holm_p=p) for row, p in zip(rows, adjusted, strict=True)]

    def _row(self, i: int) -> SweepRow:
        arm, ratio = self._grid.cells[i]
        macro, weak, rest = (self._estimate(group, i) for group in (ALL, WEAK, REST))
        gain, rest_gain = self._estimate(WEAK, i, 0), self._estimate(REST, i, 0)
        content = self._content(WEAK, i)
        return SweepRow(
            split=self.split,
            arm=arm.name,
            ratio=ratio,
            num_repetitions=self.num_repetitions,
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
            rest_gain_low=rest_gain.low,
            content_gain=content.value,
            content_gain_low=content.low,
            content_gain_high=content.high,
            content_gain_p=content.p,
            balanced_accuracy=float(np.mean([self._recall(i, c) for c in range(len(self._names))])),
        )

    def _content(self, group: int, i: int) -> Estimate:
        """The effect of the image content on a group: its F1 minus that under the same treatment without the images."""
        reference = reference_cell(self.arms, self._grid.cells[i])
        if reference is None or not self.has(reference):
            return NOTHING
        return self._estimate(group, i, self._grid.cells.index(reference))

    def _recall(self, arm: int, class_id: int) -> float:
        members = self._true_ids == class_id
        return float((self._grid.predictions[arm][:, members] == class_id).mean()) if members.any() else 0.0

    def class_rows(self) -> list[SweepClassRow]:
        """One row for each weak class, arm and ratio; p-values adjusted over the classes and ratios of an arm."""
        num_cells, num_weak = len(self._grid.cells), len(self._groups.weak)
        rows = [self._class_row(i, place) for i in range(num_cells) for place in range(num_weak)]
        adjusted = holm_by([r.gain_p for r in rows], [r.arm for r in rows])
        return [replace(row, holm_p=p) for row, p in zip(rows, adjusted, strict=True)]

    def _class_row(self, i: int, place: int) -> SweepClassRow:
        class_id, group = self._groups.weak[place], FIRST_CLASS + place
        arm, ratio = self._grid.cells[i]
        num, recall = int((self._true_ids == class_id).sum()), self._recall(i, class_id)
        # repetitions see the same images, so their hits are averaged and not added up.
        low, high = wilson(recall, num) if num else (0.0, 1.0)
        gain, content = self._estimate(group, i, 0), self._content(group, i)
        return SweepClassRow(
            split=self.split,
            arm=arm.name,
            ratio=ratio,
            class_name=self._names[class_id],
            num_images=num,
            recall=recall,
            recall_low=low,
            recall_high=high,
            f1=float(self._replicates.units[group, i].mean()),
            gain=gain.value,
            gain_low=gain.low,
            gain_high=gain.high,
            gain_p=gain.p,
            holm_p=gain.p,
            answer=answer_of(gain, self._margin),
            detectable_effect=detectable_effect(gain.error),
            content_gain=content.value,
            content_gain_p=content.p,
        )

    def group_rows(self) -> list[SweepGroupRow]:
        """One row for each group of classes that is not empty, arm and ratio."""
        num_cells, num_groups = len(self._grid.cells), len(self._groups.by_size)
        return [self._group_row(i, place) for i in range(num_cells) for place in range(num_groups)]

    def _group_row(self, i: int, place: int) -> SweepGroupRow:
        (arm, ratio), (name, ids) = self._grid.cells[i], self._groups.by_size[place]
        group = FIRST_CLASS + len(self._groups.weak) + place
        f1, gain = self._estimate(group, i), self._estimate(group, i, 0)
        return SweepGroupRow(
            split=self.split,
            arm=arm.name,
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

    def contrast(self, cell: Cell, against: Cell, primary: bool = False) -> SweepContrast:
        """Mean F1 of the weak classes under one arm minus that under another.

        Raises:
            ValueError: one of the arms was not run at that ratio.
        """
        for one in (cell, against):
            if not self.has(one):
                raise ValueError(f"contrast: there is no trial of {one.arm.name} at ratio {one.ratio:g}")
        places = [self._grid.cells.index(one) for one in (cell, against)]
        found = self._estimate(WEAK, places[0], places[1])
        return SweepContrast(
            split=self.split,
            arm=cell.arm.name,
            ratio=cell.ratio,
            against_arm=against.arm.name,
            against_ratio=against.ratio,
            difference=found.value,
            low=found.low,
            high=found.high,
            p=found.p,
            answer=answer_of(found, self._margin),
            detectable_effect=detectable_effect(found.error),
            primary=primary,
        )
