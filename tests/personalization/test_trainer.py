import dataclasses
import math
from typing import Any

import pytest
import torch
from small_training import (
    CLASS_NAME,
    RUN_SEED,
    SMALL,
    TOKEN,
    copy_of,
    double_state,
    ignore,
    in_double,
    learn,
    learn_rose,
    procedure_of,
    start,
    training_of,
)

from flowerti.diffusion import Base, load_base
from flowerti.personalization import trainer
from flowerti.personalization.denoising import EncodedImages, Losses, draw, prepare
from flowerti.personalization.textual_inversion.losses import denoising_loss, denoising_losses
from flowerti.personalization.train_state import TrainState
from flowerti.personalization.trainer import ClassTraining, learn_together


@pytest.fixture(scope="module")
def data(base, images) -> EncodedImages:
    return prepare(base, images, TOKEN, 2)


FAMILIES = {
    "Stable Diffusion 1": {},
    "Stable Diffusion 2": {"prediction_type": "v_prediction"},
    "predicts latents": {"prediction_type": "sample"},
    "SDXL": {"is_xl": True},
    "AutoencoderTiny": {"is_tiny_vae": True},
}


@pytest.mark.parametrize("family", list(FAMILIES))
def test_learning_lowers_the_loss_on_unseen_draws(make_tiny_base, images, family):
    base = load_base(make_tiny_base(text_gain=16.0, **FAMILIES[family]), "float32", "cpu")
    data = prepare(base, images, TOKEN, 2)
    config = dataclasses.replace(SMALL, num_steps=24, batch_size=8, eval_every_steps=8, learning_rate=0.05)
    state = learn_rose(base, data, config)
    assert state.best_point.loss < 0.97 * state.curve[0].loss
    unseen = draw(data, 64, 1000, 12345)
    initial = start(base, data, config).learnt
    with torch.no_grad():
        before = denoising_loss(base, initial, data, unseen)
        after = denoising_loss(base, state.best, data, unseen)
    assert after < 0.97 * before
    for part, initial_part in zip(state.best.split(base.row_widths, 1), initial.split(base.row_widths, 1), strict=True):
        assert (part - initial_part).norm(dim=1).min() > 1e-2


@pytest.mark.parametrize(("batch_size", "is_onednn_used"), [(1, False), (2, True)])
def test_one_latent_is_convolved_without_onednn_and_learns_the_same(make_tiny_base, images, batch_size, is_onednn_used):
    folder = make_tiny_base(text_gain=4.0)
    used = []

    def watched(*inputs: Any) -> list[torch.Tensor]:
        if torch.is_grad_enabled():  # no evaluation
            used.append(torch.backends.mkldnn.enabled)
        return denoising_losses(*inputs)

    config = dataclasses.replace(SMALL, num_steps=6, batch_size=batch_size)
    base = load_base(folder, "float32", "cpu")
    single = learn_rose(base, prepare(base, images, TOKEN, 2), config, losses=watched)
    assert used == [is_onednn_used] * 6
    assert torch.backends.mkldnn.enabled
    exact = in_double(load_base(folder, "float32", "cpu"))
    data = prepare(exact, images, TOKEN, 2)
    double = learn_rose(exact, data, config, double_state(exact, data, config))
    torch.testing.assert_close(single.learnt.double(), double.learnt, rtol=0, atol=1e-4)


def test_one_class_in_the_batch_is_the_same_to_the_bit(base, data):
    training = training_of(base, CLASS_NAME, data, SMALL)
    (ended,) = learn_together(procedure_of(base, SMALL), [training], ignore)
    alone = learn_rose(base, data, SMALL)
    assert torch.equal(ended.state.learnt, alone.learnt)
    assert ended.state.curve == alone.curve


def test_each_class_of_a_batch_stops_resumes_and_fails_on_its_own(make_tiny_base, images):
    base = in_double(load_base(make_tiny_base(text_gain=8.0), "float32", "cpu"))
    data = prepare(base, images, TOKEN, SMALL.num_vectors)
    alone = {name: training_of(base, name, data, SMALL) for name in ("rose", "lily", "azalea")}
    halves = {}
    for name, training in alone.items():

        def keep(taught: ClassTraining, name: str = name) -> None:
            if taught.state.step == 4:
                halves[name] = copy_of(taught.state)

        list(learn_together(procedure_of(base, SMALL), [training], keep))

    def spoilt(base, rows, data, chosen):
        losses = denoising_losses(base, rows, data, chosen)
        return [loss * math.nan if len(rows) == 3 and i == 2 else loss for i, loss in enumerate(losses)]

    trainings = [training_of(base, name, data, SMALL) for name in alone]
    trainings[1].state = halves["lily"]  # ahead of the others by four steps
    ended = list(learn_together(procedure_of(base, SMALL, spoilt), trainings, ignore))
    assert [training.class_name for training in ended] == ["azalea", "lily", "rose"]
    assert trainings[2].error.startswith("class 'azalea': the training loss is nan at step 1")
    for training in trainings[:2]:
        expected = alone[training.class_name].state
        torch.testing.assert_close(training.state.learnt, expected.learnt, rtol=0, atol=1e-10)
        assert [point.step for point in training.state.curve] == [0, 3, 6, 9, 12]


def test_weight_decay_is_adamw_s_own(base, data):
    decayed = learn_rose(base, data, dataclasses.replace(SMALL, num_steps=1, weight_decay=0.5)).learnt
    plain = learn_rose(base, data, dataclasses.replace(SMALL, num_steps=1)).learnt
    shrunk = start(base, data, SMALL).learnt * (SMALL.learning_rate * 0.5)
    torch.testing.assert_close(plain - decayed, shrunk, rtol=0, atol=1e-7)


@pytest.mark.parametrize("checkpoint_index", [0, 1])
def test_a_resumed_run_takes_the_same_path(tiny_base, base, data, checkpoint_index):
    saved: list[TrainState] = []
    whole = learn_rose(base, data, SMALL, saved=saved)
    assert [state.step for state in saved] == [4, 8, 12]
    other_base = load_base(tiny_base, "float32", "cpu")
    resumed = learn_rose(other_base, data, SMALL, state=saved[checkpoint_index])
    assert resumed.curve == whole.curve
    assert resumed.step == whole.step == 12
    for name in ("learnt", "best", "first_moment", "second_moment"):
        assert torch.equal(getattr(resumed, name), getattr(whole, name)), name


def test_checkpoints_do_not_change_the_numbers(base, data):
    often = learn_rose(base, data, dataclasses.replace(SMALL, checkpoint_every_steps=1))
    assert torch.equal(often.learnt, learn_rose(base, data, SMALL).learnt)


def _spoilt_at(step: int) -> Losses:
    calls = []

    def spoilt(base, rows, data, chosen):
        losses = denoising_losses(base, rows, data, chosen)
        if torch.is_grad_enabled():  # no evaluation
            calls.append(1)
            return [loss * math.nan for loss in losses] if len(calls) == step else losses
        return losses

    return spoilt


@pytest.mark.parametrize("eval_every_steps", [100, 2, 1])
def test_a_loss_that_is_not_a_number_is_named_with_its_step_before_it_is_saved(base, data, eval_every_steps):
    saved: list[TrainState] = []
    config = dataclasses.replace(SMALL, eval_every_steps=eval_every_steps, checkpoint_every_steps=2)
    with pytest.raises(ValueError, match=r"class 'rose': the training loss is nan at step 3: lower "):
        learn_rose(base, data, config, saved=saved, losses=_spoilt_at(step=3))
    assert [state.step for state in saved] == [2]
    assert all(torch.isfinite(state.learnt).all() for state in saved)


def test_an_evaluation_that_is_not_a_number_is_named(base, data, monkeypatch):
    _script_evaluations(monkeypatch, [1.0, math.inf])
    with pytest.raises(ValueError, match="class 'rose': the evaluation loss is inf at step 3"):
        learn_rose(base, data, SMALL)


def _script_evaluations(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []

    def scripted(_base, rows, _data, _config, _seed, _losses) -> float:
        seen.append(rows.detach().clone())
        return losses[len(seen) - 1]

    monkeypatch.setattr(trainer, "evaluate", scripted)
    return seen


def test_a_plateau_stops_early_and_the_best_rows_are_kept(base, data, monkeypatch):
    seen = _script_evaluations(monkeypatch, [5.0, 4.0, 3.0, 3.1, 3.2, 3.1, 1.0])
    config = dataclasses.replace(SMALL, num_steps=50, eval_every_steps=5, patience_evals=3)
    state = learn_rose(base, data, config)
    assert state.step == 5 * config.eval_every_steps
    assert (state.best_point.step, state.best_point.loss) == (2 * config.eval_every_steps, 3.0)
    assert torch.equal(state.best, seen[2])
    assert not torch.equal(state.best, state.learnt)


def test_the_curve_holds_seconds_that_never_fall_and_go_on_after_a_resume(base, data):
    saved: list[TrainState] = []
    whole = learn_rose(base, data, SMALL, saved=saved)
    seconds = [point.seconds for point in whole.curve]
    assert seconds == sorted(seconds) and seconds[0] > 0
    earlier = saved[0]
    earlier.seconds = 1000.0
    resumed = learn_rose(base, data, SMALL, state=earlier)
    assert all(point.seconds > 1000 for point in resumed.curve if point.step > 4)
    assert resumed.seconds > 1000


def test_norms_are_kept_where_the_config_asks_for_it(make_tiny_base, images):
    base = load_base(make_tiny_base(is_xl=True), "float32", "cpu")
    data = prepare(base, images, TOKEN, 2)
    config = dataclasses.replace(SMALL, keep_norm=True, learning_rate=0.5)
    initial = start(base, data, config).learnt
    kept, free = learn_rose(base, data, config).learnt, learn_rose(base, data, SMALL).learnt
    for part, initial_part in zip(kept.split([16, 24], 1), initial.split([16, 24], 1), strict=True):
        torch.testing.assert_close(part.norm(dim=1), initial_part.norm(dim=1), rtol=1e-6, atol=0)
        assert (part - initial_part).norm(dim=1).min() > 1e-2
    assert ((free.norm(dim=1) / initial.norm(dim=1)) - 1).abs().min() > 1e-5


def test_a_resumed_run_keeps_the_norms_to_the_bit(base, data):
    config = dataclasses.replace(SMALL, keep_norm=True)
    saved: list[TrainState] = []
    whole = learn_rose(base, data, config, saved=saved)
    assert torch.equal(learn_rose(base, data, config, state=saved[0]).learnt, whole.learnt)


def test_every_one_of_many_vectors_moves_to_its_own_place(base, images):
    config = dataclasses.replace(SMALL, num_vectors=8)
    data = prepare(base, images, TOKEN, 8)
    state = learn_rose(base, data, config)
    assert (state.learnt - start(base, data, config).learnt).norm(dim=1).min() > 1e-3
    assert torch.pdist(state.learnt).min() > 1e-4


def test_without_patience_all_steps_are_taken_and_the_first_rows_may_be_best(base, data, monkeypatch):
    seen = _script_evaluations(monkeypatch, [1.0, 4.0, 3.0, 2.0, 2.5, 9.0])
    state = learn_rose(base, data, SMALL)
    assert state.step == SMALL.num_steps
    assert torch.equal(state.best, seen[0])
    assert torch.equal(seen[0], start(base, data, SMALL).learnt)


def test_nothing_but_the_rows_is_trained(base, data):
    before = {name: value.clone() for name, value in base.text_encoder.state_dict().items()}
    state = learn_rose(base, data, SMALL)
    assert all(torch.equal(value, before[name]) for name, value in base.text_encoder.state_dict().items())
    networks = (base.text_encoder, base.unet, base.vae)
    assert all(parameter.grad is None for network in networks for parameter in network.parameters())
    assert (state.learnt - start(base, data, SMALL).learnt).abs().sum(dim=1).min() > 0


def _learn(base: Base, data: EncodedImages, class_name: str, run_seed: int) -> TrainState:
    training = ClassTraining(class_name=class_name, run_seed=run_seed, data=data, state=start(base, data, SMALL))
    return learn(procedure_of(base, SMALL), training)


def test_images_of_another_class_take_another_path(base, data):
    ours = learn_rose(base, data, SMALL)
    theirs = _learn(base, data, "lily", RUN_SEED)
    other_seed = _learn(base, data, CLASS_NAME, RUN_SEED + 1)
    assert not torch.equal(ours.learnt, theirs.learnt)
    assert not torch.equal(ours.learnt, other_seed.learnt)


def test_learnings_are_separate_trainings_with_names_of_their_own(base, data, monkeypatch):
    named: set[str] = set()
    real = trainer.seed_for
    monkeypatch.setattr(trainer, "seed_for", lambda *parts: named.add(parts[2]) or real(*parts))
    states = []
    for learning in (0, 1):
        state = start(base, data, SMALL)
        training = ClassTraining(class_name=CLASS_NAME, run_seed=RUN_SEED, data=data, state=state, learning=learning)
        states.append(learn(procedure_of(base, SMALL), training))
    assert not torch.equal(states[0].learnt, states[1].learnt)
    assert named == {
        "inversion/step",
        "inversion/evaluation",
        "inversion/learning-1/step",
        "inversion/evaluation/learning-1",
    }
