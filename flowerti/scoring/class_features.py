"""The features of one class for scoring: real and synthetic, validated, and reduced to one size.

This module does not know what is measured on them, nor where they come from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from flowerti.artifacts.identity import seed_for
from flowerti.tables.sources import SOURCES

_MIN_REAL = 4
_MIN_SYNTHETIC = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassFeatures:
    """Features of one class by one extractor, any float dtype, all of one width."""

    class_name: str
    """Name of the class; part of the seeds."""
    extractor: str
    reference: str = "validation"
    """The split of the real images."""
    real: Float[np.ndarray, "_ _"]
    """[num, dim]: held-out real images, at least 4."""
    synthetic: Mapping[str, Float[np.ndarray, "_ _"]]
    """[num, dim] by source, at least 2 images each."""
    text: Float[np.ndarray, " _"] | None = None
    """[dim]: of the class's description, by the same extractor; None where it knows no text."""

    def check(self) -> None:
        """Validate the features.

        Raises:
            ValueError: there are too few images, or a source is unknown; names the class and the source.
        """
        where = f"class {self.class_name!r}"
        if len(self.real) < _MIN_REAL:
            raise ValueError(f"{where}: {len(self.real)} held-out real image(s); scoring needs at least {_MIN_REAL}")
        if not self.synthetic:
            raise ValueError(f"{where}: no synthetic images to score; sample some first")
        for source, features in self.synthetic.items():
            try:
                _ = SOURCES[source]
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
            if len(features) < _MIN_SYNTHETIC:
                raise ValueError(
                    f"{where}, source {source!r}: {len(features)} image(s); scoring needs at least {_MIN_SYNTHETIC}"
                )

    def matched(self, seed: int) -> "ClassFeatures":
        """The same features with all sets randomly reduced to the size of the smallest."""
        size = min(len(self.real), *(len(features) for features in self.synthetic.values()))
        return replace(
            self,
            real=_cut(self.real, size, generator(seed, self.class_name, "subsample/real")),
            synthetic={
                source: _cut(features, size, generator(seed, self.class_name, f"subsample/{source}"))
                for source, features in self.synthetic.items()
            },
        )


def has_copies(features: Float[np.ndarray, "num dim"]) -> bool:
    """Whether a set of several images holds one twice, as round trips of few training images do."""
    return 1 < len(np.unique(features, axis=0)) < len(features)


def is_one_image(source: str, features: Float[np.ndarray, "num dim"]) -> bool:
    """Whether a set is one image again and again, as round trips of a single training image are.

    Of images that took denoising steps the same says that something is broken: then it is False.
    """
    return not SOURCES[source].has_steps and bool((features == features[:1]).all())


def generator(seed: int, class_name: str, purpose: str) -> np.random.Generator:
    """The generator of one purpose; the same at every call."""
    return np.random.default_rng(seed_for(seed, class_name, f"scoring/{purpose}", 0))


def _cut(features: Float[np.ndarray, "num dim"], size: int, rng: np.random.Generator) -> Float[np.ndarray, "_ dim"]:
    return features[np.sort(rng.permutation(len(features))[:size])]
