"""Variance components against a mixed model that another library fits, and against planted ones."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from flowerti.config.replication import ReplicationConfig
from flowerti.sweep.variance import replication_of, variance_components

pytestmark = pytest.mark.filterwarnings(
    # the other library says so of every component that is small beside another one
    "ignore:The MLE may be on the boundary:statsmodels.tools.sm_exceptions.ConvergenceWarning"
)


def nested(rng: np.random.Generator, config: ReplicationConfig, stds: tuple[float, ...]) -> np.ndarray:
    """Gains with effects of these standard deviations at each level."""
    shape = (config.num_draws, config.num_learnings, config.num_pools, config.num_seeds)
    total = np.full(shape, 0.1)
    for level, std in enumerate(stds, 1):
        effects = std * rng.normal(size=shape[:level])
        total = total + effects.reshape(*shape[:level], *[1] * (4 - level))
    return total.ravel()


def test_two_levels_are_those_of_a_mixed_model():
    config = ReplicationConfig(num_learnings=12, num_seeds=6)
    gains = nested(np.random.default_rng(0), config, (0.0, 0.1, 0.0, 0.05))
    frame = pd.DataFrame({"gain": gains, "learning": np.arange(72) // 6})
    fitted = smf.mixedlm("gain ~ 1", frame, groups="learning").fit(reml=True)
    of_learnings, of_seeds = variance_components(gains, config)
    assert of_learnings.std**2 == pytest.approx(float(fitted.cov_re.iloc[0, 0]), rel=1e-4)
    assert of_seeds.std**2 == pytest.approx(float(fitted.scale), rel=1e-4)
    assert [c.level for c in (of_learnings, of_seeds)] == ["learning, pool of images", "classifier seed"]
    assert [(c.num_units, c.freedom) for c in (of_learnings, of_seeds)] == [(12, 11), (72, 60)]


def test_three_levels_are_those_of_a_mixed_model():
    config = ReplicationConfig(num_draws=8, num_learnings=4, num_pools=1, num_seeds=3)
    gains = nested(np.random.default_rng(1), config, (0.2, 0.1, 0.0, 0.05))
    place = np.arange(len(gains))
    frame = pd.DataFrame({"gain": gains, "draw": place // 12, "learning": place // 3})
    model = smf.mixedlm("gain ~ 1", frame, groups="draw", re_formula="1", vc_formula={"learning": "0 + C(learning)"})
    fitted = model.fit(reml=True)
    found = variance_components(gains, config)
    expected = [float(fitted.cov_re.iloc[0, 0]), float(fitted.vcomp[0]), float(fitted.scale)]
    assert [c.std**2 for c in found] == pytest.approx(expected, rel=2e-2)


def test_planted_components_are_found_on_average():
    config, rng = ReplicationConfig(num_draws=3, num_learnings=3, num_pools=2, num_seeds=2), np.random.default_rng(2)
    planted = (0.3, 0.2, 0.1, 0.05)
    found = [[c.std**2 for c in variance_components(nested(rng, config, planted), config)] for _ in range(4000)]
    # what is cut off at 0 raises the mean of inner components a little
    assert np.mean(found, axis=0) == pytest.approx(np.square(planted), rel=0.15)


def test_nothing_is_said_of_what_was_not_repeated():
    config = ReplicationConfig(num_learnings=1, num_seeds=1)
    assert variance_components(np.array([0.1]), config) == []
    said = replication_of(config, None)
    assert (said.components, said.components_split) == ([], "")
    assert said.conditional_on == ["the training images at hand", "what was learnt", "the images that were drawn"]
