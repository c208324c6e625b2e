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
    double_progress,
    ignore,
    in_double,
    learn_rose,
    lesson_of,
)

from flowerti.artifacts.records import LossPoint
from flowerti.config.experiment import TextualInversionConfig
from flowerti.diffusion import load_base
from flowerti.personalization import trainer as inversion
from flowerti.personalization.denoising import TrainingSet, denoising_loss, denoising_losses, draw, prepare
from flowerti.personalization.trainer import Lesson, Progress, learn, learn_together, should_stop, start


@pytest.fixture(scope="module")
def data(base, images) -> TrainingSet:
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
    progress = learn_rose(base, data, config)
    assert progress.best.loss < 0.97 * progress.curve[0].loss
    unseen = draw(data, 64, 1000, 12345)
    initial = start(base, data, config).rows
    with torch.no_grad():
        before = denoising_loss(base, initial, data, unseen)
        after = denoising_loss(base, progress.best_rows, data, unseen)
    assert after < 0.97 * before
    for part, initial_part in zip(
        progress.best_rows.split(base.row_widths, 1), initial.split(base.row_widths, 1), strict=True
    ):
        assert (part - initial_part).norm(dim=1).min() > 1e-2


@pytest.mark.parametrize(("batch_size", "is_onednn_used"), [(1, False), (2, True)])
def test_one_latent_is_convolved_without_onednn_and_learns_the_same(
    make_tiny_base, images, monkeypatch, batch_size, is_onednn_used
):
    folder = make_tiny_base(text_gain=4.0)
    used = []

    def watched(*inputs: Any) -> list[torch.Tensor]:
        used.append(torch.backends.mkldnn.enabled)
        return denoising_losses(*inputs)

    monkeypatch.setattr(inversion, "denoising_losses", watched)
    config = dataclasses.replace(SMALL, num_steps=6, batch_size=batch_size)
    base = load_base(folder, "float32", "cpu")
    single = learn_rose(base, prepare(base, images, TOKEN, 2), config)
    assert used == [is_onednn_used] * 6
    assert torch.backends.mkldnn.enabled
    exact = in_double(load_base(folder, "float32", "cpu"))
    data = prepare(exact, images, TOKEN, 2)
    double = learn_rose(exact, data, config, double_progress(exact, data, config))
    torch.testing.assert_close(single.rows.double(), double.rows, rtol=0, atol=1e-4)


def test_one_class_in_the_batch_is_the_same_to_the_bit(base, data):
    lesson = lesson_of(base, CLASS_NAME, data, SMALL)
    (ended,) = learn_together(base, [lesson], SMALL, ignore)
    alone = learn_rose(base, data, SMALL)
    assert torch.equal(ended.progress.rows, alone.rows)
    assert ended.progress.curve == alone.curve


def test_each_class_of_a_batch_stops_resumes_and_fails_on_its_own(make_tiny_base, images, monkeypatch):
    base = in_double(load_base(make_tiny_base(text_gain=8.0), "float32", "cpu"))
    data = prepare(base, images, TOKEN, SMALL.num_vectors)
    alone = {name: lesson_of(base, name, data, SMALL) for name in ("rose", "lily", "azalea")}
    halves = {}
    for name, lesson in alone.items():

        def keep(taught: Lesson, name: str = name) -> None:
            if taught.progress.step == 4:
                halves[name] = copy_of(taught.progress)

        list(learn_together(base, [lesson], SMALL, keep))
    real = inversion.denoising_losses

    def spoilt(base, rows, data, chosen):
        losses = real(base, rows, data, chosen)
        return [loss * math.nan if len(rows) == 3 and i == 2 else loss for i, loss in enumerate(losses)]

    monkeypatch.setattr(inversion, "denoising_losses", spoilt)
    lessons = [lesson_of(base, name, data, SMALL) for name in alone]
    lessons[1].progress = halves["lily"]  # ahead of the others by four steps
    ended = list(learn_together(base, lessons, SMALL, ignore))
    assert [lesson.class_name for lesson in ended] == ["azalea", "lily", "rose"]
    assert lessons[2].error.startswith("class 'azalea': the training loss is nan at step 1")
    for lesson in lessons[:2]:
        expected = alone[lesson.class_name].progress
        torch.testing.assert_close(lesson.progress.rows, expected.rows, rtol=0, atol=1e-10)
        assert [point.step for point in lesson.progress.curve] == [0, 3, 6, 9, 12]


def test_weight_decay_is_adamw_s_own(base, data):
    decayed = learn_rose(base, data, dataclasses.replace(SMALL, num_steps=1, weight_decay=0.5)).rows
    plain = learn_rose(base, data, dataclasses.replace(SMALL, num_steps=1)).rows
    shrunk = start(base, data, SMALL).rows * (SMALL.learning_rate * 0.5)
    torch.testing.assert_close(plain - decayed, shrunk, rtol=0, atol=1e-7)


@pytest.mark.parametrize("checkpoint_index", [0, 1])
def test_a_resumed_run_takes_the_same_path(tiny_base, base, data, checkpoint_index):
    saved: list[Progress] = []
    whole = learn_rose(base, data, SMALL, checkpoint=lambda progress: saved.append(copy_of(progress)))
    assert [progress.step for progress in saved] == [4, 8, 12]
    other_base = load_base(tiny_base, "float32", "cpu")
    resumed = learn_rose(other_base, data, SMALL, progress=saved[checkpoint_index])
    assert resumed.curve == whole.curve
    assert resumed.step == whole.step == 12
    for name in ("rows", "best_rows", "first_moment", "second_moment"):
        assert torch.equal(getattr(resumed, name), getattr(whole, name)), name


def test_checkpoints_do_not_change_the_numbers(base, data):
    often = learn_rose(base, data, dataclasses.replace(SMALL, checkpoint_every_steps=1))
    assert torch.equal(often.rows, learn_rose(base, data, SMALL).rows)


def _spoil_training(monkeypatch: pytest.MonkeyPatch, at_step: int) -> None:
    real, calls = inversion.denoising_losses, []

    def spoilt(base, rows, data, chosen):
        calls.append(1)
        losses = real(base, rows, data, chosen)
        return [loss * math.nan for loss in losses] if len(calls) == at_step else losses

    monkeypatch.setattr(inversion, "denoising_losses", spoilt)


@pytest.mark.parametrize("eval_every_steps", [100, 2, 1])
def test_a_loss_that_is_not_a_number_is_named_with_its_step_before_it_is_saved(
    base, data, monkeypatch, eval_every_steps
):
    _spoil_training(monkeypatch, at_step=3)
    saved: list[Progress] = []
    config = dataclasses.replace(SMALL, eval_every_steps=eval_every_steps, checkpoint_every_steps=2)
    with pytest.raises(ValueError, match=r"class 'rose': the training loss is nan at step 3: lower "):
        learn_rose(base, data, config, checkpoint=lambda progress: saved.append(copy_of(progress)))
    assert [progress.step for progress in saved] == [2]
    assert all(torch.isfinite(progress.rows).all() for progress in saved)


def test_an_evaluation_that_is_not_a_number_is_named(base, data, monkeypatch):
    _script_evaluations(monkeypatch, [1.0, math.inf])
    with pytest.raises(ValueError, match="class 'rose': the evaluation loss is inf at step 3"):
        learn_rose(base, data, SMALL)


def _script_evaluations(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []

    def scripted(_base, rows, _data, _config, _seed, _losses) -> float:
        seen.append(rows.detach().clone())
        return losses[len(seen) - 1]

    monkeypatch.setattr(inversion, "evaluate", scripted)
    return seen


def test_a_plateau_stops_early_and_the_best_rows_are_kept(base, data, monkeypatch):
    seen = _script_evaluations(monkeypatch, [5.0, 4.0, 3.0, 3.1, 3.2, 3.1, 1.0])
    config = dataclasses.replace(SMALL, num_steps=50, eval_every_steps=5, patience_evals=3)
    progress = learn_rose(base, data, config)
    assert progress.step == 5 * config.eval_every_steps
    assert (progress.best.step, progress.best.loss) == (2 * config.eval_every_steps, 3.0)
    assert torch.equal(progress.best_rows, seen[2])
    assert not torch.equal(progress.best_rows, progress.rows)


def _stops_at(losses: list[float], config: TextualInversionConfig) -> int | None:
    for end in range(1, len(losses) + 1):
        curve = [LossPoint(step=i * config.eval_every_steps, loss=loss) for i, loss in enumerate(losses[:end])]
        rows = torch.zeros(1, 2)
        progress = Progress(
            step=curve[-1].step,
            rows=rows,
            first_moment=rows,
            second_moment=rows,
            best_rows=rows,
            start_norms=rows[:, :1],
            curve=curve,
        )
        if should_stop(progress, config):
            return end - 1
    return None


@pytest.mark.parametrize(
    ("losses", "num_steps", "stops_at"),
    [
        ([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 80, None),  # still falling
        ([8.0, 4.0, 2.0, 1.0, 0.9, 0.85, 0.83, 0.82], 80, 6),  # 0.07 is less than a fiftieth of 7.17, 0.15 is not
        ([8.0, 4.0, 2.0, 1.0, 0.9, 0.85, 0.83, 0.82], 280, 7),  # the same, but a quarter of all steps comes first
        ([8.0, 4.0, 9.0, 4.5, 3.0, 2.0, 1.0, 0.5], 80, 3),  # two without a better one
        ([8.0, 8.0, 8.0, 8.0], 80, 2),  # nothing is learnt at all
    ],
)
def test_training_stops_where_the_loss_no_longer_moves(losses, num_steps, stops_at):
    config = TextualInversionConfig(num_steps=num_steps, eval_every_steps=10, patience_evals=2)
    assert _stops_at(losses, config) == stops_at
    assert _stops_at(losses, dataclasses.replace(config, patience_evals=0)) is None


def test_the_curve_holds_seconds_that_never_fall_and_go_on_after_a_resume(base, data):
    saved: list[Progress] = []
    whole = learn_rose(base, data, SMALL, checkpoint=lambda progress: saved.append(copy_of(progress)))
    seconds = [point.seconds for point in whole.curve]
    assert seconds == sorted(seconds) and seconds[0] > 0
    earlier = saved[0]
    earlier.seconds = 1000.0
    resumed = learn_rose(base, data, SMALL, progress=earlier)
    assert all(point.seconds > 1000 for point in resumed.curve if point.step > 4)
    assert resumed.seconds > 1000


def test_norms_are_kept_where_the_config_asks_for_it(make_tiny_base, images):
    base = load_base(make_tiny_base(is_xl=True), "float32", "cpu")
    data = prepare(base, images, TOKEN, 2)
    config = dataclasses.replace(SMALL, keep_norm=True, learning_rate=0.5)
    initial = start(base, data, config).rows
    kept, free = learn_rose(base, data, config).rows, learn_rose(base, data, SMALL).rows
    for part, initial_part in zip(kept.split([16, 24], 1), initial.split([16, 24], 1), strict=True):
        torch.testing.assert_close(part.norm(dim=1), initial_part.norm(dim=1), rtol=1e-6, atol=0)
        assert (part - initial_part).norm(dim=1).min() > 1e-2
    assert ((free.norm(dim=1) / initial.norm(dim=1)) - 1).abs().min() > 1e-5


def test_a_resumed_run_keeps_the_norms_to_the_bit(base, data):
    config = dataclasses.replace(SMALL, keep_norm=True)
    saved: list[Progress] = []
    whole = learn_rose(base, data, config, checkpoint=lambda progress: saved.append(copy_of(progress)))
    assert torch.equal(learn_rose(base, data, config, progress=saved[0]).rows, whole.rows)


def test_every_one_of_many_vectors_moves_to_its_own_place(base, images):
    config = dataclasses.replace(SMALL, num_vectors=8)
    data = prepare(base, images, TOKEN, 8)
    progress = learn_rose(base, data, config)
    assert (progress.rows - start(base, data, config).rows).norm(dim=1).min() > 1e-3
    assert torch.pdist(progress.rows).min() > 1e-4


def test_without_patience_all_steps_are_taken_and_the_first_rows_may_be_best(base, data, monkeypatch):
    seen = _script_evaluations(monkeypatch, [1.0, 4.0, 3.0, 2.0, 2.5, 9.0])
    progress = learn_rose(base, data, SMALL)
    assert progress.step == SMALL.num_steps
    assert torch.equal(progress.best_rows, seen[0])
    assert torch.equal(seen[0], start(base, data, SMALL).rows)


def test_nothing_but_the_rows_is_trained(base, data):
    before = {name: value.clone() for name, value in base.text_encoder.state_dict().items()}
    progress = learn_rose(base, data, SMALL)
    assert all(torch.equal(value, before[name]) for name, value in base.text_encoder.state_dict().items())
    networks = (base.text_encoder, base.unet, base.vae)
    assert all(parameter.grad is None for network in networks for parameter in network.parameters())
    assert (progress.rows - start(base, data, SMALL).rows).abs().sum(dim=1).min() > 0


def test_images_of_another_class_take_another_path(base, data):
    ours = learn_rose(base, data, SMALL)
    theirs = learn(base, data, SMALL, "lily", RUN_SEED, start(base, data, SMALL), ignore)
    other_seed = learn(base, data, SMALL, CLASS_NAME, RUN_SEED + 1, start(base, data, SMALL), ignore)
    assert not torch.equal(ours.rows, theirs.rows)
    assert not torch.equal(ours.rows, other_seed.rows)
