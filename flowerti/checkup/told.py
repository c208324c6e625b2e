"""What a check says: lines for a person.

This module opens no file.
"""

from flowerti.artifacts.records import ClassCount
from flowerti.checkup.image_census import ImageCensus, Sizes
from flowerti.config.experiment import Experiment
from flowerti.config.techniques import techniques_for
from flowerti.data.dataset import SPLITS
from flowerti.data.listing_notes import counted, first_of
from flowerti.plan import num_trials

_MAX_CLASSES = 40
"""Rows of the table of classes: the largest and the smallest of more."""
_MAX_GROUPS = 3


def census_lines(census: ImageCensus) -> list[str]:
    """Classes and splits, sizes, copies, and what is suspicious."""
    lines = [f"{counted(census.num_images, 'image')} of {len(census.counts)} classes{_sides(census.sizes)}"]
    lines += [*_table(census.counts), *census.notes]
    if census.unreadable:
        lines.append(f"{counted(len(census.unreadable), 'image')} cannot be read ({first_of(census.unreadable)})")
    lines += _groups("of the same bytes", census.copies)
    if census.near_duplicates is None:
        lines.append("near duplicates were not looked for: there are too many images")
    else:
        lines += _groups("of images that look alike", census.near_duplicates)
    lines += _groups("of alike images in several classes", census.several_classes)
    return [*lines, *(f"suspicious: {one}" for one in census.suspicious)]


def _sides(sizes: Sizes | None) -> str:
    if sizes is None:
        return ""
    return f", shorter sides {sizes.smallest_px} to {sizes.largest_px} px (half of them {sizes.median_px:g} or less)"


def _groups(what: str, groups: list[list[str]]) -> list[str]:
    if not groups:
        return [f"no groups {what}"]
    shown = "; ".join(" = ".join(group[:3]) for group in groups[:_MAX_GROUPS])
    more = "; ..." if len(groups) > _MAX_GROUPS else ""
    return [f"{counted(len(groups), 'group')} {what} ({shown}{more})"]


def _table(counts: list[ClassCount]) -> list[str]:
    ordered = sorted(counts, key=lambda row: (-_total(row), row.class_name))
    half = _MAX_CLASSES // 2
    rows = ordered if len(ordered) <= _MAX_CLASSES else [*ordered[:half], *ordered[-half:]]
    width = max(len("class"), *(len(row.class_name) for row in rows))
    lines = [f"  {'class':{width}} {'train':>7} {'validation':>10} {'test':>7}"]
    for row in rows:
        lines.append(f"  {row.class_name:{width}} {row.num_train:7} {row.num_validation:10} {row.num_test:7}")
    if len(rows) < len(ordered):
        lines.insert(1 + half, f"  ... {len(ordered) - len(rows)} more classes ...")
    return lines


def _total(row: ClassCount) -> int:
    return sum(getattr(row, f"num_{split}") for split in SPLITS)


def plan_lines(experiment: Experiment) -> list[str]:
    """What a run would do, counted."""
    selection, sampling = experiment.selection, experiment.sampling
    num_weak = len(selection.class_names) or selection.num_classes
    lines = [f"a run takes {counted(num_weak, 'weak class').replace('classs', 'classes')} by rule {selection.rule}"]
    for technique in techniques_for(sampling.sources):
        num = (1 if technique.is_joint else num_weak) * experiment.replication.num_learnings_in_all
        steps = experiment.techniques[technique.name].num_steps
        lines.append(f"it learns {technique.label} {counted(num, 'time')} with {steps} steps each")
    num_images = num_weak * experiment.num_sets_per_class * sampling.num_per_class
    lines.append(f"it draws {num_images} images of {experiment.data.image_size_px} px: {', '.join(sampling.sources)}")
    lines.append(f"it trains the classifier up to {num_trials(experiment, num_weak)} times")
    return lines
