"""Makes the embedded base model on Ray: images are drawn by tasks, networks are trained by Ray Train, data-parallel.

What is finished (images, autoencoder) is kept in a work folder, so that a worker that was lost starts at the part it
was in. The training itself is in `flowerti.demo`, which knows nothing about Ray.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from flowerti.cluster.data_parallel import part_of_worker
from flowerti.demo.examples import Examples, draw_examples
from flowerti.demo.networks import NetworkSizes
from flowerti.demo.recipe import PretrainConfig, SharpeningConfig

BLOCK = 500
_BIG_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"}


def pretrain(config: PretrainConfig, output_dir: Path, work_dir: Path, num_workers: int) -> None:
    """Draws the images, trains the networks and saves the pipeline in `output_dir`.

    Args:
        config: how the base is made.
        output_dir: the pipeline's folder; replaced in whole, a few times on the way and at the end.
        work_dir: local folder for what is finished; pass the same one to go on after an interruption.
        num_workers: processes that draw and train, one core each; sums round differently at another number.
    """
    start = time.monotonic()
    env = {**_BIG_BLOCKS, "OMP_NUM_THREADS": "1"}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=num_workers, include_dashboard=False, runtime_env={"env_vars": env})
    try:
        prepare_images(config, work_dir)
        print(f"images are drawn after {time.monotonic() - start:.0f} s", flush=True)
        _trainer(config, output_dir, work_dir, num_workers).fit()
    finally:
        ray.shutdown()
    print(f"done after {time.monotonic() - start:.0f} s", flush=True)


def prepare_images(config: PretrainConfig, work_dir: Path) -> Path:
    """Draws all captioned images as Ray tasks, once, and returns the folder that holds them."""
    folder = work_dir / "images"
    if (folder / "captions.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    draw = ray.remote(num_cpus=1, max_retries=3, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})(draw_examples)
    starts = range(0, config.num_images, BLOCK)
    blocks = ray.get([draw.remote(config, i, min(i + BLOCK, config.num_images)) for i in starts])
    _write(folder / "images.npy", np.concatenate([block.images for block in blocks]))
    captions = [captions for block in blocks for captions in block.captions]
    temporary = folder / "captions.json.part"
    temporary.write_text(json.dumps(captions))
    os.replace(temporary, folder / "captions.json")
    return folder


def _write(path: Path, array: np.ndarray) -> None:
    with open(f"{path}.part", "wb") as file:
        np.save(file, array)
    os.replace(f"{path}.part", path)


def _trainer(config: PretrainConfig, output_dir: Path, work_dir: Path, num_workers: int) -> TorchTrainer:
    job = {
        "config": asdict(config),
        "output_dir": str(output_dir.resolve()),
        "work_dir": str(work_dir.resolve()),
    }
    return TorchTrainer(
        train_on_worker,
        train_loop_config=job,
        scaling_config=ScalingConfig(num_workers=num_workers, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(
            name="pretrain",
            storage_path=str((work_dir / "ray").resolve()),
            failure_config=FailureConfig(max_failures=2),
        ),
    )


def train_on_worker(job: dict[str, Any]) -> None:
    """What every training worker does, from the drawn images to the saved pipeline, which the first one writes."""
    import torch

    from flowerti.demo.autoencoder import encode_moments, reconstruction_psnr
    from flowerti.demo.drawings import draw_latents
    from flowerti.demo.networks import Base, save_base
    from flowerti.demo.sharpening import sharpen_decoder

    torch.set_num_threads(1)
    settings = dict(job["config"])
    groups = {
        "sizes": NetworkSizes(**settings["sizes"]),
        "sharpening": SharpeningConfig(**settings["sharpening"]),
    }
    config = PretrainConfig(**{**settings, **groups})
    work_dir, output_dir = Path(job["work_dir"]), Path(job["output_dir"])
    examples = Examples(
        images=np.load(work_dir / "images" / "images.npy", mmap_mode="r"),
        captions=json.loads((work_dir / "images" / "captions.json").read_text()),
    )
    part = part_of_worker()
    report = _reporter(part.rank)

    def save(base: Base) -> None:
        if part.rank == 0:
            save_base(base, output_dir)

    vae = _autoencoder(config, examples, work_dir, report, part)
    psnr = reconstruction_psnr(vae, examples.images[:512])
    report({"what": "psnr", "step": 0, "loss": psnr})
    moments = _shared(work_dir / "moments", partial(encode_moments, vae), examples.images, part)
    base = _denoiser(config, vae, examples, moments, work_dir, report, save, part)
    draw = partial(draw_latents, base, examples.captions, config.seed + 6)
    drawings = _shared(work_dir / "drawings", draw, np.arange(config.sharpening.num_drawings), part)
    sharpen_decoder(config.sharpening, base.vae, examples.images, moments, drawings, config.seed + 5, report, part)
    report({"what": "psnr", "step": 1, "loss": reconstruction_psnr(base.vae, examples.images[:512])})
    save(base)


def _autoencoder(config: PretrainConfig, examples: Examples, work_dir: Path, report: Any, part: Any) -> Any:
    """The trained autoencoder, from the work folder where it is already there."""
    from diffusers import AutoencoderKL
    from torch.distributed import barrier

    from flowerti.demo.autoencoder import train_autoencoder

    folder = work_dir / "vae"
    is_there = folder.exists()
    barrier()  # all decide before the first one may write it
    if is_there:
        return AutoencoderKL.from_pretrained(folder).eval()
    vae = train_autoencoder(config, examples.images, report, part)
    if part.rank == 0:
        vae.save_pretrained(work_dir / "vae.part")
        os.replace(work_dir / "vae.part", folder)
    return vae


def _denoiser(
    config: PretrainConfig,
    vae: Any,
    examples: Examples,
    moments: Any,
    work_dir: Path,
    report: Any,
    save: Any,
    part: Any,
) -> Any:
    """The base with its trained text encoder and denoiser, from the work folder as far as they are already there."""
    from torch.distributed import barrier

    from flowerti.demo.denoiser import train_denoiser
    from flowerti.demo.lite_features import image_features
    from flowerti.demo.networks import load_networks, save_base, start_base
    from flowerti.demo.text_pretraining import train_text

    folders = [work_dir / f"denoised-{course + 1}" for course in range(config.num_courses)]
    standings = [work_dir / f"denoising-{course + 1}.safetensors" for course in range(config.num_courses)]
    num_done = sum(folder.exists() for folder in folders)
    is_begun = standings[0].exists()
    barrier()  # all decide before the first one may write another
    if num_done:
        base = load_networks(folders[num_done - 1])
    else:
        base = start_base(config.sizes, config.seed + 2, vae, examples.captions)
        if not is_begun:  # what has begun brings its own text encoder
            features = _shared(work_dir / "features", image_features, examples.images, part)
            # the same on every worker: it takes a minute, and its loss wants the whole batch in one place
            train_text(config, base, examples.captions, features, report)
    for course in range(num_done, config.num_courses):
        train_denoiser(config, base, examples.captions, moments, report, save, part, course, standings[course])
        if part.rank == 0:
            save_base(base, folders[course])
            standings[course].unlink(missing_ok=True)
    return base


def _shared(stem: Path, compute: Callable[[np.ndarray], Any], items: np.ndarray, part: Any) -> Any:
    """What `compute` gives for all items, a row each; each worker does its share and reads the others' files."""
    import torch
    from torch.distributed import barrier

    places = np.arange(len(items))
    shares = [places[rank :: part.size] for rank in range(part.size)]
    files = [stem.with_name(f"{stem.name}-{rank}-of-{part.size}.npy") for rank in range(part.size)]
    _write(files[part.rank], compute(items[shares[part.rank]]).numpy())
    barrier()
    found = [torch.from_numpy(np.load(file)) for file in files]
    joined = found[0].new_empty((len(places), *found[0].shape[1:]))
    for share, of_share in zip(shares, found, strict=True):
        joined[share] = of_share
    return joined


def _reporter(rank: int) -> Any:
    """A callback that sends metrics to Ray Train; the first worker prints them with the seconds since it was made."""
    start = time.monotonic()

    def report(metrics: dict[str, float | int | str]) -> None:
        seconds = round(time.monotonic() - start, 1)
        if rank == 0:
            print(json.dumps({**metrics, "seconds": seconds}), flush=True)
        ray.train.report({**metrics, "seconds": seconds})

    return report
