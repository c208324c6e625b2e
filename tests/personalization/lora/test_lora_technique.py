import dataclasses

import pytest
import torch

from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import LoraConfig, TextualInversionConfig
from flowerti.diffusion import Base, load_base
from flowerti.personalization.denoising import EncodedImages, draw, evaluate, prepare
from flowerti.personalization.lora.technique import LORA, adapter_losses
from flowerti.personalization.schedule import learning_rate_at
from flowerti.personalization.textual_inversion.losses import denoising_loss, denoising_losses
from flowerti.personalization.train_state import TrainState, state_from
from flowerti.personalization.trainer import ClassTraining, Procedure, learn_together

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


def with_token(base: Base) -> Base:
    return dataclasses.replace(base, token=TOKEN, token_rows=rows_of(base))


def start(base: Base, data: EncodedImages) -> torch.Tensor:
    return LORA.start(base, data, SMALL, CLASS_NAME, seed_for(RUN_SEED, CLASS_NAME, "sampling.adapter/start", 0))


def train(base: Base, data: EncodedImages, learnt: torch.Tensor, config: LoraConfig = SMALL) -> ClassTraining:
    procedure = Procedure(base=base, config=config, losses=LORA.losses(base, [data]), seed_name="sampling.adapter")
    training = ClassTraining(class_name=CLASS_NAME, run_seed=RUN_SEED, data=data, state=state_from(learnt))
    (ended,) = learn_together(procedure, [training], lambda _: None)
    return ended


def learn(base: Base, data: EncodedImages, config: LoraConfig = SMALL) -> TrainState:
    ended = train(base, data, start(base, data).to(base.dtype), config)
    assert not ended.error
    return ended.state


@pytest.mark.parametrize("family", [{}, {"prediction_type": "v_prediction"}, {"is_xl": True}])
def test_an_adapter_goes_on_where_its_token_stopped_and_helps_on_unseen_draws(make_tiny_base, images, family):
    base = with_token(load_base(make_tiny_base(text_gain=8.0, **family), "float32", "cpu"))
    data, rows = prepare(base, images, TOKEN, 2), base.token_rows
    state = learn(base, data, dataclasses.replace(SMALL, num_steps=40, batch_size=8))
    settings = TextualInversionConfig(num_vectors=2, batch_size=8, num_eval_latents=8)
    seed = seed_for(RUN_SEED, CLASS_NAME, "inversion/evaluation", 0)
    of_token = evaluate(base, rows, data, settings, seed, denoising_losses)
    assert state.curve[0].loss == pytest.approx(of_token, rel=1e-5)
    unseen = draw(data, 64, 1000, 12345)
    losses = adapter_losses(base, [data])
    with torch.no_grad():
        before = denoising_loss(base, rows, data, unseen)
        (after,) = losses(base, [state.best], [data], [unseen])
    assert after < 0.97 * before


def test_steps_are_those_of_peft_and_plain_adamw(make_tiny_base, images):
    """Ten steps in float64 beside a U-Net that peft changed, with the same draws."""
    from peft import LoraConfig

    folder = make_tiny_base(text_gain=8.0)
    base, theirs = (with_token(_in_double(load_base(folder, "float32", "cpu"))) for _ in range(2))
    data, rows = prepare(base, images, TOKEN, 2), rows_of(base)
    initial = start(base, data)
    theirs.unet.add_adapter(
        LoraConfig(r=SMALL.rank, lora_alpha=SMALL.rank, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
    )
    parameters = [p for name, p in theirs.unet.named_parameters() if ".lora_" in name]
    begin = 0
    for parameter in parameters:  # in the order of the file: of each layer A, then B
        parameter.data = initial[0, begin : begin + parameter.numel()].view_as(parameter).double()
        parameter.requires_grad_()
        begin += parameter.numel()
    assert begin == initial.numel()
    optimizer = torch.optim.AdamW(parameters, weight_decay=SMALL.weight_decay)
    for step in range(SMALL.num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, SMALL)
        seed = seed_for(RUN_SEED, CLASS_NAME, "sampling.adapter/step", step)
        optimizer.zero_grad()
        denoising_loss(theirs, rows, data, draw(data, SMALL.batch_size, 1000, seed)).backward()
        optimizer.step()
    ours = learn(base, data).learnt
    expected = torch.cat([p.detach().flatten() for p in parameters])
    assert (expected - initial[0]).abs().max() > 1e-2
    torch.testing.assert_close(ours[0], expected, rtol=0, atol=1e-10)


def _in_double(base: Base) -> Base:
    return dataclasses.replace(
        base, text_encoder=base.text_encoder.double(), unet=base.unet.double(), vae=base.vae.double()
    )


def test_half_precision_networks_leave_the_adapter_in_float32(make_tiny_base, images):
    base = load_base(make_tiny_base(text_gain=8.0), "bfloat16", "cpu")
    base = dataclasses.replace(base, token=TOKEN, token_rows=rows_of(base).float())
    data = prepare(base, images, TOKEN, 2)
    ended = train(base, data, start(base, data))
    assert not ended.error
    assert ended.state.best.dtype == torch.float32
    assert ended.state.best_point.loss < 0.99 * ended.state.curve[0].loss


def test_a_loss_that_is_not_a_number_names_the_adapter_s_own_rate(base, images):
    carrying = with_token(base)
    data = prepare(carrying, images, TOKEN, 2)
    ended = train(carrying, data, start(carrying, data) * float("nan"))
    assert ended.error.startswith("class 'rose': ")
    assert "lower lora.learning_rate" in ended.error


def test_captions_without_a_token_are_learnt_on_as_they_are(base, images):
    """As a plugin that builds on nothing would: the class's own name in the captions."""
    data = prepare(base, images, "rose", 0)
    ended = train(base, data, start(base, data))
    assert not ended.error
    assert ended.state.best_point.loss < ended.state.curve[0].loss
