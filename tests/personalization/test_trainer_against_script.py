"""The trainer's rows against those of the usual script, in float64."""

import dataclasses
import math

import pytest
import torch
from small_training import (
    CLASS_NAME,
    RUN_SEED,
    SMALL,
    TOKEN,
    double_state,
    ignore,
    in_double,
    learn_rose,
    procedure_of,
    training_of,
)

from benchmarks.inversion_baseline import ExampleScript, ScriptFlags
from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import TextualInversionConfig
from flowerti.diffusion import Base, load_base
from flowerti.personalization.denoising import EncodedImages, draw, prepare
from flowerti.personalization.schedule import learning_rate_at
from flowerti.personalization.textual_inversion.losses import denoising_loss
from flowerti.personalization.trainer import learn_together


def _expected_rate(step: int, config: TextualInversionConfig) -> float:
    num_warm = max(1, round(0.1 * config.num_steps))
    if step < num_warm:
        return config.learning_rate * (step + 1) / num_warm
    phase = math.pi * (step - num_warm) / (config.num_steps - num_warm)
    return config.learning_rate * (0.55 + 0.45 * math.cos(phase))


def _learn_as_the_script_does(
    base: Base, data: EncodedImages, images: torch.Tensor, config: TextualInversionConfig, class_name: str
) -> torch.Tensor:
    """Encodes every image at every step and trains the whole vocabulary, fed with the trainer's own draws."""
    flags = ScriptFlags(weight_decay=config.weight_decay)
    script = ExampleScript(base, TOKEN, config.num_vectors, config.initializer_token, flags)
    views = torch.cat([images, images.flip(2)]).permute(0, 3, 1, 2).double() / 127.5 - 1
    for step in range(config.num_steps):
        chosen = draw(data, config.batch_size, 1000, seed_for(RUN_SEED, class_name, "inversion/step", step))
        script.step(
            views[chosen.views],
            data.captions[chosen.captions],
            chosen.timesteps,
            chosen.posterior_noise,
            chosen.noise,
            _expected_rate(step, config),
        )
    return script.rows


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
def test_rows_are_those_of_the_usual_script_in_float64(make_tiny_base, images, prediction_type, weight_decay):
    folder = make_tiny_base(prediction_type=prediction_type, text_gain=8.0)
    config = dataclasses.replace(SMALL, num_steps=20, learning_rate=0.02, weight_decay=weight_decay)
    base = in_double(load_base(folder, "float32", "cpu"))
    data = prepare(base, images, TOKEN, config.num_vectors)
    expected = _learn_as_the_script_does(base, data, images, config, CLASS_NAME)
    state = double_state(base, data, config)
    initial = state.learnt.clone()
    ours = learn_rose(base, data, config, state=state).learnt
    assert ours.dtype == expected.dtype == torch.float64
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-10)
    assert (expected - initial).abs().min() > 1e-3


def test_each_class_of_a_shared_batch_is_the_usual_script_s_in_float64(make_tiny_base, images):
    config = dataclasses.replace(SMALL, num_steps=20, learning_rate=0.02)
    base = in_double(load_base(make_tiny_base(text_gain=8.0), "float32", "cpu"))
    shares = {"rose": images[:2], "lily": images[2:4], "azalea": images[1:]}
    trainings = [
        training_of(base, name, prepare(base, share, TOKEN, config.num_vectors), config)
        for name, share in shares.items()
    ]
    ended = list(learn_together(procedure_of(base, config), trainings, ignore))
    assert [training.class_name for training in ended] == list(shares)
    for training in trainings:
        expected = _learn_as_the_script_does(
            base, training.data, shares[training.class_name], config, training.class_name
        )
        torch.testing.assert_close(training.state.learnt, expected, rtol=0, atol=1e-10)


def test_rows_alone_equal_the_whole_table_exactly(make_tiny_base, images):
    """Same latents in both arms: what is left is the table's gradient, AdamW and the putting back of other rows."""
    base = in_double(load_base(make_tiny_base(text_gain=8.0), "float32", "cpu"))
    config = dataclasses.replace(SMALL, num_steps=20, learning_rate=0.02)
    data = prepare(base, images, TOKEN, config.num_vectors)
    ours = learn_rose(base, data, config, state=double_state(base, data, config)).learnt
    script = ExampleScript(base, TOKEN, config.num_vectors, "flower", ScriptFlags(weight_decay=0.0))
    whole = dataclasses.replace(base, text_encoder=script.text_encoder)
    for step in range(config.num_steps):
        chosen = draw(data, config.batch_size, 1000, seed_for(RUN_SEED, CLASS_NAME, "inversion/step", step))
        # the table is larger than any id, so that no learnt row is put in: its own last rows are used
        loss = denoising_loss(whole, torch.zeros(2, 16, dtype=torch.float64), data, chosen)
        loss.backward()
        script.optimizer.param_groups[0]["lr"] = learning_rate_at(step, config)
        script.optimizer.step()
        script.optimizer.zero_grad()
        script.put_back()
    assert torch.equal(ours, script.rows)
    assert torch.equal(script.table[:-2], script.table_before[:-2])
