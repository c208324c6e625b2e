"""Arms of the sweep as objects: what each trains on, how it treats it, and what it is compared with.

Images of a source come in at fixed mass, each in place of a real image of its class, or are added to the real ones.
Added images raise the share of their class, which alone can change its F1, whatever they show. `ARMS` holds the arms
that have a name of their own; those of single sources, alone or on top of a control, are made from rows of `sources`.
This module does not know how anything is trained, nor which arms a run wants.
"""

from collections.abc import Iterable
from dataclasses import replace

from flowerti.tables.arm import Arm as Arm
from flowerti.tables.arm import Mass as Mass
from flowerti.tables.sources import SOURCES, Source, judged_source
from flowerti.tables.table import Table

BASELINE = Arm(name="real", label="real only")
"""The reference of every gain."""

ARMS: Table[Arm] = Table(
    "arm",
    [
        BASELINE,
        Arm(name="balanced", label="balanced sampling", control="balanced", is_balanced=True),
        Arm(name="balanced_softmax", label="balanced softmax", control="balanced_softmax", has_balanced_softmax=True),
        Arm(name="augmented", label="augmentation", control="augmented", is_augmented=True),
        Arm(
            name="balanced_augmented",
            label="balanced sampling and augmentation",
            control="balanced_augmented",
            is_balanced=True,
            is_augmented=True,
        ),
        Arm(
            name="balanced_softmax_augmented",
            label="balanced softmax and augmentation",
            control="balanced_softmax_augmented",
            has_balanced_softmax=True,
            is_augmented=True,
        ),
        Arm(name="class_gaussians", label="class Gaussians", control="class_gaussians", features="gaussian"),
        Arm(name="feature_noise", label="noise on features", control="feature_noise", features="perturbed"),
        Arm(
            name="balanced_feature_noise",
            label="balanced sampling and noise on features",
            control="balanced_feature_noise",
            is_balanced=True,
            features="perturbed",
        ),
        Arm(
            name="balanced_softmax_feature_noise",
            label="balanced softmax and noise on features",
            control="balanced_softmax_feature_noise",
            has_balanced_softmax=True,
            features="perturbed",
        ),
        Arm(name="repeated", label="own images repeated", level="ratio", repeats="token", is_standing=True),
        Arm(
            name="shuffled_token",
            label="another class's token",
            source="token",
            level="ratio",
            donor="next",
            is_standing=True,
        ),
    ],
)


def arm_of(source: Source) -> Arm:
    """The arm that adds the images of a source to the real ones."""
    return Arm(name=source.name, label=source.label, source=source.name, level="ratio")


def stacked_name(control: str, source: str) -> str:
    """Name of the arm that adds the images of a source to a control."""
    return f"{control}+{source}"


def stacked(control: Arm, source: Source) -> Arm:
    """The arm that adds the images of a source to a control."""
    return replace(_on(control, source.name, source.label), source=source.name, level="ratio")


def repeated_on(control: Arm) -> Arm:
    """The arm that repeats real images under the treatment of a control: what images on top of it must beat."""
    twin = ARMS["repeated"]
    return replace(_on(control, twin.name, twin.label), repeats=twin.repeats, level="ratio")


def replaced_on(control: Arm, source: Source) -> Arm:
    """The arm in which images of a source take the place of a control's real ones, within each weak class."""
    name, label = f"{source.name}_replace", f"{source.label} instead of real"
    return replace(_on(control, name, label), source=source.name, level="probability", replaces=True)


def shuffled_on(control: Arm) -> Arm:
    """The negative control of `replaced_on` for the judged source: each weak class gets another one's images."""
    judged = SOURCES[judged_source()]
    arm = _on(control, f"shuffled_{judged.name}_replace", f"another class's {judged.label} instead of real")
    return replace(arm, source=judged.name, level="probability", replaces=True, donor="next")


def _on(control: Arm, name: str, label: str) -> Arm:
    """A control under another name, to which images are then added; the baseline's is left out."""
    is_plain = control.name == BASELINE.name
    return replace(
        control,
        name=name if is_plain else stacked_name(control.name, name),
        label=label if is_plain else f"{control.label} and {label}",
        control=control.name,
        is_standing=False,
    )


def source_arms() -> list[Arm]:
    """The arms that add the images of single sources, in the order of the table of sources.

    Raises:
        ValueError: a source is called like an arm of the table.
    """
    arms = [arm_of(source) for source in SOURCES if source.is_arm]
    for arm in arms:
        if arm.name in ARMS:
            raise ValueError(f"{arm.name!r} is a source of images and an arm: rename one of them")
    return arms


def judged_arm(mass: Mass = "added", control: Arm = BASELINE) -> Arm:
    """The arm that the sweep's recommendation is about: at fixed mass on top of a control, or added to real images."""
    source = SOURCES[judged_source()]
    return replaced_on(control, source) if mass == "fixed" else arm_of(source)


def reference_of(arms: Iterable[Arm], arm: Arm) -> Arm | None:
    """The arm that shows each class as often, treats it likewise and has none of its images: what they must beat.

    An arm may name it. For an arm at fixed mass it is its control. For one that adds images it is the arm that repeats
    real ones as often at the same ratio; if there are several, that of the same treatment, then of the same source.

    Returns:
        None where there is none, or where this arm has no images of another kind.
    """
    if not arm.source:
        return None
    if arm.held_against or arm.replaces:
        return next((other for other in arms if other.name == (arm.held_against or arm.control)), None)
    found = [other for other in arms if other.repeats]
    return max(found, key=lambda other: (other.control == arm.control, other.repeats == arm.source), default=None)


def _add_special_arms() -> None:
    """Arms that only run where they are named, on top of every control that leaves features as they are."""
    (judged,) = (source for source in SOURCES.so_far if source.is_judged)
    between = [source for source in SOURCES.so_far if source.mode == "inter_class"]
    for control in [arm for arm in ARMS.so_far if arm.is_control and not arm.features]:
        arms = [round_trip_arms(control, judged), *(inter_class_arms(control, source) for source in between)]
        arms += [] if control.has_balanced_softmax else [two_stage_arms(control, judged)]
        for arm in (arm for pair in arms for arm in pair):
            ARMS.add(arm)


def round_trip_arms(control: Arm, source: Source) -> list[Arm]:
    """Images of a source in the weak classes and round trips in all others; and what they must beat, those in all.

    Between the two only the weak classes' images differ, and in both every class has as many that came out of the
    base, so that whatever all of these have in common, such as its blur, tells no class apart.
    """
    everywhere = _on(control, "round_trip_all", "round trips instead of real in all classes")
    everywhere = replace(everywhere, level="probability", replaces=True, round_trips="all")
    beside = replaced_on(control, source)
    named = _on(control, f"{source.name}_round_trip_rest", f"{source.label} instead of real, round trips in the rest")
    beside = replace(beside, name=named.name, label=named.label, round_trips="others", held_against=everywhere.name)
    return [everywhere, beside]


def inter_class_arms(control: Arm, source: Source) -> list[Arm]:
    """Images drawn between classes, labelled as the class they were drawn from; and the same with a shared label.

    The second must beat the first: only the label differs.

    Source: Diff-Mix (Wang et al. 2024, arXiv 2403.19600) for the shared label.
    """
    images = replaced_on(control, source)
    as_source = _on(control, f"{source.name}_source_label", f"{source.label}, labelled as these")
    as_source = replace(images, name=as_source.name, label=as_source.label, labels="source")
    shared = _on(control, f"{source.name}_shared_label", f"{source.label}, label shared with these")
    return [
        as_source,
        replace(images, name=shared.name, label=shared.label, labels="shared", held_against=as_source.name),
    ]


def two_stage_arms(control: Arm, source: Source) -> list[Arm]:
    """Balanced classes first, then real images as under a control: with real images alone, and with a source's.

    The second must beat the first: both make as many steps in either stage.

    Source: FFR (Qraitem et al. 2023, arXiv 2308.04553), which trains on balanced synthetic images before real ones.
    """
    real = replace(_on(control, "balanced_first", "balanced classes first"), level="share", begins_balanced=True)
    drawn = _on(control, f"{source.name}_first", f"balanced classes with {source.label} first")
    drawn = replace(drawn, source=source.name, level="share", begins_balanced=True, held_against=real.name)
    return [real, drawn]


_add_special_arms()
