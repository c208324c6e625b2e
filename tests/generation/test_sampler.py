import dataclasses
import hashlib
import io
import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image

from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, LoraConfig, SamplingConfig, ScheduleConfig, TextualInversionConfig
from flowerti.generation import sampler
from flowerti.generation.sampler import Sampler
from flowerti.generation.shard_plan import ShardTask, Wanted, plan_shards
from flowerti.personalization.store import require_learned, save_learned
from flowerti.personalization.worker import LearningTask, Origin, Worker

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
    _learn(vivid_base, run, config, tuple(str(folder / f"{i}.png") for i in range(len(images))))
    return run


def _learn(
    base: Path, run: RunDirectory, config: ScheduleConfig, addresses: tuple[str, ...], learning: int = 0
) -> None:
    task = LearningTask(
        technique=config.section,
        class_name=CLASS_NAME,
        addresses=addresses,
        image_size_px=32,
        run_seed=5,
        key="k",
        learning=learning,
    )
    origin = Origin(base=BaseConfig(path=str(base)), base_sha256="b" * 64, run=run)
    Worker(config.section, config, origin, 1, "cpu").learn(task)


@pytest.fixture
def run(run_with_concept, tmp_path) -> RunDirectory:
    """A run directory of its own for each test, with the concept in it."""
    copy = RunDirectory(str(tmp_path / "run"))
    for name in run_with_concept.names("concepts"):
        copy.write_bytes(name, run_with_concept.read_bytes(name))
    return copy


def _sampler(base: Path, run: RunDirectory, config: SamplingConfig = CONFIG) -> Sampler:
    return Sampler(BaseConfig(path=str(base)), config, run, 1, "cpu")


WANTED = Wanted(class_name=CLASS_NAME, source="token", words=TOKEN, run_seed=5, inputs="base and token")


def _tasks(config: SamplingConfig = CONFIG, source: str = "token", words: str = TOKEN) -> list[ShardTask]:
    return plan_shards(dataclasses.replace(WANTED, source=source, words=words), config)


def _images_of(run: RunDirectory, file: str) -> np.ndarray:
    rows = pq.read_table(run.path(file)).to_pylist()
    return np.stack([np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in rows])


def test_a_shard_has_the_same_bytes_on_a_second_run(vivid_base, run, tmp_path):
    other = RunDirectory(str(tmp_path / "other"))
    for name in run.names("concepts"):
        other.write_bytes(name, run.read_bytes(name))
    (task,) = _tasks()
    first = _sampler(vivid_base, run).write(task)
    second = _sampler(vivid_base, other).write(task)
    assert first == second
    assert run.read_bytes(task.file) == other.read_bytes(task.file)


@pytest.mark.parametrize(("sources", "is_compiled"), [(("raw", "token"), True), (("token", "lora"), False)])
def test_the_u_net_is_compiled_where_it_stays_as_it_is(vivid_base, run, monkeypatch, sources, is_compiled):
    seen = []
    monkeypatch.setattr(sampler, "load_base", lambda *_, **options: seen.append(options))
    base = BaseConfig(path=str(vivid_base), compile=True)
    Sampler(base, dataclasses.replace(CONFIG, sources=sources), run, 1, "cuda")
    assert seen == [{"compile_unet": is_compiled}]


@pytest.mark.slow
def test_a_compiled_u_net_draws_nearly_the_same_images(vivid_base, run, tmp_path):
    (task,) = _tasks()
    other = RunDirectory(str(tmp_path / "other"))
    for name in run.names("concepts"):
        other.write_bytes(name, run.read_bytes(name))
    _sampler(vivid_base, run).write(task)
    config = dataclasses.replace(CONFIG, sources=("raw", "token"))
    Sampler(BaseConfig(path=str(vivid_base), compile=True), config, other, 1, "cpu").write(task)
    plain, compiled = (_images_of(where, task.file).astype(int) for where in (run, other))
    assert np.abs(plain - compiled).max() <= 2, "kernels round differently"


def test_a_shard_that_is_there_is_not_drawn_again(vivid_base, run, monkeypatch):
    drawer = _sampler(vivid_base, run)
    (task,) = _tasks()
    first = drawer.write(task)
    monkeypatch.setattr(sampler, "draw_images", lambda *_: pytest.fail("drawn again"))
    assert drawer.write(task) == first
    with pytest.raises(pytest.fail.Exception, match="drawn again"):
        drawer.write(dataclasses.replace(task, key="other"))


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
    assert (row["class_name"], row["source"], row["learning"], row["index"]) == (CLASS_NAME, "token", 0, 3)
    assert row["prompt"] == 'Photo of a "<sword_lily>"'
    assert row["seed"] == seed_for(5, CLASS_NAME, "sample/token", 3)
    assert (row["weight"], row["source_image"], row["strength"]) == (1.0, None, None)


def test_ray_data_s_batches_are_tasks_as_json(vivid_base, run):
    config = dataclasses.replace(CONFIG, batch_size=2)
    tasks = _tasks(config)
    batch = {"task": np.array([task.to_json() for task in tasks])}
    written = _sampler(vivid_base, run, config)(batch)
    assert written["file"].tolist() == [task.file for task in tasks]
    assert run.names("synthetic") == sorted(task.file for task in tasks)


def test_diffusers_draws_the_same_images_with_the_stored_token_and_adapter(vivid_base, run, images, tmp_path):
    for i, image in enumerate(images):
        Image.fromarray(image.numpy()).save(tmp_path / f"{i}.png")
    settings = LoraConfig(rank=2, num_steps=8, batch_size=4, learning_rate=0.05, num_eval_latents=4)
    addresses = tuple(str(tmp_path / f"{i}.png") for i in range(len(images)))
    _learn(vivid_base, run, settings, addresses)
    (task,), (of_token,) = _tasks(source="lora"), _tasks()
    drawer = _sampler(vivid_base, run)
    plain = drawer.write(of_token)
    drawer.write(task)
    assert drawer.write(dataclasses.replace(of_token, key="again")) == plain
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


def test_images_of_another_learning_are_drawn_with_its_token_from_noise_of_its_own(vivid_base, run):
    names = run.names("concepts/sword_lily")
    learnt = require_learned(run, CLASS_NAME, "textual_inversion")  # the same token, so that only the noise differs
    save_learned(run, dataclasses.replace(learnt.learned, learning=1), learnt.files, key="the same")
    (first,), (second,) = (plan_shards(dataclasses.replace(WANTED, learning=k), CONFIG) for k in (0, 1))
    assert second.file == "synthetic/sword_lily.token.learning-1.000000.parquet"
    drawer = _sampler(vivid_base, run)
    for task in (first, second):
        drawer.write(task)
    rows = pq.read_table(run.path(second.file)).to_pylist()
    assert [row["learning"] for row in rows] == [1] * 4
    names_of_noise = json.dumps([5, CLASS_NAME, "sample/token/learning-1", 3]).encode()
    assert rows[3]["seed"] == int(hashlib.sha256(names_of_noise).hexdigest()[:16], 16) // 2
    apart = np.abs(_images_of(run, first.file).astype(int) - _images_of(run, second.file))
    assert apart.reshape(4, -1).max(axis=1).min() > 4
    for name in names:
        run.delete(name)
    before = run.read_bytes(second.file)
    drawer.write(dataclasses.replace(second, key="again"))
    assert _images_of(run, second.file).tobytes() == _shard_images(before), "nothing of the first learning is read"
    with pytest.raises(ValueError, match=r"class 'sword lily': textual_inversion has not finished"):
        drawer.write(dataclasses.replace(first, key="again"))


def _shard_images(content: bytes) -> bytes:
    rows = pq.read_table(io.BytesIO(content)).to_pylist()
    return b"".join(np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))).tobytes() for row in rows)


def test_images_of_an_adapter_that_is_not_there_are_refused(vivid_base, run):
    with pytest.raises(ValueError, match="class 'sword lily': lora has not finished"):
        _sampler(vivid_base, run).write(_tasks(source="lora")[0])
    assert run.names("synthetic") == []


def test_a_token_without_a_concept_is_refused(vivid_base, tmp_path):
    empty = RunDirectory(str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="class 'sword lily': textual_inversion has not finished"):
        _sampler(vivid_base, empty).write(_tasks()[0])
    assert empty.names("synthetic") == []


def test_hugging_face_opens_shards_as_an_image_data_set(vivid_base, run, tmp_path):
    config = dataclasses.replace(CONFIG, batch_size=2)
    drawer = _sampler(vivid_base, run, config)
    files = [drawer.write(task) for task in _tasks(config)]
    opened = datasets.load_dataset(
        "parquet", data_files=[run.path(file) for file in files], split="train", cache_dir=str(tmp_path / "cache")
    )
    assert isinstance(opened.features["image"], datasets.Image)
    assert opened["index"][:] == [0, 1, 2, 3]
    expected = np.concatenate([_images_of(run, file) for file in files])
    for row, image in zip(opened, expected, strict=True):
        assert isinstance(row["image"], Image.Image)
        np.testing.assert_array_equal(np.asarray(row["image"]), image)
