import dataclasses

import pytest
import torch

from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import LoraConfig, TextualInversionConfig
from flowerti.diffusion import Base, load_base
from flowerti.personalization.denoising import TrainingSet, denoising_loss, draw, evaluate, prepare
from flowerti.personalization.lora.technique import adapter_lesson, adapter_losses, as_schedule
from flowerti.personalization.trainer import Progress, learn_together, learning_rate_at

TOKEN, CLASS_NAME, RUN_SEED = "<rose>", "rose", 3
SMALL = LoraConfig(
    rank=2,
    num_steps=10,
    batch_size=4,
    learning_rate=2e-2,
    eval_every_steps=5,
    num_eval_latents=8,
    checkpoint_every_steps=4,
)


def rows_of(base: Base) -> torch.Tensor:
    width = sum(base.row_widths)
    return 0.1 * torch.randn(2, width, generator=torch.Generator().manual_seed(4)).to(base.dtype)


def learn(base: Base, data: TrainingSet, rows: torch.Tensor, config: LoraConfig = SMALL) -> Progress:
    lesson = adapter_lesson(base, data, config, CLASS_NAME, RUN_SEED)
    lesson.progress.rows = lesson.progress.rows.to(base.dtype)
    lesson.progress.first_moment = lesson.progress.first_moment.to(base.dtype)
    lesson.progress.second_moment = lesson.progress.second_moment.to(base.dtype)
    losses = adapter_losses(base, data, rows)
    (ended,) = learn_together(base, [lesson], as_schedule(config), lambda _: None, losses)
    assert not ended.error
    return ended.progress


@pytest.mark.parametrize("family", [{}, {"prediction_type": "v_prediction"}, {"is_xl": True}])
def test_an_adapter_goes_on_where_its_token_stopped_and_helps_on_unseen_draws(make_tiny_base, images, family):
    base = load_base(make_tiny_base(text_gain=8.0, **family), "float32", "cpu")
    data, rows = prepare(base, images, TOKEN, 2), rows_of(base)
    progress = learn(base, data, rows, dataclasses.replace(SMALL, num_steps=40, batch_size=8))
    settings = TextualInversionConfig(num_vectors=2, batch_size=8, num_eval_latents=8)
    of_token = evaluate(base, rows, data, settings, seed_for(RUN_SEED, CLASS_NAME, "inversion/evaluation", 0))
    assert progress.curve[0].loss == pytest.approx(of_token, rel=1e-5)
    unseen = draw(data, 64, 1000, 12345)
    losses = adapter_losses(base, data, rows)
    with torch.no_grad():
        before = denoising_loss(base, rows, data, unseen)
        (after,) = losses(base, [progress.best_rows], [data], [unseen])
    assert after < 0.97 * before


def test_steps_are_those_of_peft_and_plain_adamw(make_tiny_base, images):
    """Ten steps in float64 beside a U-Net that peft changed, with the same draws."""
    from peft import LoraConfig

    folder = make_tiny_base(text_gain=8.0)
    base, theirs = (_in_double(load_base(folder, "float32", "cpu")) for _ in range(2))
    data, rows = prepare(base, images, TOKEN, 2), rows_of(base)
    start = adapter_lesson(base, data, SMALL, CLASS_NAME, RUN_SEED).progress.rows
    theirs.unet.add_adapter(
        LoraConfig(r=SMALL.rank, lora_alpha=SMALL.rank, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
    )
    parameters = [p for name, p in theirs.unet.named_parameters() if ".lora_" in name]
    begin = 0
    for parameter in parameters:  # in the order of the file: of each layer A, then B
        parameter.data = start[0, begin : begin + parameter.numel()].view_as(parameter).double()
        parameter.requires_grad_()
        begin += parameter.numel()
    assert begin == start.numel()
    optimizer = torch.optim.AdamW(parameters, weight_decay=SMALL.weight_decay)
    for step in range(SMALL.num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, as_schedule(SMALL))
        seed = seed_for(RUN_SEED, CLASS_NAME, "sampling.adapter/step", step)
        optimizer.zero_grad()
        denoising_loss(theirs, rows, data, draw(data, SMALL.batch_size, 1000, seed)).backward()
        optimizer.step()
    ours = learn(base, data, rows).rows
    expected = torch.cat([p.detach().flatten() for p in parameters])
    assert (expected - start[0]).abs().max() > 1e-2
    torch.testing.assert_close(ours[0], expected, rtol=0, atol=1e-10)


def _in_double(base: Base) -> Base:
    return dataclasses.replace(
        base, text_encoder=base.text_encoder.double(), unet=base.unet.double(), vae=base.vae.double()
    )


def test_half_precision_networks_leave_the_adapter_in_float32(make_tiny_base, images):
    base = load_base(make_tiny_base(text_gain=8.0), "bfloat16", "cpu")
    data, rows = prepare(base, images, TOKEN, 2), rows_of(base).float()
    lesson = adapter_lesson(base, data, SMALL, CLASS_NAME, RUN_SEED)
    (ended,) = learn_together(base, [lesson], as_schedule(SMALL), lambda _: None, adapter_losses(base, data, rows))
    assert not ended.error
    assert ended.progress.best_rows.dtype == torch.float32
    assert ended.progress.best.loss < 0.99 * ended.progress.curve[0].loss


def test_a_loss_that_is_not_a_number_names_the_adapter_s_own_rate(base, images):
    data, rows = prepare(base, images, TOKEN, 2), rows_of(base)
    lesson = adapter_lesson(base, data, SMALL, CLASS_NAME, RUN_SEED)
    lesson.progress.rows = lesson.progress.rows * float("nan")
    (ended,) = learn_together(base, [lesson], as_schedule(SMALL), lambda _: None, adapter_losses(base, data, rows))
    assert ended.error.startswith("class 'rose': ")
    assert "lower sampling.adapter.learning_rate" in ended.error


def test_the_engine_gets_the_adapter_s_settings():
    settings = as_schedule(dataclasses.replace(SMALL, weight_decay=0.5))
    for name in LoraConfig.__slots__:
        if name != "rank":
            assert getattr(settings, name) == getattr(dataclasses.replace(SMALL, weight_decay=0.5), name), name
    assert not settings.keep_norm
    assert settings.patience_evals == 0
