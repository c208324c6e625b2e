"""The state of a run from its files alone: built by hand, stage after stage."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from flowerti.artifacts.records import Learned, SelectedClass, Selection
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import ReplicationConfig, to_json
from flowerti.config.presets import demo
from flowerti.status import read_status

NAMES = ("sword lily", "azalea", "canna lily")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(str(tmp_path))
    run.write_bytes("config.json", to_json(demo()).encode())
    return run


def states(run: RunDirectory) -> dict[str, tuple[str, str]]:
    return {line.stage: (line.state, line.detail) for line in read_status(run)}


def select(run: RunDirectory) -> None:
    chosen = [SelectedClass(class_name=n, num_train=8, f1_validation=0.1, reason="weak") for n in NAMES]
    run.save("selection.json", Selection(selected=chosen, by_evidence=chosen), "k")


def test_a_folder_without_a_run_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="no run was started"):
        read_status(RunDirectory(str(tmp_path)))


def learned(technique: str, class_name: str, **fields: Any) -> Learned:
    return Learned(class_name=class_name, technique=technique, **fields)


def test_each_class_has_its_own_line(run: RunDirectory):
    select(run)
    tokens = "textual_inversion"
    run.save(f"concepts/sword_lily/{tokens}.json", learned(tokens, NAMES[0], num_steps=9, best_step=6), "k")
    run.save(f"concepts/azalea/{tokens}.json", learned(tokens, NAMES[1], error="loss is nan"), "k")
    checkpoint = save({"rows": torch.zeros(1)}, {"step": "50", "key": "k"})
    run.write_bytes(f"concepts/canna_lily/checkpoints/{tokens}.safetensors", checkpoint)
    found = states(run)
    assert found["select"] == ("done", "sword lily, azalea, canna lily")
    assert found[f"{tokens} sword lily"] == ("done", "best at step 6 of 9")
    assert found[f"{tokens} azalea"] == ("failed", "loss is nan")
    assert found[f"{tokens} canna lily"] == ("begun", f"step 50 of {demo().techniques[tokens].num_steps}")


def test_other_techniques_have_lines_where_a_source_asks_for_them(run: RunDirectory):
    select(run)
    assert not [stage for stage in states(run) if stage.startswith("lora")]
    sampling = replace(demo().sampling, sources=("token", "lora"))
    asked = replace(demo(), sampling=sampling, replication=ReplicationConfig(num_learnings=1))
    run.write_bytes("config.json", to_json(asked).encode())
    run.save("concepts/sword_lily/lora.json", learned("lora", NAMES[0], num_steps=9, best_step=6), "k")
    run.save("concepts/azalea/lora.json", learned("lora", NAMES[1], error="no token"), "k")
    assert {stage: state for stage, state in states(run).items() if stage.startswith("lora")} == {
        "lora sword lily": ("done", "best at step 6 of 9"),
        "lora azalea": ("failed", "no token"),
        "lora canna lily": ("waiting", ""),
    }


def test_what_all_classes_share_has_one_line_and_its_images_wait_for_token_and_adapter(run: RunDirectory):
    sampling = replace(demo().sampling, sources=("token", "shared_lora"), num_per_class=4, batch_size=4)
    asked = replace(demo(), sampling=sampling, replication=ReplicationConfig(num_learnings=2))
    run.write_bytes("config.json", to_json(asked).encode())
    assert not [stage for stage in states(run) if stage.startswith("shared_lora")], "no class is selected yet"
    select(run)
    tokens, joint = "textual_inversion", "shared_lora"
    for folder, learning, name in [("", 0, NAMES[0]), ("", 0, NAMES[1]), ("learning-1/", 1, NAMES[0])]:
        record = learned(tokens, name, learning=learning, num_steps=9)
        run.save(f"concepts/{name.replace(' ', '_')}/{folder}{tokens}.json", record, "k")
    run.save(f"concepts/azalea/learning-1/{tokens}.json", learned(tokens, "azalea", learning=1, error="nan"), "k")
    run.save(f"concepts/@all/{joint}.json", learned(joint, "@all", num_steps=9, best_step=6), "k")
    assert {stage: state for stage, state in states(run).items() if stage.startswith(joint)} == {
        "shared_lora all classes": ("done", "best at step 6 of 9"),
        "shared_lora all classes (learning 1)": ("waiting", ""),
    }
    run.save(f"concepts/@all/learning-1/{joint}.json", learned(joint, "@all", learning=1, num_steps=9), "k")
    sets = ["sword_lily.token", "sword_lily.token.learning-1", "sword_lily.shared_lora"]
    sets += ["sword_lily.shared_lora.learning-1", "azalea.token", "azalea.shared_lora", "canna_lily.token"]
    for name in sets:
        assert states(run)["sample"][0] != "done"
        run.write_bytes(f"synthetic/{name}.000000.parquet", b"")
    assert states(run)["sample"] == ("done", "7 shards of 7 sets"), "azalea has no second token"


def test_a_damaged_checkpoint_is_named(run: RunDirectory):
    select(run)
    file = "concepts/canna_lily/checkpoints/textual_inversion.safetensors"
    run.write_bytes(file, b"half a file")
    told = ("waiting", f"{file} is damaged: the class starts anew")
    assert states(run)["textual_inversion canna lily"] == told


def test_images_and_trials_are_counted(run: RunDirectory):
    select(run)
    assert states(run)["sample"][0] == "waiting"
    config = demo().sampling
    for name in ("sword_lily", "azalea", "canna_lily"):
        for begin in range(0, config.num_per_class, config.batch_size):
            assert states(run)["sample"][0] != "done"
            run.write_bytes(f"synthetic/{name}.raw.{begin:06d}.parquet", b"")
    assert states(run)["sample"][0] == "done"
    assert states(run)["sweep"] == ("waiting", "0 trials")
    run.write_bytes("sweep/trials/validation.real.0.0.json", b"")
    assert states(run)["sweep"] == ("begun", "1 trials")
    run.write_bytes("sweep/table.json", b"")
    assert states(run)["sweep"][0] == "done"


def with_learnings(run: RunDirectory, num: int) -> None:
    asked = replace(demo(), replication=ReplicationConfig(num_learnings=num))
    run.write_bytes("config.json", to_json(asked).encode())


def test_each_learning_has_its_own_line(run: RunDirectory):
    with_learnings(run, 3)
    select(run)
    tokens, folder = "textual_inversion", "concepts/azalea"
    run.save(f"{folder}/{tokens}.json", learned(tokens, NAMES[1], num_steps=9, best_step=6), "k")
    run.save(f"{folder}/learning-1/{tokens}.json", learned(tokens, NAMES[1], learning=1, error="loss is nan"), "k")
    checkpoint = save({"rows": torch.zeros(1)}, {"step": "50", "key": "k"})
    run.write_bytes(f"{folder}/learning-2/checkpoints/{tokens}.safetensors", checkpoint)
    found = states(run)
    lines = [f"{tokens} {name}{more}" for name in NAMES for more in ("", " (learning 1)", " (learning 2)")]
    assert [stage for stage in found if stage.startswith(tokens)] == lines
    assert found[f"{tokens} azalea"] == ("done", "best at step 6 of 9")
    assert found[f"{tokens} azalea (learning 1)"] == ("failed", "loss is nan")
    assert found[f"{tokens} azalea (learning 2)"] == ("begun", f"step 50 of {demo().techniques[tokens].num_steps}")
    assert found[f"{tokens} canna lily (learning 2)"] == ("waiting", "")


def test_images_of_every_learning_that_did_not_fail_are_waited_for(run: RunDirectory):
    with_learnings(run, 3)
    select(run)
    config, tokens = demo().sampling, "textual_inversion"
    for name, learning in (("azalea", 1), ("canna_lily", 1), ("canna_lily", 2)):
        record = learned(tokens, name.replace("_", " "), learning=learning, num_steps=9)
        run.save(f"concepts/{name}/learning-{learning}/{tokens}.json", record, "k")
    failed = learned(tokens, "azalea", learning=2, error="loss is nan")
    run.save(f"concepts/azalea/learning-2/{tokens}.json", failed, "k")
    sets = ["sword_lily.raw", "sword_lily.token", "azalea.token", "azalea.token.learning-1"]
    sets += ["canna_lily.token", "canna_lily.token.learning-1", "canna_lily.token.learning-2"]
    for name in sets:
        for begin in range(0, config.num_per_class, config.batch_size):
            assert states(run)["sample"][0] != "done"
            run.write_bytes(f"synthetic/{name}.{begin:06d}.parquet", b"")
    num_shards = -(-config.num_per_class // config.batch_size)
    assert states(run)["sample"] == ("done", f"{7 * num_shards} shards of 7 sets")


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("classify", "classifier/report.json"),
        ("score", "scores/validation.json"),
        ("confirm", "scores/test.json"),
        ("report", "summary.json"),
    ],
)
def test_a_stage_is_done_when_its_file_is_there(run: RunDirectory, stage: str, file: str):
    assert states(run)[stage][0] == "waiting"
    run.write_bytes(file, b"")
    assert states(run)[stage][0] == "done"


def test_sets_that_start_from_images_are_waited_for_in_every_learning(run: RunDirectory):
    select(run)
    sampling = replace(demo().sampling, sources=("token", "round_trip"), num_per_class=4, batch_size=4)
    experiment = replace(demo(), sampling=sampling, replication=ReplicationConfig(num_learnings=2))
    run.write_bytes("config.json", to_json(experiment).encode())
    for learning in ("", ".learning-1"):
        assert states(run)["sample"][0] == ("begun" if learning else "waiting")
        for name in ("sword_lily", "azalea", "canna_lily"):
            run.write_bytes(f"synthetic/{name}.round_trip{learning}.000000.parquet", b"")
    assert states(run)["sample"] == ("done", "6 shards of 6 sets")
