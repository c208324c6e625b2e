import dataclasses
import math

import pytest

from flowerti.config.experiment import LoraConfig, ScheduleConfig, TextualInversionConfig
from flowerti.personalization.schedule import learning_rate_at, should_stop


def _stops_at(losses: list[float], config: ScheduleConfig) -> int | None:
    for end in range(1, len(losses) + 1):
        if should_stop((end - 1) * config.eval_every_steps, losses[:end], config):
            return end - 1
    return None


@pytest.mark.parametrize(
    ("losses", "num_steps", "stops_at"),
    [
        ([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 80, None),  # still falling
        ([8.0, 4.0, 2.0, 1.0, 0.9, 0.85, 0.83, 0.82], 80, 6),  # 0.07 is less than a fiftieth of 7.17, 0.15 is not
        ([8.0, 4.0, 2.0, 1.0, 0.9, 0.85, 0.83, 0.82], 280, 7),  # the same, but a quarter of all steps comes first
        ([8.0, 4.0, 9.0, 4.5, 3.0, 2.0, 1.0, 0.5], 80, 3),  # two without a better one
        ([8.0, 8.0, 8.0, 8.0], 80, 2),  # nothing is learnt at all
    ],
)
def test_training_stops_where_the_loss_no_longer_moves(losses, num_steps, stops_at):
    config = TextualInversionConfig(num_steps=num_steps, eval_every_steps=10, patience_evals=2)
    assert _stops_at(losses, config) == stops_at
    assert _stops_at(losses, dataclasses.replace(config, patience_evals=0)) is None


@pytest.mark.parametrize("config", [TextualInversionConfig(num_steps=50), LoraConfig(num_steps=7, learning_rate=3.0)])
def test_the_rate_warms_up_and_falls_along_a_cosine_to_a_tenth(config):
    num_warm = max(1, round(0.1 * config.num_steps))
    for step in range(config.num_steps):
        if step < num_warm:
            expected = config.learning_rate * (step + 1) / num_warm
        else:
            phase = math.pi * (step - num_warm) / (config.num_steps - num_warm)
            expected = config.learning_rate * (0.55 + 0.45 * math.cos(phase))
        assert learning_rate_at(step, config) == pytest.approx(expected, rel=1e-12)
