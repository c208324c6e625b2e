"""Trains one tensor for each of one or several classes: AdamW on a loss of the frozen base.

Several classes, or learnings of one class, may share a batch; each has its own seeds, optimiser state, loss curve and
early stopping. The random numbers of a step depend only on the run's seed, the class, the learning and the step's
number, so a run resumed from a checkpoint is identical to an uninterrupted one. This module does not know what the
tensor is, nor about Ray, files, or why a class was selected.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from flowerti.artifacts.identity import of_learning, seed_for
from flowerti.artifacts.records import LossPoint
from flowerti.config.experiment import ScheduleConfig
from flowerti.diffusion import Base
from flowerti.personalization.denoising import EncodedImages, Losses, draw, evaluate
from flowerti.personalization.schedule import learning_rate_at, should_stop
from flowerti.personalization.train_state import TrainState

_EVALUATION_SEED_NAME = "inversion/evaluation"
"""The same for all techniques, so that their losses use the same draws; the name is kept to keep the seeds."""

AfterStep = Callable[[Tensor, Tensor], None]
"""Called with the trained tensor, which it may change in place, and the tensor before the first step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Procedure:
    """Training settings that all classes of a batch share."""

    base: Base
    config: ScheduleConfig
    losses: Losses
    seed_name: str
    """Name in the seeds of steps."""
    after_step: AfterStep | None = None


@dataclass(kw_only=True, slots=True)
class ClassTraining:
    """One class in training: its data, its state and its error, if any."""

    class_name: str
    run_seed: int
    data: EncodedImages
    state: TrainState
    learning: int = 0
    """Which of the class's learnings; it names the seeds."""
    error: str = ""
    """Empty, or why the class failed."""


Checkpoint = Callable[[ClassTraining], None]
"""Writes a checkpoint of a class."""


def learn_together(
    procedure: Procedure, trainings: Sequence[ClassTraining], checkpoint: Checkpoint
) -> Iterator[ClassTraining]:
    """Train several classes in one batch, in place, and yield each as it finishes; a failed one has an `error`.

    Gradients, seeds and early stopping of a class are those of a separate run. A class that finishes is removed from
    the batch. `checkpoint` is called every few steps and at the end.
    """
    trainers = [Trainer(procedure, training) for training in trainings]
    while trainers:
        for trainer in [t for t in trainers if t.has_ended()]:
            trainers.remove(trainer)
            trainer.end()
            yield trainer.training
        if trainers:
            take_step(procedure, trainers)
            for trainer in trainers:
                trainer.evaluate_and_checkpoint(checkpoint)


def take_step(procedure: Procedure, trainers: "Sequence[Trainer]") -> None:
    """One optimiser step of every class: one forward and backward pass, without synchronisation with the host."""
    base, batch_size = procedure.base, procedure.config.batch_size
    num_timesteps = base.noise_scheduler.config.num_train_timesteps
    data = [trainer.training.data for trainer in trainers]
    chosen = [draw(t.training.data, batch_size, num_timesteps, t.step_seed()) for t in trainers]
    learnt = [trainer.training.state.learnt for trainer in trainers]
    with _convolutions(base, num_latents=sum(one.num_latents for one in chosen)):
        found = procedure.losses(base, learnt, data, chosen)
        # only a class's own loss depends on its tensor: d(L1 + L2 + ...)/dx1 = dL1/dx1
        gradients = torch.autograd.grad(torch.stack(found).sum(), learnt)
    for trainer, loss, gradient in zip(trainers, found, gradients, strict=True):
        trainer.step(loss.detach(), gradient)


@contextmanager
def _convolutions(base: Base, num_latents: int) -> Iterator[None]:
    """Context that disables oneDNN for a step on one latent on a CPU.

    oneDNN reorders a layer's weights at every call. With Stable Diffusion 1.5 and one latent this takes a quarter of
    the step; with four latents oneDNN's faster kernels outweigh it.
    """
    onednn = torch.backends.mkldnn
    was_enabled = onednn.enabled
    is_plain = num_latents == 1 and base.unet.device.type == "cpu" and base.unet.dtype == torch.float32
    # torch's own `flags` also sets TF32, and warns of it where there is no Intel GPU
    onednn.enabled = was_enabled and not is_plain
    try:
        yield
    finally:
        onednn.enabled = was_enabled


class Trainer:
    """The training of one class: optimiser, evaluations and stopping."""

    def __init__(self, procedure: Procedure, training: ClassTraining) -> None:
        """Resume from the training's state; a new one is evaluated first."""
        self.training = training
        self._procedure, self._config = procedure, procedure.config
        self._unread: list[Tensor] = []
        state = training.state
        state.learnt = state.learnt.requires_grad_()
        self._optimizer = torch.optim.AdamW(
            [state.learnt], lr=self._config.learning_rate, weight_decay=self._config.weight_decay
        )
        self._optimizer.state[state.learnt] = {
            "step": torch.tensor(float(state.step)),
            "exp_avg": state.first_moment,
            "exp_avg_sq": state.second_moment,
        }
        self._began = time.monotonic() - state.seconds
        if not state.curve:
            self._guarded(self._evaluate)

    def step_seed(self) -> int:
        """Seed of the next step's draw."""
        training = self.training
        name = f"{of_learning(self._procedure.seed_name, training.learning)}/step"
        return seed_for(training.run_seed, training.class_name, name, training.state.step)

    def step(self, loss: Tensor, gradient: Tensor) -> None:
        """Apply one gradient to the tensor."""
        state = self.training.state
        self._optimizer.param_groups[0]["lr"] = learning_rate_at(state.step, self._config)
        state.learnt.grad = gradient
        self._optimizer.step()
        if self._procedure.after_step is not None:
            self._procedure.after_step(state.learnt, state.start)
        self._unread.append(loss)
        state.step += 1

    def evaluate_and_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Evaluate and write a checkpoint if they are due at this step."""
        step, config = self.training.state.step, self._config
        is_last = step == config.num_steps
        if step % config.eval_every_steps == 0 or is_last:
            self._guarded(self._evaluate)
        if not self.training.error and (step % config.checkpoint_every_steps == 0 or is_last):
            self._guarded(self._require_finite)
            if not self.training.error:
                self.training.state.seconds = time.monotonic() - self._began
                checkpoint(self.training)

    def has_ended(self) -> bool:
        """Whether all steps are done, the loss has converged, or the class failed."""
        state = self.training.state
        if self.training.error or state.step >= self._config.num_steps:
            return True
        return should_stop(state.step, [point.loss for point in state.curve], self._config)

    def end(self) -> None:
        """Detach the tensor from autograd."""
        state = self.training.state
        state.seconds = time.monotonic() - self._began
        state.learnt = state.learnt.detach()

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except _NotFiniteError as error:
            self.training.error = (
                f"class {self.training.class_name!r}: {error}: "
                f"lower {self._config.section}.learning_rate or use base.dtype float32"
            )

    def _evaluate(self) -> None:
        training, state, procedure = self.training, self.training.state, self._procedure
        self._require_finite()
        # on draws of its own, too: shared ones would make the best steps of a class's learnings alike
        name = of_learning(_EVALUATION_SEED_NAME, training.learning)
        seed = seed_for(training.run_seed, training.class_name, name, 0)
        loss = evaluate(procedure.base, state.learnt, training.data, self._config, seed, procedure.losses)
        if not loss < float("inf"):
            raise _NotFiniteError(f"the evaluation loss is {loss} at step {state.step}")
        is_best = not state.curve or loss < state.best_point.loss
        state.curve.append(LossPoint(step=state.step, loss=loss, seconds=time.monotonic() - self._began))
        if is_best:
            state.best = state.learnt.detach().clone()

    def _require_finite(self) -> None:
        """Check all losses since the last check at once: one device synchronisation instead of one per step."""
        state = self.training.state
        if self._unread:
            losses = torch.stack(self._unread).tolist()
            self._unread.clear()
            for step, loss in enumerate(losses, start=state.step - len(losses) + 1):
                if not abs(loss) < float("inf"):
                    raise _NotFiniteError(f"the training loss is {loss} at step {step}")
        if not bool(torch.isfinite(state.learnt).all()):
            raise _NotFiniteError(f"the trained tensor is not finite at step {state.step}")


class _NotFiniteError(Exception):
    """A loss or a trained value is not finite."""
