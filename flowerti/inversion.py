"""Textual Inversion (Gal et al. 2022, arXiv 2208.01618, eq. 2): learn embedding rows for one class on a frozen base.

The rows are the only parameters. Posterior moments of the pictures are computed once, plain and mirrored, and sampled
anew at every step, which is the distribution that encoding each time would give. All randomness of a step comes from
the run's seed and the step's number, so that a run resumed from a checkpoint takes the same path as an uninterrupted
one. This module does not know about Ray, files, or why a class was selected.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from flowerti.artifacts import LossPoint, seed_for
from flowerti.config import InversionConfig
from flowerti.diffusion import Base, encode_pictures, encode_prompts, tokenise, word_id
from flowerti.prompts import TEMPLATES

_WARM_UP_SHARE = 0.1
_FINAL_RATE_SHARE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSet:
    """What a step draws from: posterior moments of all views of the pictures, and tokenised captions."""

    mean: Float[Tensor, "views channels h w"]
    deviation: Float[Tensor, "views channels h w"]
    captions: Int64[Tensor, "captions length"]


@dataclass(kw_only=True, slots=True)
class Progress:
    """Everything that a resumed run needs."""

    step: int
    rows: Float[Tensor, "vectors width"]
    first_moment: Float[Tensor, "vectors width"]
    second_moment: Float[Tensor, "vectors width"]
    best_rows: Float[Tensor, "vectors width"]
    curve: list[LossPoint] = field(default_factory=list)

    @property
    def best(self) -> LossPoint:
        """The evaluation whose rows are kept."""
        return min(self.curve, key=lambda point: point.loss)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """The random choices of one batch."""

    views: Int64[Tensor, "batch"]
    captions: Int64[Tensor, "batch"]
    timesteps: Int64[Tensor, "batch"]
    posterior_noise: Float[Tensor, "batch channels h w"]
    noise: Float[Tensor, "batch channels h w"]


def prepare(base: Base, pictures: UInt8[Tensor, "num height width 3"], token: str, num_vectors: int) -> TrainingSet:
    """Encode the pictures and their mirror images once, and tokenise every template once."""
    mean, deviation = encode_pictures(base, torch.cat([pictures, pictures.flip(2)]))
    captions = tokenise(base, [template.format(token) for template in TEMPLATES], token, num_vectors)
    return TrainingSet(mean=mean, deviation=deviation, captions=captions)


def start(base: Base, config: InversionConfig) -> Progress:
    """Rows at the initializer token's embedding, float32.

    Raises:
        ValueError: the initializer token is not one token of the base.
    """
    row = base.text_encoder.get_input_embeddings().weight[word_id(base, config.initializer_token)]
    rows = row.detach().float().repeat(config.num_vectors, 1)
    return Progress(
        step=0,
        rows=rows,
        first_moment=torch.zeros_like(rows),
        second_moment=torch.zeros_like(rows),
        best_rows=rows.clone(),
    )


def draw(data: TrainingSet, batch_size: int, num_timesteps: int, seed: int) -> Draw:
    """Choose views, captions, noise and timesteps; timesteps are stratified: one uniform draw in each equal part."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch_size, *data.mean.shape[1:])
    strata = torch.randperm(batch_size, generator=generator) + torch.rand(batch_size, generator=generator)
    views = torch.randint(len(data.mean), (batch_size,), generator=generator)
    captions = torch.randint(len(data.captions), (batch_size,), generator=generator)
    device = data.mean.device
    return Draw(
        views=views.to(device),
        captions=captions.to(device),
        timesteps=(strata * (num_timesteps / batch_size)).long().clamp(max=num_timesteps - 1).to(device),
        posterior_noise=torch.randn(shape, generator=generator).to(data.mean),
        noise=torch.randn(shape, generator=generator).to(data.mean),
    )


def denoising_loss(
    base: Base, rows: Float[Tensor, "vectors width"], data: TrainingSet, chosen: Draw
) -> Float[Tensor, ""]:
    """Mean squared error of the base's prediction (Gal et al. 2022, eq. 2), in the base's own prediction type.

    Raises:
        ValueError: the base predicts something else than noise or velocity.
    """
    latents = data.mean[chosen.views] + data.deviation[chosen.views] * chosen.posterior_noise
    scheduler = base.noise_scheduler
    noisy = scheduler.add_noise(latents, chosen.noise, chosen.timesteps)
    if scheduler.config.prediction_type == "epsilon":
        target = chosen.noise
    elif scheduler.config.prediction_type == "v_prediction":
        target = scheduler.get_velocity(latents, chosen.noise, chosen.timesteps)
    else:
        raise ValueError(f"base: prediction type {scheduler.config.prediction_type!r} is not supported")
    states = encode_prompts(base, data.captions[chosen.captions], rows)
    predicted = base.unet(noisy.to(base.dtype), chosen.timesteps, states.to(base.dtype)).sample
    return torch.nn.functional.mse_loss(predicted.to(target.dtype), target)


@torch.no_grad()
def evaluate(
    base: Base, rows: Float[Tensor, "vectors width"], data: TrainingSet, config: InversionConfig, seed: int
) -> float:
    """The loss on fixed views, captions, timesteps and noise: comparable between steps, unlike the training loss."""
    num_timesteps = base.noise_scheduler.config.num_train_timesteps
    fixed = draw(data, config.num_eval_latents, num_timesteps, seed)
    total = 0.0
    for begin in range(0, config.num_eval_latents, config.batch_size):
        part = slice(begin, begin + config.batch_size)
        batch = Draw(
            views=fixed.views[part],
            captions=fixed.captions[part],
            timesteps=fixed.timesteps[part],
            posterior_noise=fixed.posterior_noise[part],
            noise=fixed.noise[part],
        )
        total += denoising_loss(base, rows, data, batch).item() * len(batch.views)
    return total / config.num_eval_latents


def learning_rate_at(step: int, config: InversionConfig) -> float:
    """Rate of a step: linear warm-up over the first tenth, then a cosine down to a tenth of the peak."""
    warm_up = max(1, round(config.num_steps * _WARM_UP_SHARE))
    if step < warm_up:
        return config.learning_rate * (step + 1) / warm_up
    position = torch.tensor((step - warm_up) / max(1, config.num_steps - warm_up), dtype=torch.float64)
    share = _FINAL_RATE_SHARE + (1 - _FINAL_RATE_SHARE) * 0.5 * (1 + torch.cos(torch.pi * position).item())
    return config.learning_rate * share


def _optimizer(rows: Tensor, progress: Progress, config: InversionConfig) -> torch.optim.AdamW:
    optimizer = torch.optim.AdamW([rows], lr=config.learning_rate, weight_decay=config.weight_decay)
    optimizer.state[rows] = {
        "step": torch.tensor(float(progress.step)),
        "exp_avg": progress.first_moment,
        "exp_avg_sq": progress.second_moment,
    }
    return optimizer


def learn(
    base: Base,
    data: TrainingSet,
    config: InversionConfig,
    class_name: str,
    run_seed: int,
    progress: Progress,
    checkpoint: Callable[[Progress], None],
) -> Progress:
    """Train the rows from `progress` to the end, in place; `checkpoint` is called every few steps and at the end.

    Raises:
        ValueError: the loss is not finite; names the class and the step, the last good checkpoint stays.
    """
    rows = progress.rows.requires_grad_()
    optimizer = _optimizer(rows, progress, config)
    num_timesteps = base.noise_scheduler.config.num_train_timesteps
    eval_seed = seed_for(run_seed, class_name, "inversion/evaluation", 0)
    if not progress.curve:
        _record(progress, evaluate(base, rows, data, config, eval_seed), class_name)
    while progress.step < config.num_steps and not _should_stop(progress, config):
        step_seed = seed_for(run_seed, class_name, "inversion/step", progress.step)
        chosen = draw(data, config.batch_size, num_timesteps, step_seed)
        optimizer.param_groups[0]["lr"] = learning_rate_at(progress.step, config)
        loss = denoising_loss(base, rows, data, chosen)
        (rows.grad,) = torch.autograd.grad(loss, [rows])
        optimizer.step()
        progress.step += 1
        is_last = progress.step == config.num_steps
        if progress.step % config.eval_every_steps == 0 or is_last:
            _record(progress, evaluate(base, rows, data, config, eval_seed), class_name)
        if progress.step % config.checkpoint_every_steps == 0 or is_last:
            _require_finite(rows, progress.step, class_name)
            checkpoint(progress)
    progress.rows = rows.detach()
    return progress


def _require_finite(rows: Tensor, step: int, class_name: str) -> None:
    if not bool(torch.isfinite(rows).all()):
        raise ValueError(
            f"class {class_name!r}: the learnt rows are not finite at step {step}: lower "
            "inversion.learning_rate or use base.dtype float32"
        )


def _record(progress: Progress, loss: float, class_name: str) -> None:
    if not loss < float("inf"):
        raise ValueError(
            f"class {class_name!r}: the evaluation loss is {loss} at step {progress.step}: lower "
            "inversion.learning_rate or use base.dtype float32"
        )
    is_best = not progress.curve or loss < progress.best.loss
    progress.curve.append(LossPoint(step=progress.step, loss=loss))
    if is_best:
        progress.best_rows = progress.rows.detach().clone()


def _should_stop(progress: Progress, config: InversionConfig) -> bool:
    if not config.patience_evals:
        return False
    best_index = progress.curve.index(progress.best)
    return len(progress.curve) - 1 - best_index >= config.patience_evals
