"""What the ceiling says, in words.

This module does not know how anything was computed.
"""

from flowerti.artifacts.ceiling import Ceiling, CeilingRow


def told(ceiling: Ceiling) -> list[str]:
    """What is to be had over the best free control, and what the base's autoencoder costs, a sentence each."""
    classes = f"{len(ceiling.class_names)} rehearsal classes with {ceiling.num_kept} images each"
    high, found = max(0.0, ceiling.headroom_high), ceiling.headroom
    sentences = [
        f"On {classes}, {ceiling.num_headroom} unseen real images more change F1 by {found:+.3f} over "
        f"{ceiling.control} (95 % interval {ceiling.headroom_low:+.3f} to {ceiling.headroom_high:+.3f})."
    ]
    if is_out_of_sight(ceiling):
        sentences.append(
            f"At most {high:.3f} is to be had by that many, and a rehearsal like this finds effects of "
            f"{ceiling.detectable_effect:.3f} and more: use the control alone, or bring more validation images."
        )
    return [*sentences, *(_of_round_trips(row) for row in ceiling.rows if row.arm.endswith("+round_trip"))]


def is_out_of_sight(ceiling: Ceiling) -> bool:
    """Whether no more is to be had than the rehearsal itself could detect."""
    return ceiling.headroom_high < ceiling.detectable_effect


def _of_round_trips(row: CeilingRow) -> str:
    seen = f"{row.gain:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
    if row.high < 0:
        return (
            f"The base's autoencoder alone costs {seen}, which whatever it draws has to make up for: consider a larger "
            "resolution or another base."
        )
    return f"The base's autoencoder alone changes F1 by {seen}."
