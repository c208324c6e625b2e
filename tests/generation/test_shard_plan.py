"""Which shards are planned, and what their keys depend on."""

import dataclasses
import hashlib
import json
from typing import Any

import pytest

from flowerti.config.experiment import SamplingConfig
from flowerti.generation.shard_plan import ShardTask, Wanted, plan_shards
from flowerti.generation.starts import StartImage
from flowerti.tables.sources import SOURCES

CLASS_NAME, TOKEN = "sword lily", "<sword_lily>"
WANTED = Wanted(class_name=CLASS_NAME, source="token", words=TOKEN, run_seed=5, inputs="base and token")
IMAGES = [StartImage(id=f"train/{i}", class_name=CLASS_NAME, address=f"{i}.png") for i in range(3)]


def _tasks(config: SamplingConfig, source: str = "token", words: str = TOKEN, **more: Any) -> list[ShardTask]:
    images = IMAGES if SOURCES[source].starts_from_images else []
    return plan_shards(dataclasses.replace(WANTED, source=source, words=words, **more), config, images)


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
        _tasks(config, words="<rose>")[0],
        plan_shards(dataclasses.replace(WANTED, class_name="rose"), config)[0],
        plan_shards(dataclasses.replace(WANTED, inputs="base and another token"), config)[0],
        plan_shards(dataclasses.replace(WANTED, run_seed=6), config)[0],
        plan_shards(dataclasses.replace(WANTED, learning=1), config)[0],
        plan_shards(dataclasses.replace(WANTED, learning=2), config)[0],
    ]
    assert len({task.key, *(other.key for other in others)}) == len(others) + 1
    assert _tasks(dataclasses.replace(config, alternative_names_file="names.json")) == [task]


def test_the_first_learning_has_the_key_from_before_there_were_others():
    """The rule restated: no field of what is wanted but those that there were."""
    config = SamplingConfig(num_per_class=4, batch_size=4)
    settings = [config.prompt, config.num_inference_steps, config.guidance_scale, 4]
    wanted = {
        "class_name": CLASS_NAME, "source": "token", "words": TOKEN, "run_seed": 5, "inputs": "base and token",
    }  # fmt: skip
    expected = hashlib.sha256(json.dumps([settings, wanted, 0, 4], sort_keys=True).encode()).hexdigest()
    (task,) = _tasks(config)
    assert (task.key, task.file) == (expected, "synthetic/sword_lily.token.000000.parquet")


CHANGED: dict[str, Any] = {
    "guidance_interval": (0.0, 0.5),
    "strengths": (0.5,),
    "label_exponent": 0.8,
    "token_noise": 0.3,
    "contexts": ("a {}",),
    "prompt": "a {}",
    "num_inference_steps": 9,
    "guidance_scale": 2.0,
}
USED = {
    "raw": set(),
    "token": set(),
    "lora": set(),
    "round_trip": set(),
    "raw_img2img": {"strengths"},
    "token_img2img": {"strengths"},
    "lora_img2img": {"strengths"},
    "token_inter_class": {"strengths", "label_exponent"},
    "token_noise": {"token_noise"},
    "token_prompts": {"contexts"},
    "shared_lora": set(),
}


@pytest.mark.parametrize("source", USED)
def test_a_key_depends_on_the_settings_that_the_source_uses(source: str):
    config = SamplingConfig(num_per_class=4, batch_size=4)
    (before,) = _tasks(config, source)
    after = {name: _tasks(dataclasses.replace(config, **{name: value}), source) for name, value in CHANGED.items()}
    changed = {name for name, (task,) in after.items() if task.key != before.key}
    of_all = {"prompt", "num_inference_steps", "guidance_scale", "guidance_interval"}
    assert changed == (set() if source == "round_trip" else of_all | USED[source])


def test_a_key_depends_on_the_negative_prompt_and_on_the_images_it_starts_from():
    config = SamplingConfig(num_per_class=4, batch_size=4)
    found = [
        _tasks(config, "token_img2img", **more)[0].key
        for more in ({}, {"negative": "rose"}, {"starts_sha256": "s"}, {"starts_sha256": "t"})
    ]
    assert len(set(found)) == 4


def test_addresses_are_in_the_task_and_not_in_the_key():
    config = SamplingConfig(num_per_class=8, batch_size=4)
    wanted = dataclasses.replace(WANTED, source="round_trip")
    moved = [dataclasses.replace(image, address=f"/elsewhere/{image.address}") for image in IMAGES]
    here, there = (plan_shards(wanted, config, images) for images in (IMAGES, moved))
    assert [task.key for task in here] == [task.key for task in there]
    paths = [start.image.address for start in here[0].starts]
    assert [start.image.address for start in there[0].starts] == [f"/elsewhere/{path}" for path in paths]
    assert {start.strength for start in here[0].starts} == {0.0}
    assert [len(task.starts) for task in here] == [4, 4]


def test_a_task_comes_back_from_json():
    for source in ("token", "token_img2img", "round_trip"):
        for task in _tasks(SamplingConfig(num_per_class=6, batch_size=4), source, negative="rose"):
            assert ShardTask.from_json(task.to_json()) == task


def test_seeds_of_learnings_and_purposes_differ():
    config = SamplingConfig(num_per_class=3)
    (first,), (second,) = _tasks(config), _tasks(config, learning=1)
    found = [*first.seeds(), *first.seeds("rows"), *second.seeds(), *second.seeds("rows")]
    assert len(set(found)) == 12


def test_a_source_that_starts_from_images_needs_some():
    wanted = dataclasses.replace(WANTED, source="raw_img2img")
    with pytest.raises(ValueError, match=r"^class 'sword lily': source raw_img2img starts from images, and there are"):
        plan_shards(wanted, SamplingConfig())
