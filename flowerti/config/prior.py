"""Settings of prior preservation, which techniques that change the networks share.

This module knows nothing about torch, Ray, how images are drawn or which techniques use it.
"""

from dataclasses import dataclass

from flowerti.config.checks import check_kinds, require


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorConfig:
    """Prior preservation (Ruiz et al. 2023, arXiv 2208.12242, section 3.3): what a general noun looks like must stay.

    The frozen base draws images of the noun before learning starts, and every step also learns as many of them as of
    the class, so a step costs twice as much.
    """

    noun: str = ""
    """What the class is a kind of, as in "flower"; empty for no prior preservation."""
    weight: float = 1.0
    """Weight of the loss on the noun's images beside the loss on the class's."""
    num_images: int = 32
    """Images of the noun that are drawn."""
    num_inference_steps: int = 20
    """Steps of the noise scheduler in drawing them."""
    guidance_scale: float = 3.0
    """Weight of classifier-free guidance in drawing them; 1 turns it off."""

    def check(self, prefix: str) -> None:
        """Check kinds and ranges.

        The technique's config calls it, because only that knows the names of these fields.

        Raises:
            ValueError: a value is of another type or out of range; names the field after `prefix`.
        """
        check_kinds(self, f"{prefix}.")
        is_blank = bool(self.noun) and not self.noun.strip()
        require(not is_blank, f"{prefix}.noun", "is blank: name a general noun, or leave it empty for none")
        require(self.weight > 0, f"{prefix}.weight", "must be positive; an empty noun turns prior preservation off")
        for name in ("num_images", "num_inference_steps"):
            require(getattr(self, name) >= 1, f"{prefix}.{name}", "must be at least 1")
        require(self.guidance_scale >= 1, f"{prefix}.guidance_scale", "must be at least 1")

    def check_class(self, class_name: str, prefix: str) -> None:
        """Refuse a class that the noun names: its images would be pulled both ways.

        Raises:
            ValueError: they are the same word; names the field after `prefix` and says what to do.
        """
        is_same = _plain(self.noun) == _plain(class_name)
        problem = f"must not be {self.noun!r}, the class itself: name what the class is a kind of, or leave it empty"
        require(not is_same, f"{prefix}.noun", problem)


def _plain(words: str) -> str:
    return " ".join(words.split()).casefold()
