"""Shards of every mode: what is drawn, what the columns say, and that a finished shard is left alone."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from flowerti.artifacts.records import Learned
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, SamplingConfig
from flowerti.diffusion import Base
from flowerti.generation import sampler
from flowerti.generation.sampler import Sampler
from flowerti.generation.shard_plan import ShardTask, Wanted, plan_shards
from flowerti.generation.starts import StartImage
from flowerti.personalization.store import save_learned
from flowerti.personalization.textual_inversion.embedding_files import diffusers_bytes
from flowerti.tables.sources import SOURCES

CONFIG = SamplingConfig(
    num_per_class=4, num_inference_steps=6, guidance_scale=3.0, batch_size=4, strengths=(0.34, 1.0), token_noise=1.0
)
CLASS_NAME, TOKEN = "red lily", "<red_lily>"


@pytest.fixture
def run(layout, tmp_path) -> RunDirectory:
    """A run directory with a token of two random rows."""
    run = RunDirectory(str(tmp_path / "run"))
    rows = torch.randn(2, sum(layout.base.row_widths), generator=torch.Generator().manual_seed(0))
    content = diffusers_bytes(TOKEN, rows, layout.base.row_widths)
    learned = Learned(class_name=CLASS_NAME, technique="textual_inversion", token=TOKEN, num_vectors=2)
    save_learned(run, learned, {"learned_embeds.safetensors": content}, "k")
    return run


@pytest.fixture
def starts(images, tmp_path) -> list[StartImage]:
    found = []
    for i, image in enumerate(images[:3]):
        Image.fromarray(image.numpy()).save(tmp_path / f"{i}.png")
        donor = CLASS_NAME if i else "rose"
        found.append(StartImage(id=f"train/{i}", class_name=donor, address=str(tmp_path / f"{i}.png")))
    return found


def plan(source: str, starts: list[StartImage], config: SamplingConfig = CONFIG, **more: Any) -> ShardTask:
    row = SOURCES[source]
    words = TOKEN if row.technique else CLASS_NAME
    wanted = Wanted(class_name=CLASS_NAME, source=source, words=words, run_seed=5, inputs="x", **more)
    (task,) = plan_shards(wanted, config, starts if row.starts_from_images else ())
    return task


def drawn(folder: Path, run: RunDirectory, task: ShardTask, config: SamplingConfig = CONFIG) -> list[dict[str, Any]]:
    Sampler(BaseConfig(path=str(folder)), config, run, 1, "cpu").write(task)
    return pq.read_table(run.path(task.file)).to_pylist()


def pixels(rows: list[dict[str, Any]]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in rows]).astype(int)


def furthest(a: np.ndarray, b: np.ndarray) -> list[int]:
    return np.abs(a - b).reshape(len(a), -1).max(axis=1).tolist()


def reconstruction(base: Base, address: str) -> np.ndarray:
    pixel = torch.from_numpy(np.array(Image.open(address)).astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        decoded = base.vae.decode(base.vae.encode(pixel).latent_dist.mean).sample
    return ((decoded[0] / 2 + 0.5).clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()


def test_a_round_trip_is_the_training_image_through_the_autoencoder(layout, run, starts):
    rows = drawn(layout.folder, run, plan("round_trip", starts))
    address = {start.id: start.address for start in starts}
    expected = np.stack([reconstruction(layout.base, address[row["source_image"]]) for row in rows])
    assert max(furthest(pixels(rows), expected)) <= 1
    assert {row["source_image"] for row in rows} == set(address)
    for row in rows:
        found = [row[name] for name in ("mode", "prompt", "negative_prompt", "guidance_scale", "strength")]
        assert found == ["round_trip", "", None, None, 0.0]


@pytest.mark.parametrize("source", ["raw_img2img", "token_img2img"])
def test_image_to_image_is_that_of_diffusers_with_the_stored_token(layout, run, starts, source):
    task = plan(source, starts)
    rows = drawn(layout.folder, run, task)
    pipeline = layout.pipeline("Img2Img")
    words = CLASS_NAME
    if SOURCES[source].technique:
        if layout.name == "sdxl":
            pytest.skip("diffusers loads SDXL's two parts of a token by hand: the encoding has tests of its own")
        pipeline.load_textual_inversion(run.path("concepts/red_lily/learned_embeds.safetensors"))
        words = TOKEN
    for row, start in zip(rows, task.starts, strict=True):
        image = pipeline(
            prompt=f'Photo of a "{words}"',
            image=Image.open(start.image.address),
            strength=row["strength"],
            generator=torch.Generator().manual_seed(row["seed"]),
            num_inference_steps=6,
            guidance_scale=3.0,
            output_type="np",
        ).images
        assert max(furthest((image * 255).round(), pixels([row]))) <= 1
        assert (row["mode"], row["source_image"], row["source_class"]) == (
            "image_to_image", start.image.id, start.image.class_name,
        )  # fmt: skip
    assert [row["strength"] for row in rows] == [0.34, 1.0, 0.34, 1.0]


def test_between_classes_the_label_is_shared_by_strength(layout, run, starts):
    rows = drawn(layout.folder, run, plan("token_inter_class", starts))
    assert {row["mode"] for row in rows} == {"inter_class"}
    assert {row["source_class"] for row in rows} == {"rose", CLASS_NAME}
    for row in rows:
        assert row["label_share"] == pytest.approx(row["strength"] ** 0.5)
        assert (row["class_name"], row["weight"]) == (CLASS_NAME, 1.0)
    own = pixels(drawn(layout.folder, run, plan("token_img2img", starts)))
    assert min(furthest(pixels(rows), own)) > 4, "from noise of its own"


def test_a_noisy_token_draws_other_images_and_no_noise_the_token_s_own(layout, run):
    tasks = plan("token_noise", []), plan("token_noise", [], without := dataclasses.replace(CONFIG, token_noise=0.0))
    noisy = drawn(layout.folder, run, tasks[0])
    plain = drawn(layout.folder, run, tasks[1], without)
    assert max(furthest(pixels(noisy), pixels(plain))) > 4
    # the same noise under the plain token: only the rows differ
    monkey = dataclasses.replace(tasks[0], source="token", key="by hand")
    seeds = [row["seed"] for row in plain]
    x = drawn(layout.folder, run, monkey)
    assert [row["seed"] for row in x] != seeds
    assert noisy[0]["prompt"] == plain[0]["prompt"] == f'Photo of a "{TOKEN}"'
    assert {row["mode"] for row in noisy} == {"text_to_image"}


def test_each_image_of_a_bank_has_its_context(layout, run):
    config = dataclasses.replace(CONFIG, contexts=("a bright photo of a {}", "a dark photo of a {}"))
    rows = drawn(layout.folder, run, plan("token_prompts", [], config), config)
    assert sorted({row["prompt"] for row in rows}) == [f"a bright photo of a {TOKEN}", f"a dark photo of a {TOKEN}"]
    same = dataclasses.replace(CONFIG, contexts=(rows[0]["prompt"].replace(TOKEN, "{}"),))
    of_one = drawn(layout.folder, run, plan("token_prompts", [], same), same)
    apart = furthest(pixels(rows), pixels(of_one))
    for far, row in zip(apart, rows, strict=True):
        assert (far > 1) == (row["prompt"] != rows[0]["prompt"])


def test_a_negative_prompt_changes_the_images_and_is_written_down(layout, run):
    led = drawn(layout.folder, run, plan("raw", [], negative="azalea"))
    free = drawn(layout.folder, run, plan("raw", []))
    assert [row["negative_prompt"] for row in led] == ['Photo of a "azalea"'] * 4
    assert [row["negative_prompt"] for row in free] == [""] * 4
    assert min(furthest(pixels(led), pixels(free))) > 1
    found = {(row["guidance_scale"], row["label_share"], row["source_class"], row["strength"]) for row in free}
    assert found == {(3.0, 1.0, None, None)}


@pytest.mark.parametrize("source", ["round_trip", "token_img2img", "token_inter_class", "token_noise", "token_prompts"])
def test_a_shard_that_is_there_is_not_drawn_again(make_tiny_base, tmp_path, images, source, monkeypatch):
    folder = make_tiny_base(text_gain=8.0)
    run = RunDirectory(str(tmp_path / "run"))
    rows = torch.randn(1, 16, generator=torch.Generator().manual_seed(0))
    learned = Learned(class_name=CLASS_NAME, technique="textual_inversion", token=TOKEN, num_vectors=1)
    save_learned(run, learned, {"learned_embeds.safetensors": diffusers_bytes(TOKEN, rows, [16])}, "k")
    Image.fromarray(images[0].numpy()).save(tmp_path / "0.png")
    task = plan(source, [StartImage(id="0", class_name=CLASS_NAME, address=str(tmp_path / "0.png"))])
    drawer = Sampler(BaseConfig(path=str(folder)), CONFIG, run, 1, "cpu")
    drawer.write(task)
    before = run.read_bytes(task.file)
    for name in ("draw_images", "draw_from_images", "round_trips"):
        monkeypatch.setattr(sampler, name, lambda *_: pytest.fail("drawn again"))
    drawer.write(task)
    with pytest.raises(pytest.fail.Exception, match="drawn again"):
        drawer.write(dataclasses.replace(task, key="other"))
    monkeypatch.undo()
    drawer.write(dataclasses.replace(task, key="k"))
    assert (
        pixels(pq.read_table(run.path(task.file)).to_pylist()).tolist()
        == pixels(pq.read_table(io.BytesIO(before)).to_pylist()).tolist()
    ), "the same images at a second run"


def test_an_image_that_cannot_be_read_is_named(make_tiny_base, tmp_path):
    run = RunDirectory(str(tmp_path / "run"))
    (tmp_path / "0.png").write_bytes(b"no image")
    task = plan("round_trip", [StartImage(id="0", class_name=CLASS_NAME, address=str(tmp_path / "0.png"))])
    with pytest.raises(ValueError, match=r"0\.png"):
        drawn(make_tiny_base(), run, task)
    assert run.names("synthetic") == []
