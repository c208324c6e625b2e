"""The task that scores one class, from its own stored features alone.

This module does not know about Ray, nor how features are computed.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import ScoringConfig
from flowerti.data.dataset import Split
from flowerti.features.files import StoredFeatures, StoredRows
from flowerti.scoring.class_features import ClassFeatures
from flowerti.scoring.distances import ClassScores, score_class


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassSets:
    """References to one class's features of one extractor, and the settings of its task."""

    run: RunDirectory
    extractor: str
    config: ScoringConfig
    seed: int
    reference: Split
    class_name: str
    held_out: StoredRows
    synthetic: dict[str, StoredFeatures]
    """By source."""
    text_prompt: str
    """As in `tasks.StoredSets`."""
    text_weights: str


def score_one_class(stored: ClassSets) -> ClassScores:
    """Distances and comparisons of the class's sets, and notes on what is missing."""
    features = ClassFeatures(
        class_name=stored.class_name,
        extractor=stored.extractor,
        reference=stored.reference,
        real=stored.held_out.read(stored.run)[:, 0],
        synthetic={source: of_set.read(stored.run)[:, 0] for source, of_set in stored.synthetic.items()},
        text=_text_feature(stored),
    )
    seed = seed_for(stored.seed, stored.class_name, f"score/{stored.reference}", 0)
    return score_class(features, stored.config, seed)


def _text_feature(stored: ClassSets) -> Float[np.ndarray, " _"] | None:
    if not stored.text_prompt:
        return None
    from flowerti.features.transformer_backbones import folder_of, text_features

    folder = folder_of(stored.extractor, stored.text_weights)
    return text_features([stored.text_prompt.format(stored.class_name)], folder)[0].numpy()
