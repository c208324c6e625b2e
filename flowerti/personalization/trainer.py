"""Textual Inversion (Gal et al. 2022, arXiv 2208.01618): learn embedding rows for one or several classes.

The rows are the only parameters; `flowerti.adapters` has an adapter learnt in their place, laid out as one long row.
Several concepts may share a batch; each keeps its own seeds, optimiser state, curve and stop. All randomness of a step
comes from the run's seed, the class and the step's number, so that a run resumed from a checkpoint takes the same path
as an uninterrupted one. This module does not know about Ray, files, or why a class was selected.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.records import LossPoint
from flowerti.config.experiment import TextualInversionConfig
from flowerti.diffusion import Base
from flowerti.personalization.denoising import Losses, TrainingSet, denoising_losses, draw, evaluate
from flowerti.personalization.textual_inversion.starts import start_rows

_WARM_UP_SHARE = 0.1
_FINAL_RATE_SHARE = 0.1
_MIN_SHARE_BEFORE_STOP = 0.25
_PLATEAU_SHARE = 0.02


@dataclass(kw_only=True, slots=True)
class Progress:
    """Everything that a resumed run needs."""

    step: int
    rows: Float[Tensor, "vectors width"]
    first_moment: Float[Tensor, "vectors width"]
    second_moment: Float[Tensor, "vectors width"]
    best_rows: Float[Tensor, "vectors width"]
    start_norms: Float[Tensor, "vectors encoders"]
    """Lengths of the rows at the start, one for each text encoder's part; held where the config asks for it."""
    curve: list[LossPoint] = field(default_factory=list)
    seconds: float = 0.0
    """Time spent on it so far; in a shared batch, the batch's time."""

    @property
    def best(self) -> LossPoint:
        """The evaluation whose rows are kept."""
        return min(self.curve, key=lambda point: point.loss)


@dataclass(kw_only=True, slots=True)
class Lesson:
    """One class in training: what it draws from, how far it is, and how it ended."""

    class_name: str
    run_seed: int
    data: TrainingSet
    progress: Progress
    stage: str = "inversion"
    """Which part of the config is being followed; it also tells the draws of one stage from those of another."""
    error: str = ""
    """Empty, or why the class failed."""


def start(
    base: Base, data: TrainingSet, config: TextualInversionConfig, class_name: str = "", run_seed: int = 0
) -> Progress:
    """Rows at the config's start, float32, and empty moments.

    Raises:
        ValueError: the start's word is not one token of the base.
    """
    return progress_from(base, start_rows(base, data, config, class_name, run_seed))


def progress_from(base: Base, rows: Float[Tensor, "vectors width"]) -> Progress:
    """A run at its beginning, from given rows and in their precision."""
    return Progress(
        step=0,
        rows=rows,
        first_moment=torch.zeros_like(rows),
        second_moment=torch.zeros_like(rows),
        best_rows=rows.clone(),
        start_norms=_norms(base, rows),
    )


def learning_rate_at(step: int, config: TextualInversionConfig) -> float:
    """Rate of a step: linear warm-up over the first tenth, then a cosine down to a tenth of the peak."""
    warm_up = max(1, round(config.num_steps * _WARM_UP_SHARE))
    if step < warm_up:
        return config.learning_rate * (step + 1) / warm_up
    position = torch.tensor((step - warm_up) / max(1, config.num_steps - warm_up), dtype=torch.float64)
    share = _FINAL_RATE_SHARE + (1 - _FINAL_RATE_SHARE) * 0.5 * (1 + torch.cos(torch.pi * position).item())
    return config.learning_rate * share


def learn(
    base: Base,
    data: TrainingSet,
    config: TextualInversionConfig,
    class_name: str,
    run_seed: int,
    progress: Progress,
    checkpoint: Callable[[Progress], None],
) -> Progress:
    """Train one class from `progress` to the end, in place; `checkpoint` is called every few steps and at the end.

    Raises:
        ValueError: the loss is not finite; names the class and the step, the last good checkpoint stays.
    """
    lesson = Lesson(class_name=class_name, run_seed=run_seed, data=data, progress=progress)
    for _ in learn_together(base, [lesson], config, lambda taught: checkpoint(taught.progress)):
        pass
    if lesson.error:
        raise ValueError(lesson.error)
    return lesson.progress


def learn_together(
    base: Base,
    lessons: list[Lesson],
    config: TextualInversionConfig,
    checkpoint: Callable[[Lesson], None],
    losses: Losses | None = None,
) -> Iterator[Lesson]:
    """Train several classes in one batch, in place, and yield each as it ends; `lesson.error` says how.

    A class's gradients, seeds and stop are those of a run of its own. A class that ends leaves the batch to the others.
    `losses` says what is learnt; the rows of a token where there are none.
    """
    courses = [Course(base, lesson, config, losses) for lesson in lessons]
    while courses:
        for course in [c for c in courses if c.has_ended()]:
            courses.remove(course)
            course.end()
            yield course.lesson
        if courses:
            take_step(base, courses, config, losses)
            for course in courses:
                course.look(checkpoint)


def take_step(
    base: Base, courses: "list[Course]", config: TextualInversionConfig, losses: Losses | None = None
) -> None:
    """One optimiser step of every class, from one pass through the networks; nothing is read back to the host."""
    num_timesteps = base.noise_scheduler.config.num_train_timesteps
    chosen = [draw(c.lesson.data, config.batch_size, num_timesteps, c.step_seed()) for c in courses]
    rows = [course.lesson.progress.rows for course in courses]
    with _convolutions(base, num_latents=len(courses) * config.batch_size):
        found = (losses or denoising_losses)(base, rows, [course.lesson.data for course in courses], chosen)
        # a class's rows meet the sum through its own loss alone
        gradients = torch.autograd.grad(torch.stack(found).sum(), rows)
    for course, loss, gradient in zip(courses, found, gradients, strict=True):
        course.step(loss.detach(), gradient)


@contextmanager
def _convolutions(base: Base, num_latents: int) -> Iterator[None]:
    """How a step convolves: for one latent on a CPU by plain matrix products.

    oneDNN lays a layer's weights out anew at every call. With Stable Diffusion 1.5's weights and one latent that is a
    quarter of the step; with four it is made up for by oneDNN's faster products.
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


class Course:
    """A lesson with its optimiser, its evaluations and its end."""

    def __init__(
        self, base: Base, lesson: Lesson, config: TextualInversionConfig, losses: Losses | None = None
    ) -> None:
        self.lesson = lesson
        self._base, self._config, self._losses = base, config, losses
        self._unread: list[Tensor] = []
        progress = lesson.progress
        progress.rows = progress.rows.requires_grad_()
        self._optimizer = torch.optim.AdamW([progress.rows], lr=config.learning_rate, weight_decay=config.weight_decay)
        self._optimizer.state[progress.rows] = {
            "step": torch.tensor(float(progress.step)),
            "exp_avg": progress.first_moment,
            "exp_avg_sq": progress.second_moment,
        }
        self._began = time.monotonic() - progress.seconds
        if not progress.curve:
            self._guarded(self._evaluate)

    def step_seed(self) -> int:
        """Seed of the coming step's draw."""
        lesson = self.lesson
        return seed_for(lesson.run_seed, lesson.class_name, f"{lesson.stage}/step", lesson.progress.step)

    def step(self, loss: Tensor, gradient: Tensor) -> None:
        """Move the rows along one gradient."""
        progress = self.lesson.progress
        self._optimizer.param_groups[0]["lr"] = learning_rate_at(progress.step, self._config)
        progress.rows.grad = gradient
        self._optimizer.step()
        if self._config.keep_norm:
            _restore_norms(self._base, progress)
        self._unread.append(loss)
        progress.step += 1

    def look(self, checkpoint: Callable[[Lesson], None]) -> None:
        """Evaluate and write a checkpoint where the step's number asks for it."""
        step, config = self.lesson.progress.step, self._config
        is_last = step == config.num_steps
        if step % config.eval_every_steps == 0 or is_last:
            self._guarded(self._evaluate)
        if not self.lesson.error and (step % config.checkpoint_every_steps == 0 or is_last):
            self._guarded(self._require_finite)
            if not self.lesson.error:
                self.lesson.progress.seconds = time.monotonic() - self._began
                checkpoint(self.lesson)

    def has_ended(self) -> bool:
        """Whether all steps are taken, nothing more is to be gained, or the class failed."""
        progress = self.lesson.progress
        return bool(self.lesson.error) or progress.step >= self._config.num_steps or should_stop(progress, self._config)

    def end(self) -> None:
        """Leave rows that are a plain tensor."""
        progress = self.lesson.progress
        progress.seconds = time.monotonic() - self._began
        progress.rows = progress.rows.detach()

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except _NotFiniteError as error:
            self.lesson.error = (
                f"class {self.lesson.class_name!r}: {error}: "
                f"lower {self.lesson.stage}.learning_rate or use base.dtype float32"
            )

    def _evaluate(self) -> None:
        progress, lesson = self.lesson.progress, self.lesson
        self._require_finite()
        seed = seed_for(lesson.run_seed, lesson.class_name, "inversion/evaluation", 0)
        loss = evaluate(self._base, progress.rows, lesson.data, self._config, seed, self._losses)
        if not loss < float("inf"):
            raise _NotFiniteError(f"the evaluation loss is {loss} at step {progress.step}")
        is_best = not progress.curve or loss < progress.best.loss
        progress.curve.append(LossPoint(step=progress.step, loss=loss, seconds=time.monotonic() - self._began))
        if is_best:
            progress.best_rows = progress.rows.detach().clone()

    def _require_finite(self) -> None:
        """Look at the losses since the last look, all at once: one wait for the device, not one a step."""
        progress = self.lesson.progress
        if self._unread:
            losses = torch.stack(self._unread).tolist()
            self._unread.clear()
            for step, loss in enumerate(losses, start=progress.step - len(losses) + 1):
                if not abs(loss) < float("inf"):
                    raise _NotFiniteError(f"the training loss is {loss} at step {step}")
        if not bool(torch.isfinite(progress.rows).all()):
            raise _NotFiniteError(f"the learnt rows are not finite at step {progress.step}")


class _NotFiniteError(Exception):
    """A loss or row that is no number."""


def should_stop(progress: Progress, config: TextualInversionConfig) -> bool:
    """Whether the evaluation loss hardly falls any more; never before a quarter of all steps.

    As in DVAR (Voronov et al. 2023, arXiv 2302.04841) a loss on fixed draws decides, relative to its own history: it
    stops once the best loss fell by less than a fiftieth of its whole fall over the last `patience_evals` evaluations.
    DVAR's own rule, the variance of the last losses as a share of that of all, would also stop a loss that falls along
    a straight line.
    """
    window, losses = config.patience_evals, [point.loss for point in progress.curve]
    if not window or progress.step < _MIN_SHARE_BEFORE_STOP * config.num_steps or len(losses) <= window:
        return False
    latest_fall = min(losses[:-window]) - min(losses)
    return latest_fall <= _PLATEAU_SHARE * (losses[0] - min(losses))


def _norms(base: Base, rows: Float[Tensor, "vectors width"]) -> Float[Tensor, "vectors encoders"]:
    return torch.stack([part.norm(dim=1) for part in rows.split(base.row_widths, dim=1)], dim=1)


@torch.no_grad()
def _restore_norms(base: Base, progress: Progress) -> None:
    """Scale each row's part back to the length that it started with."""
    scales = progress.start_norms / _norms(base, progress.rows)
    widths = torch.tensor(base.row_widths, device=scales.device)
    progress.rows.mul_(scales.repeat_interleave(widths, dim=1))
