"""Trains the parts of a base in sequence, from prepared examples to the saved pipeline, with results in a work folder.

A restarted process resumes with the unfinished part. Several processes may train together, each on its share; this
module does not know how they were started.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from flowerti.artifacts.training_images import TRAINING_IMAGES
from flowerti.classifier.batch_share import WHOLE_BATCH, BatchShare
from flowerti.progress import Progress
from pretraining.atomic_files import write_array
from pretraining.autoencoder import encode_moments, reconstruction_psnr, train_autoencoder
from pretraining.denoiser import CaptionedLatents, Cycle, train_denoiser
from pretraining.examples import Examples
from pretraining.generated_latents import generate_latents
from pretraining.lite_features import image_features
from pretraining.networks import BaseNetworks, load_networks, save_base, start_base
from pretraining.prepared import load_examples, training_images_of
from pretraining.recipe import PretrainConfig
from pretraining.sharpening import DecoderData, sharpen_decoder
from pretraining.text_encoder import train_text

_NUM_JUDGED = 512
"""Number of images on which the autoencoder is evaluated."""


def _wait_for_nobody() -> None:
    """Barrier for a single process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingProcess:
    """One process that trains a base: its settings, folders and share."""

    config: PretrainConfig
    output_dir: Path
    """The pipeline's folder; replaced in whole, a few times on the way and at the end."""
    work_dir: Path
    """Folder for what is finished, with the prepared examples; the same for all processes."""
    progress: Progress
    part: BatchShare = WHOLE_BATCH
    wait_for_all: Callable[[], object] = _wait_for_nobody
    """Returns when every process has called it."""

    def save(self, base: BaseNetworks) -> None:
        """Write the pipeline with the hashes of what it has seen, in the first process."""
        if self.part.rank == 0:
            save_base(base, self.output_dir, {TRAINING_IMAGES: training_images_of(self.work_dir)})


def train_base(process: TrainingProcess) -> None:
    """Train all parts from prepared examples; the first process writes the pipeline."""
    config, examples = process.config, _examples(process)
    vae = _trained_autoencoder(process, examples)
    judged = examples.images[:_NUM_JUDGED]
    process.progress.metric("autoencoder/psnr_db", 0, reconstruction_psnr(vae, judged))
    moments = _shared(process, "moments", partial(encode_moments, vae), examples.images)
    base = _trained_denoiser(process, vae, examples, moments)
    generate = partial(generate_latents, base, examples.captions, config.seed + 6)
    generated = _shared(process, "generated", generate, np.arange(config.sharpening.num_generated))
    data = DecoderData(images=examples.images, moments=moments, generated=generated)
    sharpen_decoder(config.sharpening, base.vae, data, config.seed + 5, process.progress, process.part)
    process.progress.metric("autoencoder/psnr_db", 1, reconstruction_psnr(base.vae, judged))
    process.save(base)


def _examples(process: TrainingProcess) -> Examples:
    """The prepared examples, and their mirror images where these are learnt from, with the same captions."""
    found = load_examples(process.work_dir)
    if not process.config.mirrored:
        return found
    images = np.concatenate([found.images, found.images[:, :, ::-1]])
    return Examples(images=images, captions=[*found.captions, *found.captions])


def _trained_autoencoder(process: TrainingProcess, examples: Examples) -> AutoencoderKL:
    """The trained autoencoder, from the work folder where it is already there."""
    folder = process.work_dir / "vae"
    is_there = folder.exists()
    process.wait_for_all()  # all decide before the first one may write it
    if is_there:
        return AutoencoderKL.from_pretrained(folder).eval()
    checkpoint = process.work_dir / "encoding.safetensors"
    vae = train_autoencoder(process.config, examples.images, process.progress, process.part, checkpoint)
    if process.part.rank == 0:
        unfinished = process.work_dir / "vae.part"
        vae.save_pretrained(unfinished)
        os.replace(unfinished, folder)
        checkpoint.unlink(missing_ok=True)
    return vae


def _trained_denoiser(
    process: TrainingProcess, vae: AutoencoderKL, examples: Examples, moments: Tensor
) -> BaseNetworks:
    """The base with its trained text encoder and denoiser, loaded from the work folder if they are finished."""
    config, numbers = process.config, range(process.config.num_cycles)
    folders = [process.work_dir / f"denoised-{number + 1}" for number in numbers]
    checkpoints = [process.work_dir / f"denoising-{number + 1}.safetensors" for number in numbers]
    num_done = sum(folder.exists() for folder in folders)
    is_begun = checkpoints[0].exists()
    process.wait_for_all()  # all decide before the first one may write another
    if num_done:
        base = load_networks(folders[num_done - 1])
    else:
        base = start_base(config.sizes, config.seed + 2, vae, examples.captions)
        if not is_begun:  # what has begun brings its own text encoder
            features = _shared(process, "features", image_features, examples.images)
            # identical in every process: it takes a minute, and its contrastive loss needs the whole batch
            train_text(config, base, examples.captions, features, process.progress)
    data = CaptionedLatents(captions=examples.captions, moments=moments)
    for number in range(num_done, config.num_cycles):
        cycle = Cycle(number=number, checkpoint=checkpoints[number], save=process.save)
        train_denoiser(config, base, data, cycle, process.progress, process.part)
        if process.part.rank == 0:
            save_base(base, folders[number], dtype=torch.float32)
            checkpoints[number].unlink(missing_ok=True)
    return base


def _shared(process: TrainingProcess, name: str, compute: Callable[[np.ndarray], Tensor], items: np.ndarray) -> Tensor:
    """What `compute` gives for all items, a row each; each process does its share and reads the others' files."""
    part, places = process.part, np.arange(len(items))
    shares = [places[rank :: part.size] for rank in range(part.size)]
    files = [process.work_dir / f"{name}-{rank}-of-{part.size}.npy" for rank in range(part.size)]
    write_array(files[part.rank], compute(items[shares[part.rank]]).numpy())
    process.wait_for_all()
    found = [torch.from_numpy(np.load(file)) for file in files]
    joined = found[0].new_empty((len(places), *found[0].shape[1:]))
    for share, of_share in zip(shares, found, strict=True):
        joined[share] = of_share
    return joined
