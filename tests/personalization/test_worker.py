"""Workers: what is learnt is stored with its record, in one batch as alone, and for SDXL in two parts."""

import dataclasses
import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file
from small_worker import CLASS_NAME, CONFIG, TECHNIQUE, loaded, rows_of, task_of, worker_on

from flowerti.artifacts.layout import concept_folder
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig
from flowerti.personalization import worker
from flowerti.personalization.encoding import token_of
from flowerti.personalization.store import neighbours_among
from flowerti.personalization.worker import Origin, Worker


def test_what_is_learnt_is_stored_with_its_record(tiny_base, run, task):
    learned = worker_on(tiny_base, run).learn(task)
    assert run.names("concepts") == [
        "concepts/sword_lily/learned_embeds.safetensors",
        "concepts/sword_lily/textual_inversion.json",
        "concepts/sword_lily/web/sword_lily.safetensors",
    ]
    assert concept_folder(CLASS_NAME) == "concepts/sword_lily"
    record = json.loads(run.read_bytes("concepts/sword_lily/textual_inversion.json"))
    assert (record["key"], record["technique"]) == (task.key, TECHNIQUE)
    assert record["token"] == token_of(CLASS_NAME) == "<sword_lily>"
    num_bytes = sum(len(run.read_bytes(f"concepts/sword_lily/{name}")) for name in record["files"])
    assert record["details"] == {"initializer_token": "flower", "start": "initializer_token", "bytes": num_bytes}
    assert (record["num_vectors"], record["num_parameters"], record["seed"]) == (3, 3 * 16, learned.seed)
    assert (record["base"], record["base_sha256"]) == (str(tiny_base), "b" * 64)
    assert record["files"] == {
        name: hashlib.sha256(run.read_bytes(f"concepts/sword_lily/{name}")).hexdigest()
        for name in ("learned_embeds.safetensors", "web/sword_lily.safetensors")
    }
    assert (record["num_images"], record["num_steps"], record["error"]) == (5, 10, "")
    assert [point["step"] for point in record["loss_curve"]] == [0, 5, 10]
    assert record["best_step"] == min(record["loss_curve"], key=lambda point: point["loss"])["step"]
    assert {n["vector"] for n in record["neighbours"]} == {0, 1, 2}
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    stored = load_file(run.path("concepts/sword_lily/learned_embeds.safetensors"))
    assert list(stored) == ["<sword_lily>"]
    assert torch.equal(rows_of(run, learned), stored["<sword_lily>"])
    web = load_file(run.path("concepts/sword_lily/web/sword_lily.safetensors"))
    assert torch.equal(web["emb_params"], stored["<sword_lily>"])
    assert loaded(run, CLASS_NAME, task.key) == loaded(run, CLASS_NAME) == learned


def test_every_vector_moves_to_its_own_place(tiny_base, base, run, task):
    rows = rows_of(run, worker_on(tiny_base, run).learn(task))
    initial = base.text_encoder.get_input_embeddings().weight[base.tokenizer("flower").input_ids[1]]
    assert rows.shape == (3, 16)
    assert (rows - initial).norm(dim=1).min() > 1e-3
    assert torch.pdist(rows).min() > 1e-4


def test_classes_learnt_together_are_those_learnt_alone(tiny_base, run, task, tmp_path):
    tasks = [task_of(task, "rose", 5), task_of(task, "red lily", 3), task_of(task, "azalea", 1)]
    together = worker_on(tiny_base, run).learn_together(tasks)
    assert [learned.class_name for learned in together] == ["rose", "red lily", "azalea"]
    other = RunDirectory(str(tmp_path / "alone"))
    learner = worker_on(tiny_base, other)
    for one, learned in zip(tasks, together, strict=True):
        alone = learner.learn(one)
        # float32 kernels round differently at another batch size
        torch.testing.assert_close(rows_of(run, learned), rows_of(other, alone), rtol=0, atol=2e-4)
        assert (rows_of(run, learned) - rows_of(run, together[0])).abs().max() > 1e-3 or learned is together[0]
        assert (learned.num_steps, learned.num_images) == (alone.num_steps, alone.num_images)
        losses = [point.loss for point in learned.loss_curve]
        assert losses == pytest.approx([point.loss for point in alone.loss_curve], rel=1e-4)
        assert loaded(run, one.class_name, one.key) == learned


def test_a_class_that_cannot_be_learnt_does_not_take_its_batch_down(tiny_base, run, task, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    broken = dataclasses.replace(task_of(task, "lily", 1), addresses=(str(tmp_path / "broken.png"),))
    outcomes = worker_on(tiny_base, run).learn_together([broken, task_of(task, "rose", 5), task_of(task, "azalea", 0)])
    assert "broken.png" in outcomes[0].error
    assert outcomes[1].error == "" and loaded(run, "rose") == outcomes[1]
    assert "class 'azalea' has no training image" in outcomes[2].error
    assert loaded(run, "lily") is loaded(run, "azalea") is None
    with pytest.raises(ValueError, match=r"broken\.png"):
        worker_on(tiny_base, run).learn(broken)


def test_an_sdxl_concept_is_stored_in_two_parts(make_tiny_base, run, task):
    learned = worker_on(make_tiny_base(is_xl=True), run).learn(task)
    stored = load_file(run.path("concepts/sword_lily/learned_embeds.safetensors"))
    assert {name: tuple(part.shape) for name, part in stored.items()} == {"clip_l": (3, 16), "clip_g": (3, 24)}
    assert torch.equal(rows_of(run, learned), torch.cat([stored["clip_l"], stored["clip_g"]], dim=1))


def test_neighbours_among_concepts_are_read_from_their_files(make_tiny_base, run, task):
    learner = worker_on(make_tiny_base(is_xl=True), run)
    learnt = learner.learn_together([task_of(task, "rose", 5), task_of(task, "red lily", 3)])
    parts = [
        load_file(run.path(f"{concept_folder(learned.class_name)}/learned_embeds.safetensors")) for learned in learnt
    ]
    cosine = torch.nn.functional.cosine_similarity
    expected = sum(cosine(parts[0][name][:, None], parts[1][name][None], dim=2) for name in ("clip_l", "clip_g")) / 2
    found = neighbours_among(
        run, [learnt[0], dataclasses.replace(learnt[0], class_name="azalea", error="no images"), learnt[1]]
    )
    assert len(found) == 2 * 3 * 3
    for near in found:
        assert {near.class_name, near.other_class_name} == {"rose", "red lily"}
        place = (near.vector, near.other_vector)
        wanted = expected[place if near.class_name == "rose" else place[::-1]].item()
        assert near.cosine == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(("technique", "is_compiled"), [(TECHNIQUE, True), ("lora", False)])
def test_the_base_is_loaded_as_the_config_says_and_compiled_where_it_stays_as_it_is(
    tiny_base, run, monkeypatch, technique, is_compiled
):
    seen = []
    monkeypatch.setattr(worker, "load_base", lambda *args, **options: seen.append((args, options)))
    base = BaseConfig(path=str(tiny_base), dtype="bfloat16", channels_last=True, compile=True)
    Worker(technique, CONFIG, Origin(base=base, base_sha256="b" * 64, run=run), 1, "cuda")
    assert seen == [((tiny_base, "bfloat16", "cuda"), {"channels_last": True, "compile_unet": is_compiled})]


def test_learnings_of_a_class_share_a_batch_and_are_those_learnt_alone(tiny_base, run, task, tmp_path):
    tasks = [dataclasses.replace(task, learning=k, key=f"key {k}") for k in range(3)]
    together = worker_on(tiny_base, run).learn_together(tasks)
    assert [learned.learning for learned in together] == [0, 1, 2]
    alone = RunDirectory(str(tmp_path / "alone"))
    for one, learned in zip(tasks, together, strict=True):
        # float32 kernels round differently at another batch size
        rows = rows_of(alone, worker_on(tiny_base, alone).learn(one))
        torch.testing.assert_close(rows_of(run, learned), rows, rtol=0, atol=2e-4)
    rows = [rows_of(run, learned) for learned in together]
    assert min((rows[i] - rows[j]).abs().max() for i, j in [(0, 1), (0, 2), (1, 2)]) > 1e-3
    assert len({learned.loss_curve[0].loss for learned in together}) == 3, "each is evaluated on draws of its own"
    assert [name for name in run.names("concepts/sword_lily/learning-2")] == [
        "concepts/sword_lily/learning-2/learned_embeds.safetensors",
        "concepts/sword_lily/learning-2/textual_inversion.json",
        "concepts/sword_lily/learning-2/web/sword_lily.safetensors",
    ]
    assert not [name for name in run.names("concepts") if "checkpoints" in name]


def test_seeds_of_learnings_are_hashes_of_their_names(tiny_base, run, task):
    learner = worker_on(tiny_base, run)
    seeds = [learner.learn(dataclasses.replace(task, learning=k)).seed for k in (0, 1)]
    for seed, name in zip(seeds, ("inversion/step", "inversion/learning-1/step"), strict=True):
        digest = hashlib.sha256(json.dumps([5, "sword lily", name, 0]).encode()).hexdigest()
        assert seed == int(digest[:16], 16) // 2


def test_a_learning_starts_from_a_seed_of_its_own(tiny_base, run, task):
    config = dataclasses.replace(CONFIG, start="random", num_steps=1, eval_every_steps=1, learning_rate=1e-9)
    origin = Origin(base=BaseConfig(path=str(tiny_base)), base_sha256="b" * 64, run=run)
    learner = Worker(TECHNIQUE, config, origin, 1, "cpu")
    first, second = (rows_of(run, learner.learn(dataclasses.replace(task, learning=k))) for k in (0, 1))
    assert (first - second).abs().max() > 1e-3


def test_a_learning_that_cannot_be_prepared_leaves_the_others_of_its_class(tiny_base, run, task):
    tasks = [dataclasses.replace(task, learning=k, addresses=() if k == 1 else task.addresses) for k in range(3)]
    outcomes = worker_on(tiny_base, run).learn_together(tasks)
    assert [bool(one.error) for one in outcomes] == [False, True, False]
    assert "has no training image" in outcomes[1].error
    assert [one.learning for one in outcomes] == [0, 1, 2]
    assert loaded(run, CLASS_NAME, task.key) == outcomes[0]


def test_neighbours_are_those_of_first_learnings(tiny_base, run, task):
    learner = worker_on(tiny_base, run)
    tasks = [task_of(task, "rose", 5), task_of(task, "red lily", 3)]
    first = learner.learn_together(tasks)
    others = learner.learn_together([dataclasses.replace(one, learning=1) for one in tasks])
    assert neighbours_among(run, [first[0], others[0], first[1], others[1]]) == neighbours_among(run, first)
    assert neighbours_among(run, others) == []
