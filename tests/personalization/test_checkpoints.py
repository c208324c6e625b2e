import dataclasses

import pytest
import torch

from flowerti.artifacts.records import LossPoint
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.personalization.checkpoints import from_bytes, last_point_in, load_from, to_bytes
from flowerti.personalization.train_state import TrainState


@pytest.fixture
def state() -> TrainState:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(2, 5, generator=generator) for _ in range(4)]
    curve = [LossPoint(step=0, loss=0.1 + 0.2, seconds=0.5), LossPoint(step=25, loss=1 / 3, seconds=7.25)]
    return TrainState(
        step=30,
        learnt=rows[0].requires_grad_(),
        first_moment=rows[1],
        second_moment=rows[2],
        best=rows[3],
        start=rows[3][:0],
        curve=curve,
        seconds=8.125,
    )


def test_a_checkpoint_comes_back_to_the_bit(state):
    read = from_bytes(to_bytes(state, "k"), "k", "cpu")
    assert read is not None
    assert (read.step, read.seconds, read.curve) == (30, 8.125, state.curve)
    assert [point.seconds for point in read.curve] == [0.5, 7.25]
    for field in dataclasses.fields(read):
        value = getattr(read, field.name)
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, getattr(state, field.name))


def test_a_checkpoint_of_something_else_is_none(state):
    content = to_bytes(state, "k")
    assert from_bytes(content, "other", "cpu") is None


def test_a_watcher_reads_the_header_alone(state, tmp_path):
    run = RunDirectory(str(tmp_path))
    assert last_point_in(run, "last.safetensors", "k") is None
    content = to_bytes(state, "k")
    header = 8 + int.from_bytes(content[:8], "little")
    run.write_bytes("last.safetensors", content[:header])
    with pytest.raises(ValueError, match="no checkpoint"):
        from_bytes(content[:header], "k", "cpu")
    assert last_point_in(run, "last.safetensors", "k") == LossPoint(step=30, loss=1 / 3)
    assert last_point_in(run, "last.safetensors", "other") is None
    for damaged in (content[: header // 2], b"", b"\xff" * 16):
        run.write_bytes("last.safetensors", damaged)
        assert last_point_in(run, "last.safetensors", "k") is None


def _one_bit(content):
    return content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]


@pytest.mark.parametrize("damage", [lambda c: c[:-3], lambda c: c[: len(c) // 2], lambda c: b"", _one_bit])
def test_with_a_damaged_checkpoint_the_class_starts_anew_and_is_told(state, damage, tmp_path, caplog):
    run, name = RunDirectory(str(tmp_path)), "concepts/rose/checkpoints/lora.safetensors"
    assert load_from(run, name, "k", "cpu") is None
    run.write_checked(name, to_bytes(state, "k"))
    found = load_from(run, name, "k", "cpu")
    assert found is not None and found.step == state.step
    assert load_from(run, name, "other", "cpu") is None
    assert caplog.messages == []
    run.write_bytes(name, damage(run.read_bytes(name)))
    assert load_from(run, name, "k", "cpu") is None
    (told,) = caplog.messages
    assert told.startswith(f"{name} is damaged")


def test_the_checkpoint_of_another_class_is_not_taken(state, tmp_path):
    run, folder = RunDirectory(str(tmp_path)), "concepts/{}/checkpoints/lora.safetensors"
    run.write_checked(folder.format("rose"), to_bytes(state, "k"))
    run.write_bytes(folder.format("lily"), run.read_bytes(folder.format("rose")))
    assert load_from(run, folder.format("lily"), "k", "cpu") is None


def test_a_concept_s_state_is_kilobytes():
    """Four vectors of Stable Diffusion 1.5: the usual script's state is the table and its two moments, 456 MB."""
    rows = torch.zeros(4, 768)
    state = TrainState(
        step=0,
        learnt=rows,
        first_moment=rows.clone(),
        second_moment=rows.clone(),
        best=rows.clone(),
        start=rows.clone(),
    )
    assert len(to_bytes(state, "k")) < 64 * 1024
