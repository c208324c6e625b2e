"""A small run whose results can be exported: five classes of files, four of them weak and with difficult names."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from flowerti.artifacts import layout
from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.pending import PendingArtifacts
from flowerti.artifacts.records import Learned, SelectedClass, Selection
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import write_config
from flowerti.config.experiment import (
    BaseConfig,
    DataConfig,
    Experiment,
    ReplicationConfig,
    SamplingConfig,
    SelectionConfig,
    SweepConfig,
)
from flowerti.data.access import list_records
from flowerti.data.dataset import SPLITS
from flowerti.data.inspection import Inspection
from flowerti.data.shards import write_shard
from flowerti.diffusion import Base
from flowerti.export.request import ExportRequest
from flowerti.personalization.encoding import token_of
from flowerti.personalization.lora.layers import unet_layers
from flowerti.personalization.lora.technique import WEIGHTS
from flowerti.personalization.low_rank import adapter_bytes, start_adapter
from flowerti.personalization.store import save_learned
from flowerti.personalization.textual_inversion.embedding_files import diffusers_bytes, web_bytes
from flowerti.personalization.textual_inversion.technique import EMBEDDINGS, web_file

WEAK = ("Tulip", "café", "prince of wales feathers?", "snow_drop")
NAMES = tuple(sorted([*WEAK, "rose"]))
WORDS = {
    "Tulip": "ti-tulip",
    "café": "ti-cafe",
    "prince of wales feathers?": "ti-prince-of-wales-feathers",
    "rose": "ti-rose",
    "snow_drop": "ti-snow-drop",
}
NUM_VECTORS = dict(zip(WEAK, (1, 3, 3, 3), strict=True))
NUM_TRAIN, NUM_DRAWN, BATCH_SIZE = 3, 6, 4
SHA256 = "ab" * 32


def experiment_of(root: Path, base: Path, **data: object) -> Experiment:
    """The settings of the run."""
    return Experiment(
        name="small",
        seed=5,
        data=DataConfig(kind="image_folder", root=str(root), image_size_px=32, **data),
        base=BaseConfig(path=str(base)),
        selection=SelectionConfig(rule="fixed", class_names=WEAK, num_classes=len(WEAK)),
        sampling=SamplingConfig(
            num_per_class=NUM_DRAWN,
            batch_size=BATCH_SIZE,
            num_inference_steps=4,
            sources=("raw", "token", "lora", "raw_img2img"),
        ),
        replication=ReplicationConfig(num_learnings=2),
        sweep=SweepConfig(ratios=(1.0,)),
    )


def make_run(folder: Path, base_folder: Path, base: Base, **data: object) -> RunDirectory:
    """Write data set and run directory."""
    save_data(folder / "data")
    experiment, run = experiment_of(folder / "data", base_folder, **data), RunDirectory(str(folder / "run"))
    write_config(run, experiment)
    artifacts = PendingArtifacts(run)
    inspection = Inspection(
        data=experiment.data, imbalance=experiment.imbalance, seed=experiment.seed, known=None, artifacts=artifacts
    )
    inspection.of(list_records(experiment.data, experiment.seed))
    artifacts.save()
    chosen = [SelectedClass(class_name=name, num_train=NUM_TRAIN, f1_validation=0.5, reason="fixed") for name in WEAK]
    run.save(layout.SELECTION, Selection(selected=chosen, by_evidence=[]), "k")
    for name in WEAK:
        save_class(run, base, name)
    return run


def save_data(root: Path) -> None:
    """Files of noise: JPEG in training, one of them named as in capitals, PNG in the other splits."""
    for split in SPLITS:
        for name in NAMES:
            (root / split / name).mkdir(parents=True)
            for i in range(NUM_TRAIN):
                suffix = ".JPEG" if split == "train" else ".png"
                noise(f"{split}/{name}", i, 40).save(root / split / name / f"photo {i}{suffix}", quality=95)


def noise(name: str, index: int, side_px: int) -> Image.Image:
    """An image that no other name and index has."""
    rng = np.random.default_rng(seed_for(0, name, "noise", index))
    return Image.fromarray(rng.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8))


def rows_of(name: str) -> torch.Tensor:
    """The learnt rows of a class."""
    return torch.randn(NUM_VECTORS[name], 16, generator=torch.Generator().manual_seed(NAMES.index(name)))


def adapter_of(base: Base, name: str) -> torch.Tensor:
    """The learnt adapter of a class, far from zero."""
    generator = torch.Generator().manual_seed(50 + NAMES.index(name))
    return 0.2 * torch.randn(start_adapter(unet_layers(base.unet), 2, 0, "lora").shape, generator=generator)


def save_class(run: RunDirectory, base: Base, name: str) -> None:
    """What was learnt and drawn for a class."""
    rows, token = rows_of(name), token_of(name)
    known: dict[str, Any] = {"class_name": name, "token": token, "base": "some/where", "base_sha256": SHA256}
    known |= {"num_images": NUM_TRAIN, "num_steps": 20, "best_step": 10}
    files = {EMBEDDINGS: diffusers_bytes(token, rows, [16]), web_file(name): web_bytes(rows, [16])}
    save_learned(run, Learned(technique="textual_inversion", num_vectors=len(rows), **known), files, "k")
    adapter = {WEIGHTS: adapter_bytes(unet_layers(base.unet), adapter_of(base, name))}
    save_learned(run, Learned(technique="lora", **known), adapter, "k")
    for source in ("raw", "token", "lora", "raw_img2img"):
        for begin in range(0, NUM_DRAWN, BATCH_SIZE):
            rows = [drawn_row(name, source, i) for i in range(begin, min(begin + BATCH_SIZE, NUM_DRAWN))]
            write_shard(run, layout.shard(name, source, begin), rows, "k")


def drawn_row(name: str, source: str, index: int) -> dict[str, Any]:
    """A row of a shard, as the sampler writes it."""
    stream = io.BytesIO()
    noise(f"{name}/{source}", index, 32).save(stream, "PNG")
    words = name if source.startswith("raw") else token_of(name)
    row: dict[str, Any] = {
        "image": {"bytes": stream.getvalue(), "path": f"{index:06d}.png"},
        "class_name": name,
        "source": source,
        "learning": 0,
        "prompt": f'Photo of a "{words}"',
        "index": index,
        "seed": seed_for(5, name, source, index),
        "mode": "text_to_image",
        "negative_prompt": "",
        "guidance_scale": 3.0,
    }
    if source == "raw_img2img":
        row |= {"mode": "image_to_image", "source_image": f"train/{name}/photo 0.JPEG", "strength": 0.5}
    return row


def asking(*what: str, **more: Any) -> ExportRequest:
    """A request."""
    return ExportRequest(what=what, **more)
