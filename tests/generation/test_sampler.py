import dataclasses
import io
import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image

from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, LoraConfig, SamplingConfig, TextualInversionConfig
from flowerti.diffusion import load_base
from flowerti.generation import sampler as sampling
from flowerti.generation.sampler import Sampler, ShardTask, build_pipeline, draw_images, encode_png, plan_shards
from flowerti.personalization.encoding import encode_empty_prompt, encode_text, tokenise
from flowerti.personalization.lora.classes import AdapterLearner
from flowerti.personalization.worker import InversionTask, Inverter

CONFIG = SamplingConfig(num_per_class=4, num_inference_steps=5, guidance_scale=3.0, batch_size=4)
CLASS_NAME = "sword lily"
TOKEN = "<sword_lily>"


@pytest.fixture(scope="module")
def vivid_base(make_tiny_base) -> Path:
    """A base whose images follow the prompt visibly."""
    return make_tiny_base(text_gain=8.0)


@pytest.fixture(scope="module")
def run_with_concept(vivid_base, images, tmp_path_factory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("run")
    for i, image in enumerate(images):
        Image.fromarray(image.numpy()).save(folder / f"{i}.png")
    config = TextualInversionConfig(
        num_vectors=2, num_steps=6, batch_size=4, num_eval_latents=4, eval_every_steps=6, learning_rate=0.2
    )
    run = RunDirectory(str(folder / "run"))
    task = InversionTask(
        class_name=CLASS_NAME,
        addresses=tuple(str(folder / f"{i}.png") for i in range(len(images))),
        image_size_px=32,
        run_seed=5,
        key="k",
    )
    Inverter(BaseConfig(path=str(vivid_base)), "b" * 64, config, run, 1, "cpu").learn(task)
    return run


@pytest.fixture
def run(run_with_concept, tmp_path) -> RunDirectory:
    """A run directory of its own for each test, with the concept in it."""
    copy = RunDirectory(str(tmp_path / "run"))
    for name in run_with_concept.names("concepts"):
        copy.write_bytes(name, run_with_concept.read_bytes(name))
    return copy


def _sampler(base: Path, run: RunDirectory, config: SamplingConfig = CONFIG) -> Sampler:
    return Sampler(BaseConfig(path=str(base)), config, run, 1, "cpu")


def _tasks(config: SamplingConfig = CONFIG, source: str = "token", name: str = TOKEN) -> list[ShardTask]:
    return plan_shards(CLASS_NAME, source, name, config, 5, "base", "concept")


def _images_of(run: RunDirectory, file: str) -> np.ndarray:
    rows = pq.read_table(run.path(file)).to_pylist()
    return np.stack([np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in rows])


def test_a_image_does_not_depend_on_its_batch(base):
    pipeline = build_pipeline(base)
    states = encode_text(base, tokenise(base, ["a red lily"]))
    empty = encode_text(base, tokenise(base, [""]))
    together = draw_images(pipeline, states, empty, [11, 12, 13, 14], CONFIG)
    alone = np.concatenate([draw_images(pipeline, states, empty, [seed], CONFIG) for seed in (11, 12, 13, 14)])
    # float32 kernels round differently at another batch size: one step of 255 at most
    assert np.abs(together.astype(int) - alone.astype(int)).max() <= 1
    assert np.abs(together[0].astype(int) - together[1].astype(int)).max() > 1


def test_decoding_in_parts_is_decoding_at_once(base):
    latents = torch.randn(9, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        ours = sampling._decode(base.vae, latents)
        decoded = build_pipeline(base).vae.decode(latents / 0.18215).sample
    expected = (255 * (decoded.numpy() / 2 + 0.5).clip(0, 1)).round().transpose(0, 2, 3, 1)
    assert ours.shape == (9, 32, 32, 3)
    assert np.abs(ours - expected).max() <= 1


def test_a_shard_has_the_same_bytes_on_a_second_run(vivid_base, run, tmp_path):
    other = RunDirectory(str(tmp_path / "other"))
    for name in run.names("concepts"):
        other.write_bytes(name, run.read_bytes(name))
    (task,) = _tasks()
    first = _sampler(vivid_base, run).write(task)
    second = _sampler(vivid_base, other).write(task)
    assert first == second
    assert run.read_bytes(task.file) == other.read_bytes(task.file)


def test_a_shard_that_is_there_is_not_drawn_again(vivid_base, run, monkeypatch):
    sampler = _sampler(vivid_base, run)
    (task,) = _tasks()
    first = sampler.write(task)
    monkeypatch.setattr(sampling, "draw_images", lambda *_: pytest.fail("drawn again"))
    assert sampler.write(task) == first
    with pytest.raises(pytest.fail.Exception, match="drawn again"):
        sampler.write(dataclasses.replace(task, key="other"))


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_diffusers_draws_the_same_images_from_the_stored_concept(vivid_base, run, guidance_scale):
    config = dataclasses.replace(CONFIG, guidance_scale=guidance_scale)
    (task,) = _tasks(config)
    _sampler(vivid_base, run, config).write(task)
    pipeline = StableDiffusionPipeline.from_pretrained(vivid_base)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_textual_inversion(run.path("concepts/sword_lily"))
    seeds = [seed_for(5, CLASS_NAME, "sample/token", index) for index in range(4)]
    noise = [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    drawn = pipeline(
        prompt=[f'Photo of a "{TOKEN}"'] * 4,
        latents=torch.stack(noise),
        num_inference_steps=5,
        guidance_scale=guidance_scale,
        output_type="np",
    ).images
    ours = _images_of(run, task.file)
    assert np.abs(ours / 255 - drawn).max() <= 1 / 255
    (raw,) = _tasks(config, "raw", CLASS_NAME)
    _sampler(vivid_base, run, config).write(raw)
    assert np.abs(_images_of(run, raw.file) / 255 - drawn).max() > 4 / 255


def test_sdxl_draws_the_images_of_its_own_pipeline(make_tiny_base):
    folder = make_tiny_base(is_xl=True, text_gain=8.0)
    base = load_base(folder, "float32", "cpu")
    with torch.no_grad():
        states = encode_text(base, tokenise(base, ["a red lily"]))
        ours = draw_images(build_pipeline(base), states, encode_empty_prompt(base), [11, 12], CONFIG)
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    noise = [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (11, 12)]
    drawn = pipeline(
        prompt=["a red lily"] * 2,
        latents=torch.stack(noise),
        num_inference_steps=5,
        guidance_scale=3.0,
        output_type="np",
    ).images
    assert np.abs(ours / 255 - drawn).max() <= 1 / 255


def test_guidance_changes_the_image(vivid_base, run):
    files = {}
    for guidance_scale in (1.0, 3.0):
        config = dataclasses.replace(CONFIG, guidance_scale=guidance_scale)
        (task,) = _tasks(config)
        _sampler(vivid_base, run, config).write(task)
        files[guidance_scale] = _images_of(run, task.file)
    assert np.abs(files[1.0].astype(int) - files[3.0]).max() > 4


def test_rows_of_a_shard_say_where_the_image_comes_from(vivid_base, run):
    config = dataclasses.replace(CONFIG, batch_size=3)
    second = _tasks(config)[1]
    assert (second.begin, second.end) == (3, 4)
    _sampler(vivid_base, run, config).write(second)
    (row,) = pq.read_table(run.path(second.file)).to_pylist()
    assert row["image"]["path"] == "000003.png"
    assert (row["class_name"], row["source"], row["index"]) == (CLASS_NAME, "token", 3)
    assert row["prompt"] == 'Photo of a "<sword_lily>"'
    assert row["seed"] == seed_for(5, CLASS_NAME, "sample/token", 3)
    assert (row["weight"], row["source_image"], row["strength"]) == (1.0, None, None)


def test_ray_data_s_batches_are_tasks_as_json(vivid_base, run):
    config = dataclasses.replace(CONFIG, batch_size=2)
    tasks = _tasks(config)
    batch = {"task": np.array([json.dumps(dataclasses.asdict(task)) for task in tasks])}
    written = _sampler(vivid_base, run, config)(batch)
    assert written["file"].tolist() == [task.file for task in tasks]
    assert run.names("synthetic") == sorted(task.file for task in tasks)


def test_diffusers_draws_the_same_images_with_the_stored_token_and_adapter(vivid_base, run, images, tmp_path):
    for i, image in enumerate(images):
        Image.fromarray(image.numpy()).save(tmp_path / f"{i}.png")
    settings = LoraConfig(rank=2, num_steps=8, batch_size=4, learning_rate=0.05, num_eval_latents=4)
    addresses = tuple(str(tmp_path / f"{i}.png") for i in range(len(images)))
    learner = AdapterLearner(BaseConfig(path=str(vivid_base)), settings, run, 1, "cpu")
    learner.learn(InversionTask(class_name=CLASS_NAME, addresses=addresses, image_size_px=32, run_seed=5, key="a"))
    (task,), (of_token,) = _tasks(source="lora"), _tasks()
    sampler = _sampler(vivid_base, run)
    plain = sampler.write(of_token)
    sampler.write(task)
    assert sampler.write(dataclasses.replace(of_token, key="again")).name == plain.name
    pipeline = StableDiffusionPipeline.from_pretrained(vivid_base)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_textual_inversion(run.path("concepts/sword_lily/learned_embeds.safetensors"))

    def draw(source: str) -> np.ndarray:
        seeds = [seed_for(5, CLASS_NAME, f"sample/{source}", index) for index in range(4)]
        noise = [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return pipeline(
            prompt=[f'Photo of a "{TOKEN}"'] * 4,
            latents=torch.stack(noise),
            num_inference_steps=5,
            guidance_scale=3.0,
            output_type="np",
        ).images

    assert np.abs(_images_of(run, of_token.file) / 255 - draw("token")).max() <= 1 / 255, "the adapter was taken off"
    without = draw("lora")
    pipeline.load_lora_weights(run.path("concepts/sword_lily"))
    ours = _images_of(run, task.file) / 255
    assert np.abs(ours - draw("lora")).max() <= 1 / 255
    assert np.abs(ours - without).max() > 4 / 255


def test_images_of_an_adapter_that_is_not_there_are_refused(vivid_base, run):
    with pytest.raises(ValueError, match="class 'sword lily': no finished adapter"):
        _sampler(vivid_base, run).write(_tasks(source="lora")[0])
    assert run.names("synthetic") == []


def test_a_token_without_a_concept_is_refused(vivid_base, tmp_path):
    empty = RunDirectory(str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="class 'sword lily': no finished concept"):
        _sampler(vivid_base, empty).write(_tasks()[0])
    assert empty.names("synthetic") == []


def test_more_images_leave_the_shards_that_are_there_alone():
    config = SamplingConfig(num_per_class=8, batch_size=4)
    few = _tasks(config)
    many = _tasks(dataclasses.replace(config, num_per_class=18))
    assert [(task.begin, task.end) for task in many] == [(0, 4), (4, 8), (8, 12), (12, 16), (16, 18)]
    assert many[:2] == few
    assert len({task.file for task in many}) == len({task.key for task in many}) == 5


def test_a_shard_s_key_holds_what_its_images_come_from():
    config = SamplingConfig(num_per_class=4, batch_size=4)
    (task,) = _tasks(config)
    others = [
        _tasks(dataclasses.replace(config, prompt="a {}"))[0],
        _tasks(dataclasses.replace(config, guidance_scale=1.0))[0],
        _tasks(dataclasses.replace(config, num_inference_steps=3))[0],
        _tasks(config, source="raw")[0],
        _tasks(config, name="<rose>")[0],
        plan_shards(CLASS_NAME, "token", TOKEN, config, 5, "base", "other concept")[0],
        plan_shards(CLASS_NAME, "token", TOKEN, config, 5, "other base", "concept")[0],
        plan_shards(CLASS_NAME, "token", TOKEN, config, 6, "base", "concept")[0],
    ]
    assert len({task.key, *(other.key for other in others)}) == len(others) + 1
    assert _tasks(dataclasses.replace(config, alternative_names_file="names.json")) == [task]


def test_png_is_lossless_and_steady():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    content = encode_png(image)
    assert encode_png(image) == content
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), image)


def test_hugging_face_opens_shards_as_an_image_data_set(vivid_base, run, tmp_path):
    config = dataclasses.replace(CONFIG, batch_size=2)
    sampler = _sampler(vivid_base, run, config)
    files = [sampler.write(task).name for task in _tasks(config)]
    opened = datasets.load_dataset(
        "parquet", data_files=[run.path(file) for file in files], split="train", cache_dir=str(tmp_path / "cache")
    )
    assert isinstance(opened.features["image"], datasets.Image)
    assert opened["index"][:] == [0, 1, 2, 3]
    expected = np.concatenate([_images_of(run, file) for file in files])
    for row, image in zip(opened, expected, strict=True):
        assert isinstance(row["image"], Image.Image)
        np.testing.assert_array_equal(np.asarray(row["image"]), image)
