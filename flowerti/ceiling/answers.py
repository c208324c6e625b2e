"""What the ceiling says, in words.

This module does not know how anything was computed.
"""

from flowerti.artifacts.ceiling import Ceiling, CeilingRow, Kind, WorthRow


def told(ceiling: Ceiling) -> list[str]:
    """What is to be had over the best free control, and what the base's autoencoder leaves of it, a sentence each."""
    high, classes = max(0.0, ceiling.headroom_high), f"{len(ceiling.class_names)} rehearsal classes"
    sentences = [
        f"At most {high:+.3f} is to be had over {ceiling.control_label} here: {ceiling.num_headroom} unseen real "
        f"images more change the F1 of {classes} with {ceiling.num_kept} images each by {_interval(ceiling)}."
    ]
    if is_out_of_sight(ceiling):
        sentences.append(
            f"That is less than the {ceiling.detectable_effect:.3f} that this run could detect: use the control alone, "
            "or bring more validation images."
        )
    return [*sentences, *_of_autoencoder(ceiling)]


def is_out_of_sight(ceiling: Ceiling) -> bool:
    """Whether no more is to be had than the run could detect."""
    return ceiling.headroom_high < ceiling.detectable_effect


def _interval(ceiling: Ceiling) -> str:
    low, high = ceiling.headroom_low, ceiling.headroom_high
    return f"{ceiling.headroom:+.3f} (95 % interval {low:+.3f} to {high:+.3f})"


def _of_autoencoder(ceiling: Ceiling) -> list[str]:
    """What the autoencoder alone costs, and what a perfect generator behind it could bring."""
    own, perfect = _row(ceiling, "round_trip"), _row(ceiling, "unseen_round_trip")
    told = []
    if own is not None:
        verb = "costs" if own.high < 0 else "changes F1 by"
        told.append(
            f"The base's autoencoder alone {verb} {_numbers(own)}, where the classes' own images go through it."
        )
    if perfect is not None:
        told.append(f"A perfect generator behind it could bring {_numbers(perfect)}{_advice(perfect)}.")
    return told


def _advice(perfect: CeilingRow) -> str:
    if perfect.high <= 0:
        return (
            ": this autoencoder costs more than any image can bring; use a larger resolution, another base, or "
            "fine-tune the network"
        )
    return "" if perfect.low > 0 else ", which is not shown to be a gain"


def _row(ceiling: Ceiling, kind: Kind) -> CeilingRow | None:
    return next((row for row in ceiling.rows if row.kind == kind), None)


def _numbers(row: CeilingRow) -> str:
    return f"{row.gain:+.3f} ({row.low:+.3f} to {row.high:+.3f})"


def told_worth(row: WorthRow, label: str) -> str:
    """What the images of an arm are worth, in one sentence.

    Args:
        row: the arm at one level.
        label: what its images are called.
    """
    low, high, most = row.worth_low, row.worth_high, row.most
    if row.worth == 0 and high == 0:
        return f"The {row.num_images} images of the {label} are worth no real one."
    ends = [f"more than {most}" if end is None else f"{end:.1f}" for end in (low, high)]
    value = f"more than {most} real ones" if row.worth is None else f"{row.worth:.1f} real ones"
    return f"The {row.num_images} images of the {label} are worth {value} ({ends[0]} to {ends[1]}), on {row.split}."
