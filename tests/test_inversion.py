import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from flowerti import inversion
from flowerti.artifacts import seed_for
from flowerti.config import InversionConfig
from flowerti.diffusion import Base, encode_pictures, load_base, tokenise, word_id
from flowerti.inversion import Progress, TrainingSet, denoising_loss, draw, evaluate, learn, prepare, start
from flowerti.prompts import TEMPLATES

TOKEN = "<rose>"
CLASS_NAME = "rose"
RUN_SEED = 3
SMALL = InversionConfig(
    num_steps=12, batch_size=4, num_eval_latents=8, eval_every_steps=3, checkpoint_every_steps=4, num_vectors=2
)


@pytest.fixture(scope="module")
def data(base, pictures) -> TrainingSet:
    return prepare(base, pictures, TOKEN, 2)


def _copy(progress: Progress) -> Progress:
    tensors = {name: getattr(progress, name) for name in ("rows", "first_moment", "second_moment", "best_rows")}
    copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    return Progress(step=progress.step, curve=list(progress.curve), **copies)


def _ignore(_progress: Progress) -> None:
    pass


def _learn(
    base: Base,
    data: TrainingSet,
    config: InversionConfig,
    progress: Progress | None = None,
    checkpoint: Callable[[Progress], None] = _ignore,
) -> Progress:
    return learn(base, data, config, CLASS_NAME, RUN_SEED, progress or start(base, config), checkpoint)


def test_prepare_holds_plain_views_then_mirrored_ones(base, pictures, data):
    mean, deviation = encode_pictures(base, pictures)
    mirrored = torch.from_numpy(np.ascontiguousarray(pictures.numpy()[:, :, ::-1]))
    mirrored_mean, mirrored_deviation = encode_pictures(base, mirrored)
    torch.testing.assert_close(data.mean, torch.cat([mean, mirrored_mean]), rtol=0, atol=1e-6)
    torch.testing.assert_close(data.deviation, torch.cat([deviation, mirrored_deviation]), rtol=1e-5, atol=1e-6)
    assert (mean - mirrored_mean).abs().max() > 1e-4
    assert (data.captions >= base.vocabulary_size).sum().item() == 2 * len(TEMPLATES)


@pytest.mark.parametrize("view", [0, 7])
def test_sampling_the_moments_is_encoding_each_time(base, pictures, data, view):
    num_samples = 4000
    picture = pictures[view] if view < 5 else pictures[view - 5].flip(1)
    prepared = picture.permute(2, 0, 1)[None].float() / 127.5 - 1
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        posterior = base.vae.encode(prepared).latent_dist
        encoded = [posterior.sample(generator=generator)[0] for _ in range(num_samples)]
    encoded = torch.stack(encoded) * base.vae.config.scaling_factor
    noise = torch.randn(encoded.shape, generator=torch.Generator().manual_seed(1))
    ours = data.mean[view] + data.deviation[view] * noise
    deviation = encoded.std(dim=0)
    standard_errors = (ours.mean(dim=0) - encoded.mean(dim=0)).abs() / (deviation * math.sqrt(2 / num_samples))
    assert standard_errors.max() < 4.5
    assert (ours.std(dim=0) / deviation - 1).abs().max() < 4.5 / math.sqrt(num_samples)


def test_start_is_the_initializer_s_embedding_in_float32(tiny_base):
    base = load_base(tiny_base, "bfloat16", "cpu")
    progress = start(base, InversionConfig(num_vectors=3, initializer_token="lily"))
    embedding = base.text_encoder.get_input_embeddings().weight[base.tokenizer("lily").input_ids[1]]
    assert progress.rows.dtype == torch.float32
    assert torch.equal(progress.rows, embedding.float().expand(3, -1))
    with pytest.raises(ValueError, match="initializer_token: 'sword' is 5 tokens"):
        start(base, InversionConfig(initializer_token="sword"))


@pytest.mark.parametrize(("batch_size", "num_timesteps"), [(10, 1000), (16, 1000), (7, 100), (1, 1000)])
def test_timesteps_hold_exactly_one_of_each_stratum(data, batch_size, num_timesteps):
    width = num_timesteps / batch_size
    lowest = np.floor(np.arange(batch_size) * width)
    highest = np.ceil((np.arange(batch_size) + 1) * width) - 1
    for seed in range(300):
        timesteps = np.sort(draw(data, batch_size, num_timesteps, seed).timesteps.numpy())
        assert (timesteps >= lowest).all()
        assert (timesteps <= highest).all()


def test_every_choice_is_uniform_at_every_place_of_the_batch(data):
    num_seeds = 2000
    draws = [draw(data, 4, 1000, seed) for seed in range(num_seeds)]
    for place in range(4):
        deciles = np.bincount([d.timesteps[place].item() // 100 for d in draws], minlength=10)
        views = np.bincount([d.views[place].item() for d in draws], minlength=len(data.mean))
        captions = np.bincount([d.captions[place].item() for d in draws], minlength=len(TEMPLATES))
        for counts, num_choices in ((deciles, 10), (views, len(data.mean)), (captions, len(TEMPLATES))):
            assert len(counts) == num_choices
            assert stats.chisquare(counts).pvalue > 1e-3
    values = torch.cat([torch.cat([d.noise, d.posterior_noise]).flatten() for d in draws[:20]])
    assert stats.kstest(values.numpy(), "norm").pvalue > 1e-3


def test_a_draw_follows_from_its_seed_alone(data):
    state = torch.get_rng_state()
    first, same, other = draw(data, 4, 1000, 5), draw(data, 4, 1000, 5), draw(data, 4, 1000, 6)
    for field in dataclasses.fields(first):
        assert torch.equal(getattr(first, field.name), getattr(same, field.name))
    assert not torch.equal(first.noise, other.noise)
    assert not torch.equal(first.noise, first.posterior_noise)
    assert torch.equal(torch.get_rng_state(), state)


def test_evaluation_is_the_mean_loss_whatever_the_batch(base, data):
    rows = start(base, SMALL).rows
    whole = denoising_loss(base, rows, data, draw(data, 8, 1000, 11)).item()
    for batch_size in (8, 4, 3):
        config = dataclasses.replace(SMALL, batch_size=batch_size)
        assert evaluate(base, rows, data, config, 11) == pytest.approx(whole, rel=1e-5)


def test_an_unknown_prediction_type_is_refused(make_tiny_base, pictures):
    base = load_base(make_tiny_base(prediction_type="sample"), "float32", "cpu")
    with pytest.raises(ValueError, match="prediction type 'sample' is not supported"):
        _learn(base, prepare(base, pictures, TOKEN, 2), SMALL)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_learning_lowers_the_evaluation_loss(make_tiny_base, pictures, prediction_type):
    base = load_base(make_tiny_base(prediction_type=prediction_type, text_gain=16.0), "float32", "cpu")
    data = prepare(base, pictures, TOKEN, 2)
    config = dataclasses.replace(SMALL, num_steps=24, batch_size=8, eval_every_steps=8, learning_rate=0.05)
    progress = _learn(base, data, config)
    assert progress.best.loss < 0.97 * progress.curve[0].loss
    unseen = draw(data, 64, 1000, 12345)
    with torch.no_grad():
        before = denoising_loss(base, start(base, config).rows, data, unseen)
        after = denoising_loss(base, progress.best_rows, data, unseen)
    assert after < 0.97 * before


def _in_double(base: Base) -> Base:
    return dataclasses.replace(
        base, text_encoder=base.text_encoder.double(), unet=base.unet.double(), vae=base.vae.double()
    )


def _expected_rate(step: int, config: InversionConfig) -> float:
    num_warm = max(1, round(0.1 * config.num_steps))
    if step < num_warm:
        return config.learning_rate * (step + 1) / num_warm
    phase = math.pi * (step - num_warm) / (config.num_steps - num_warm)
    return config.learning_rate * (0.55 + 0.45 * math.cos(phase))


def _learn_in_the_whole_table(base: Base, data: TrainingSet, config: InversionConfig) -> torch.Tensor:
    """Textual Inversion as it is usually written: the enlarged vocabulary is the parameter, all else is put back."""
    first = base.vocabulary_size
    base.text_encoder.resize_token_embeddings(first + config.num_vectors, mean_resizing=False)
    table = base.text_encoder.get_input_embeddings().weight
    table.data[first:] = table.data[word_id(base, "flower")]
    table.requires_grad_()
    kept = table.detach()[:first].clone()
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
    alpha_bar = (1 - betas).cumprod(0).double()
    optimizer = torch.optim.AdamW([table], weight_decay=0.0)
    for step in range(config.num_steps):
        chosen = draw(data, config.batch_size, 1000, seed_for(RUN_SEED, CLASS_NAME, "inversion/step", step))
        latents = data.mean[chosen.views] + data.deviation[chosen.views] * chosen.posterior_noise
        signal = alpha_bar[chosen.timesteps].sqrt().reshape(-1, 1, 1, 1)
        spread = (1 - alpha_bar[chosen.timesteps]).sqrt().reshape(-1, 1, 1, 1)
        is_velocity = base.noise_scheduler.config.prediction_type == "v_prediction"
        target = signal * chosen.noise - spread * latents if is_velocity else chosen.noise
        states = base.text_encoder(data.captions[chosen.captions]).last_hidden_state
        predicted = base.unet(signal * latents + spread * chosen.noise, chosen.timesteps, states).sample
        optimizer.param_groups[0]["lr"] = _expected_rate(step, config)
        optimizer.zero_grad()
        (predicted - target).square().mean().backward()
        optimizer.step()
        table.data[:first] = kept
    return table.detach()[first:]


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_core_equals_training_of_the_whole_vocabulary_in_float64(make_tiny_base, pictures, prediction_type):
    folder = make_tiny_base(prediction_type=prediction_type, text_gain=8.0)
    config = dataclasses.replace(SMALL, num_steps=20, learning_rate=0.02)
    base = _in_double(load_base(folder, "float32", "cpu"))
    data = prepare(base, pictures, TOKEN, config.num_vectors)
    row = base.text_encoder.get_input_embeddings().weight[word_id(base, "flower")]
    rows = row.repeat(config.num_vectors, 1)
    zeros = torch.zeros_like(rows)
    progress = Progress(step=0, rows=rows, first_moment=zeros, second_moment=zeros.clone(), best_rows=rows.clone())
    ours = _learn(base, data, config, progress=progress).rows
    reference = _learn_in_the_whole_table(_in_double(load_base(folder, "float32", "cpu")), data, config)
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours, reference, rtol=0, atol=1e-10)
    assert (ours - row).abs().min() > 1e-3


def test_weight_decay_is_adamw_s_own(base, data):
    decayed = _learn(base, data, dataclasses.replace(SMALL, num_steps=1, weight_decay=0.5)).rows
    plain = _learn(base, data, dataclasses.replace(SMALL, num_steps=1)).rows
    shrunk = start(base, SMALL).rows * (SMALL.learning_rate * 0.5)
    torch.testing.assert_close(plain - decayed, shrunk, rtol=0, atol=1e-7)


@pytest.mark.parametrize("checkpoint_index", [0, 1])
def test_a_resumed_run_takes_the_same_path(tiny_base, base, data, checkpoint_index):
    saved: list[Progress] = []
    whole = _learn(base, data, SMALL, checkpoint=lambda progress: saved.append(_copy(progress)))
    assert [progress.step for progress in saved] == [4, 8, 12]
    other_base = load_base(tiny_base, "float32", "cpu")
    resumed = _learn(other_base, data, SMALL, progress=saved[checkpoint_index])
    assert resumed.curve == whole.curve
    assert resumed.step == whole.step == 12
    for name in ("rows", "best_rows", "first_moment", "second_moment"):
        assert torch.equal(getattr(resumed, name), getattr(whole, name)), name


def test_checkpoints_do_not_change_the_numbers(base, data):
    often = _learn(base, data, dataclasses.replace(SMALL, checkpoint_every_steps=1))
    assert torch.equal(often.rows, _learn(base, data, SMALL).rows)


def _spoil_training(monkeypatch: pytest.MonkeyPatch, at_step: int) -> None:
    real, calls = inversion.denoising_loss, []

    def spoilt(base, rows, data, chosen):
        loss = real(base, rows, data, chosen)
        if torch.is_grad_enabled():
            calls.append(1)
            return loss * math.nan if len(calls) == at_step else loss
        return loss

    monkeypatch.setattr(inversion, "denoising_loss", spoilt)


@pytest.mark.parametrize(("eval_every_steps", "refused_by"), [(100, "rows are not finite"), (1, "loss is nan")])
def test_a_loss_that_is_not_a_number_is_refused_before_it_is_saved(
    base, data, monkeypatch, eval_every_steps, refused_by
):
    _spoil_training(monkeypatch, at_step=3)
    saved: list[Progress] = []
    config = dataclasses.replace(SMALL, eval_every_steps=eval_every_steps, checkpoint_every_steps=1)
    with pytest.raises(ValueError, match=rf"class 'rose': .*{refused_by} at step 3"):
        _learn(base, data, config, checkpoint=lambda progress: saved.append(_copy(progress)))
    assert [progress.step for progress in saved] == [1, 2]
    assert all(torch.isfinite(progress.rows).all() for progress in saved)


def _script_evaluations(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []

    def scripted(_base, rows, _data, _config, _seed) -> float:
        seen.append(rows.detach().clone())
        return losses[len(seen) - 1]

    monkeypatch.setattr(inversion, "evaluate", scripted)
    return seen


def test_patience_stops_early_and_the_best_rows_are_kept(base, data, monkeypatch):
    seen = _script_evaluations(monkeypatch, [5.0, 4.0, 3.0, 3.5, 3.0, 1.0])
    config = dataclasses.replace(SMALL, num_steps=100, patience_evals=2)
    progress = _learn(base, data, config)
    assert progress.step == 4 * config.eval_every_steps
    assert (progress.best.step, progress.best.loss) == (2 * config.eval_every_steps, 3.0)
    assert torch.equal(progress.best_rows, seen[2])
    assert not torch.equal(progress.best_rows, progress.rows)


def test_without_patience_all_steps_are_taken_and_the_first_rows_may_be_best(base, data, monkeypatch):
    seen = _script_evaluations(monkeypatch, [1.0, 4.0, 3.0, 2.0, 2.5, 9.0])
    progress = _learn(base, data, SMALL)
    assert progress.step == SMALL.num_steps
    assert torch.equal(progress.best_rows, seen[0])
    assert torch.equal(seen[0], start(base, SMALL).rows)


def test_nothing_but_the_rows_is_trained(base, data):
    before = {name: value.clone() for name, value in base.text_encoder.state_dict().items()}
    progress = _learn(base, data, SMALL)
    assert all(torch.equal(value, before[name]) for name, value in base.text_encoder.state_dict().items())
    networks = (base.text_encoder, base.unet, base.vae)
    assert all(parameter.grad is None for network in networks for parameter in network.parameters())
    assert (progress.rows - start(base, SMALL).rows).abs().sum(dim=1).min() > 0


def test_captions_of_the_training_set_are_the_templates(base, data):
    assert torch.equal(data.captions, tokenise(base, [t.format(TOKEN) for t in TEMPLATES], TOKEN, 2))


def test_pictures_of_another_class_take_another_path(base, data):
    ours = _learn(base, data, SMALL)
    theirs = learn(base, data, SMALL, "lily", RUN_SEED, start(base, SMALL), _ignore)
    other_seed = learn(base, data, SMALL, CLASS_NAME, RUN_SEED + 1, start(base, SMALL), _ignore)
    assert not torch.equal(ours.rows, theirs.rows)
    assert not torch.equal(ours.rows, other_seed.rows)
