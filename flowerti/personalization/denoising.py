"""The denoising loss (Ho et al. 2020, arXiv 2006.11239, eq. 14) on a class's images, and the random draws of a step.

The posterior moments of the images are computed once, plain and mirrored, and sampled at every step, which gives the
same distribution as encoding every time. All random numbers of a batch come from one seed. Several classes can share a
batch: the networks are frozen, so the loss and gradient of a class are those of a separate batch. This module does not
know the trained parameters, nor about optimisers, files or Ray.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from flowerti.config.experiment import ScheduleConfig
from flowerti.diffusion import Base
from flowerti.personalization.encoding import TextStates, encode_images, tokenise
from flowerti.prompts import TEMPLATES


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedImages:
    """Training data of a class, or of several together: posterior moments of all views of the images, and captions."""

    mean: Float[Tensor, "views channels h w"]
    std: Float[Tensor, "views channels h w"]
    captions: Int64[Tensor, "captions length"]
    num_views: tuple[int, ...] = ()
    """Views of each class where several are learnt together, class after class, as are their captions, equally many of
    each; empty where all are of one class."""
    prior: "EncodedImages | None" = None
    """What else is learnt in every step so that it stays as it is; None for nothing."""
    prior_weight: float = 0.0
    """Weight of its loss."""

    @property
    def num_captions(self) -> int:
        """Captions of a class."""
        return len(self.captions) // (len(self.num_views) or 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """The random choices of one batch."""

    views: Int64[Tensor, "batch"]
    captions: Int64[Tensor, "batch"]
    timesteps: Int64[Tensor, "batch"]
    posterior_noise: Float[Tensor, "batch channels h w"]
    noise: Float[Tensor, "batch channels h w"]
    prior: "Draw | None" = None
    """As many choices from the data's prior, where it has one."""

    @property
    def num_latents(self) -> int:
        """Latents that the U-Net sees, the prior's included."""
        return len(self.views) + (self.prior.num_latents if self.prior else 0)

    def part(self, begin: int, size: int) -> "Draw":
        """The slice of at most `size` draws from index `begin` on."""
        names = [field.name for field in fields(self) if field.name != "prior"]
        own = {name: getattr(self, name)[begin : begin + size] for name in names}
        return Draw(**own, prior=self.prior.part(begin, size) if self.prior else None)


Losses = Callable[[Base, Sequence[Tensor], Sequence[EncodedImages], Sequence[Draw]], list[Tensor]]
"""Returns one scalar loss per class of a batch, from the base and, for each class, the trained tensor, the data and the
draw."""


def prepare(base: Base, images: UInt8[Tensor, "num height width 3"], noun: str, num_vectors: int) -> EncodedImages:
    """Encode the images and their mirror images once, and tokenise every caption once.

    A single image is sufficient, as in Gal et al.'s ablations, but may then be reproduced.

    Args:
        base: the frozen networks.
        images: images of one class.
        noun: noun phrase in the captions: a placeholder token, or plain words.
        num_vectors: rows of the placeholder token; 0 for plain words.

    Raises:
        ValueError: there is no image, the placeholder token is a word of the base, or a caption is too long.
    """
    if len(images) == 0:
        raise ValueError(f"{noun!r}: there is no training image to learn it from")
    # [num, h, w, 3] -> [2 num, h, w, 3] (flipping axis 2 mirrors left and right) -> [2 num, channels, h / f, w / f]
    mean, std = encode_images(base, torch.cat([images, images.flip(2)]))
    captions = tokenise(base, [template.format(noun) for template in TEMPLATES], noun, num_vectors)
    return EncodedImages(mean=mean, std=std, captions=captions)


def draw(data: EncodedImages, batch_size: int, num_timesteps: int, seed: int) -> Draw:
    """Sample views, captions, noise and stratified timesteps: one in each of batch_size equal parts of the range.

    Of classes that are learnt together each has its share of the batch, however many images it has.
    """
    generator = torch.Generator().manual_seed(seed)
    own = _draw_from(data, batch_size, num_timesteps, generator)
    if data.prior is None:
        return own
    # after the class's own choices, which are therefore those without a prior
    return replace(own, prior=_draw_from(data.prior, batch_size, num_timesteps, generator))


def _draw_from(data: EncodedImages, batch_size: int, num_timesteps: int, generator: torch.Generator) -> Draw:
    shape = (batch_size, *data.mean.shape[1:])
    # one u in each stratum [k, k + 1), k = 0, ..., batch_size - 1, in random order
    strata = torch.randperm(batch_size, generator=generator) + torch.rand(batch_size, generator=generator)
    views, captions = _views_and_captions(data, batch_size, generator)
    device = data.mean.device
    return Draw(
        views=views.to(device),
        captions=captions.to(device),
        # t = floor(u T / batch_size), in [0, T)
        timesteps=(strata * (num_timesteps / batch_size)).long().clamp(max=num_timesteps - 1).to(device),
        posterior_noise=torch.randn(shape, generator=generator).to(data.mean),
        noise=torch.randn(shape, generator=generator).to(data.mean),
    )


def _views_and_captions(
    data: EncodedImages, batch_size: int, generator: torch.Generator
) -> tuple[Int64[Tensor, "batch"], Int64[Tensor, "batch"]]:
    """A view for each latent, and one of the captions of the view's class."""
    if not data.num_views:
        views = torch.randint(len(data.mean), (batch_size,), generator=generator)
        return views, torch.randint(len(data.captions), (batch_size,), generator=generator)
    # classes first, then views: synthetic images of all weak classes are wanted, so the loss is the mean of their own;
    # weighted by images it would be that of the largest class, which needs them least. Systematic sampling (Madow 1949,
    # Ann. Math. Stat. 20): each of K classes has batch_size / K latents, rounded up or down
    sizes, num_classes = torch.tensor(data.num_views), len(data.num_views)
    places = torch.randperm(batch_size, generator=generator) + torch.rand(1, generator=generator, dtype=torch.float64)
    classes = (places * num_classes / batch_size).long().clamp(max=num_classes - 1)
    within = (torch.rand(batch_size, generator=generator, dtype=torch.float64) * sizes[classes]).long()
    captions = torch.randint(data.num_captions, (batch_size,), generator=generator)
    return (sizes.cumsum(0) - sizes)[classes] + within, classes * data.num_captions + captions


def prediction_losses(
    base: Base, states: TextStates, data: Sequence[EncodedImages], chosen: Sequence[Draw]
) -> list[Float[Tensor, ""]]:
    """Mean squared error of the base's prediction for each class, given the text states of the whole batch.

    Raises:
        ValueError: the base's prediction type is not epsilon, v_prediction or sample.
    """
    pairs = list(zip(data, chosen, strict=True))
    # z0 = mean + std * e, e ~ N(0, 1): the reparameterised posterior (Kingma and Welling 2014, arXiv 1312.6114)
    latents = torch.cat([d.mean[c.views] + d.std[c.views] * c.posterior_noise for d, c in pairs])
    noise = torch.cat([c.noise for c in chosen])
    timesteps = torch.cat([c.timesteps for c in chosen])
    # zt = sqrt(abar_t) * z0 + sqrt(1 - abar_t) * noise, abar_t = prod_{s <= t} (1 - beta_s) (Ho et al. 2020, eq. 4)
    noisy = base.noise_scheduler.add_noise(latents, noise, timesteps)
    target = _target(base, latents, noise, timesteps)
    predicted = predict(base, noisy, timesteps, states).to(target.dtype)
    sizes = [len(c.views) for c in chosen]
    parts = zip(predicted.split(sizes), target.split(sizes), strict=True)
    # per class: mean over its latents, channels and positions of (prediction - target)^2
    return [torch.nn.functional.mse_loss(ours, wanted) for ours, wanted in parts]


def _target(base: Base, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    prediction_type = base.noise_scheduler.config.prediction_type
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "v_prediction":
        # v = sqrt(abar_t) * noise - sqrt(1 - abar_t) * z0 (Salimans and Ho 2022, arXiv 2202.00512, appendix D)
        return base.noise_scheduler.get_velocity(latents, noise, timesteps)
    if prediction_type == "sample":
        return latents
    raise ValueError(f"base: prediction type {prediction_type!r} is not supported")


def predict(
    base: Base, noisy: Float[Tensor, "num channels h w"], timesteps: Tensor, states: TextStates
) -> Float[Tensor, "num channels h w"]:
    """The U-Net's prediction, of the base's own type, for noisy latents at timesteps [num], or all at one."""
    extra = {}
    if states.pooled is not None:
        height, width = (side * base.pixels_per_latent for side in noisy.shape[2:])
        # SDXL micro-conditioning (Podell et al. 2023, arXiv 2307.01952, section 2.2): original size, top left of the
        # crop, target size; images count as uncropped at their own size
        time_ids = torch.tensor([height, width, 0, 0, height, width], device=noisy.device, dtype=base.dtype)
        extra["added_cond_kwargs"] = {
            "text_embeds": states.pooled.to(base.dtype),
            "time_ids": time_ids.expand(len(noisy), -1),
        }
    return base.unet(noisy.to(base.dtype), timesteps, states.hidden.to(base.dtype), **extra).sample


@torch.no_grad()
def evaluate(
    base: Base,
    learnt: Float[Tensor, "rows columns"],
    data: EncodedImages,
    config: ScheduleConfig,
    seed: int,
    losses: Losses,
) -> float:
    """The loss on fixed views, captions, timesteps and noise: comparable between steps, unlike the training loss."""
    num_timesteps = base.noise_scheduler.config.num_train_timesteps
    fixed = draw(data, config.num_eval_latents, num_timesteps, seed)
    total = 0.0
    for begin in range(0, config.num_eval_latents, config.batch_size):
        batch = fixed.part(begin, config.batch_size)
        (loss,) = losses(base, [learnt], [data], [batch])
        # weight by the size of the batch, because the last one may be smaller
        total += loss.item() * len(batch.views)
    return total / config.num_eval_latents
