"""Makes the embedded base model on Ray: pictures are drawn by tasks, the networks are trained by a Ray Train worker.

What is finished (pictures, autoencoder) is kept in a work folder, so that a worker that was lost starts at the part it
was in. The training itself is `flowerti.demo.pretraining`, which knows nothing about Ray.
"""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from flowerti.demo.networks import NetworkSizes
from flowerti.demo.pretraining import Examples, PretrainConfig, draw_examples

BLOCK = 500
_BIG_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"}


def pretrain(config: PretrainConfig, output_dir: Path, work_dir: Path, num_threads: int) -> None:
    """Draws the pictures, trains the networks and saves the pipeline in `output_dir`.

    Args:
        config: how the base is made.
        output_dir: the pipeline's folder; replaced in whole, a few times on the way and at the end.
        work_dir: local folder for what is finished; pass the same one to go on after an interruption.
        num_threads: cores of the drawing tasks and of the training worker; sums round differently at another number.
    """
    start = time.monotonic()
    env = {**_BIG_BLOCKS, "OMP_NUM_THREADS": str(num_threads)}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=num_threads, include_dashboard=False, runtime_env={"env_vars": env})
    try:
        prepare_pictures(config, work_dir)
        print(f"pictures are drawn after {time.monotonic() - start:.0f} s", flush=True)
        _trainer(config, output_dir, work_dir, num_threads).fit()
    finally:
        ray.shutdown()
    print(f"done after {time.monotonic() - start:.0f} s", flush=True)


def prepare_pictures(config: PretrainConfig, work_dir: Path) -> Path:
    """Draws all captioned pictures as Ray tasks, once, and returns the folder that holds them."""
    folder = work_dir / "pictures"
    if (folder / "captions.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    draw = ray.remote(num_cpus=1, max_retries=3, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})(draw_examples)
    starts = range(0, config.num_pictures, BLOCK)
    blocks = ray.get([draw.remote(config, i, min(i + BLOCK, config.num_pictures)) for i in starts])
    _write(folder / "pictures.npy", np.concatenate([block.pictures for block in blocks]))
    captions = [captions for block in blocks for captions in block.captions]
    temporary = folder / "captions.json.part"
    temporary.write_text(json.dumps(captions))
    os.replace(temporary, folder / "captions.json")
    return folder


def _write(path: Path, array: np.ndarray) -> None:
    with open(f"{path}.part", "wb") as file:
        np.save(file, array)
    os.replace(f"{path}.part", path)


def _trainer(config: PretrainConfig, output_dir: Path, work_dir: Path, num_threads: int) -> TorchTrainer:
    job = {
        "config": asdict(config),
        "output_dir": str(output_dir.resolve()),
        "work_dir": str(work_dir.resolve()),
        "num_threads": num_threads,
    }
    return TorchTrainer(
        train_on_worker,
        train_loop_config=job,
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": num_threads}),
        run_config=RunConfig(
            name="pretrain",
            storage_path=str((work_dir / "ray").resolve()),
            failure_config=FailureConfig(max_failures=2),
        ),
    )


def train_on_worker(job: dict[str, Any]) -> None:
    """What the one training worker does, from the drawn pictures to the saved pipeline."""
    import torch

    from flowerti.demo import pretraining
    from flowerti.demo.networks import save_base

    torch.set_num_threads(job["num_threads"])
    settings = dict(job["config"])
    config = PretrainConfig(**{**settings, "sizes": NetworkSizes(**settings["sizes"])})
    work_dir, output_dir = Path(job["work_dir"]), Path(job["output_dir"])
    examples = Examples(
        pictures=np.load(work_dir / "pictures" / "pictures.npy"),
        captions=json.loads((work_dir / "pictures" / "captions.json").read_text()),
    )
    report = _reporter()
    vae = _autoencoder(config, examples, work_dir, report)
    psnr = pretraining.reconstruction_psnr(vae, examples.pictures[:512])
    report({"what": "psnr", "step": 0, "loss": psnr})
    base = pretraining.start_base(config, vae, examples.captions)
    pretraining.train_denoiser(config, base, examples, report, lambda rough: save_base(rough, output_dir))
    save_base(base, output_dir)


def _autoencoder(config: PretrainConfig, examples: Examples, work_dir: Path, report: Any) -> Any:
    """The trained autoencoder, from the work folder where it is already there."""
    from diffusers import AutoencoderKL

    from flowerti.demo.pretraining import train_autoencoder

    folder = work_dir / "vae"
    if folder.exists():
        return AutoencoderKL.from_pretrained(folder).eval()
    vae = train_autoencoder(config, examples.pictures, report)
    vae.save_pretrained(work_dir / "vae.part")
    os.replace(work_dir / "vae.part", folder)
    return vae


def _reporter() -> Any:
    """A callback that sends metrics to Ray Train and prints them with the seconds since it was made."""
    start = time.monotonic()

    def report(metrics: dict[str, float | int | str]) -> None:
        seconds = round(time.monotonic() - start, 1)
        print(json.dumps({**metrics, "seconds": seconds}), flush=True)
        ray.train.report({**metrics, "seconds": seconds})

    return report
