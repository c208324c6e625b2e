"""Which actor gets which classes, and what happens to a group whose class or worker fails, without a cluster.

A stand-in runs every actor's call at once, in this process; what Ray itself does is tested with the whole pipeline.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
from ray import ObjectRef
from ray.exceptions import (
    ActorUnschedulableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
    WorkerCrashedError,
)

from flowerti.artifacts.records import Learned, LossPoint
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.base_files import UnusableBaseError
from flowerti.cluster import fan_out
from flowerti.cluster.fan_out import FanOut, FanOutSpec
from flowerti.config.experiment import ClusterConfig
from flowerti.personalization.store import load_learned, store_failure
from flowerti.personalization.worker import LearningTask
from flowerti.progress import Advance, Info, Metric, Progress

Answer = Callable[[list[LearningTask]], Sequence[Learned]]


class _Ray:
    """Enough of Ray for the fan-out: a call is answered when it is made."""

    def __init__(self, answer: Answer) -> None:
        self.groups: list[list[str]] = []
        self.num_alive = self.most_alive = self.num_started = 0
        self._answer = answer
        self._answers: dict[ObjectRef, Sequence[Learned] | Exception] = {}

    def remote(self, _kind: type) -> SimpleNamespace:
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._actor))

    def _actor(self, *_args: object) -> SimpleNamespace:
        self.num_alive += 1
        self.num_started += 1
        self.most_alive = max(self.most_alive, self.num_alive)
        return SimpleNamespace(learn_together=SimpleNamespace(remote=self._call))

    def _call(self, group: list[LearningTask]) -> ObjectRef:
        self.groups.append([_short(task) for task in group])
        reference = ObjectRef.from_random()
        try:
            self._answers[reference] = self._answer(group)
        except RayError as error:
            self._answers[reference] = error
        return reference

    def wait(self, references: list, num_returns: int, timeout: float) -> tuple[list, list]:
        assert (num_returns, timeout > 0) == (1, True)
        return references[:1], references[1:]

    def get(self, reference: ObjectRef) -> Sequence[Learned]:
        answer = self._answers[reference]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self, _actor: SimpleNamespace) -> None:
        self.num_alive -= 1


def _task(name: str) -> LearningTask:
    """The task of a class, as in "a", or of one of its learnings, as in "a1"."""
    return LearningTask(
        technique="t",
        class_name=name[0],
        addresses=("a",),
        image_size_px=8,
        run_seed=0,
        key=name,
        learning=int(name[1:] or 0),
    )


def _short(one: LearningTask | Learned) -> str:
    return f"{one.class_name}{one.learning or ''}"


def _learnt(task: LearningTask) -> Learned:
    return Learned(class_name=task.class_name, technique="t", learning=task.learning, num_steps=3)


def _spec(run: RunDirectory, group_size: int) -> FanOutSpec:
    return FanOutSpec(
        worker=object,
        arguments=(),
        group_size=group_size,
        load=lambda task: load_learned(run, task.class_name, task.technique, task.key, task.learning),
        store_failure=lambda task, reason: store_failure(run, task.failed(reason), task.key),
        last_point=lambda task: LossPoint(step=4, loss=0.25) if task.class_name == "a" else None,
    )


def _run(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path,
    answer: Answer,
    names: Sequence[str],
    group_size: int = 1,
    progress: Progress | None = None,
    **cluster: int,
) -> tuple[_Ray, dict[str, Learned], RunDirectory]:
    fake, run = _Ray(answer), RunDirectory(str(tmp_path))
    monkeypatch.setattr(fan_out, "ray", fake)
    tasks = [_task(name) for name in names]
    outcomes = FanOut(ClusterConfig(**cluster), _spec(run, group_size), progress or Progress()).run(tasks)
    assert fake.num_alive == 0
    assert list(outcomes) == [(one.class_name, one.learning) for one in outcomes.values()]
    return fake, {_short(one): one for one in outcomes.values()}, run


@pytest.mark.parametrize(
    ("group_size", "groups"),
    [(1, ["a", "b", "c", "d", "e"]), (2, ["ab", "cd", "e"]), (3, ["abc", "de"]), (9, ["abc", "de"])],
)
def test_classes_are_packed_in_their_order(monkeypatch, tmp_path, group_size, groups):
    fake, outcomes, _ = _run(
        monkeypatch,
        tmp_path,
        lambda group: [_learnt(task) for task in group],
        "abcde",
        group_size=group_size,
        num_workers=2,
    )
    assert ["".join(group) for group in fake.groups] == groups
    assert fake.most_alive == min(2, len(groups))
    assert fake.num_started == fake.most_alive, "an actor goes on with the next group"
    assert set(outcomes) == set("abcde")


def test_an_actor_that_failed_learns_nothing_more(monkeypatch, tmp_path):
    def answer(group: list[LearningTask]) -> list[Learned]:
        if group[0].class_name == "b":
            raise RayTaskError("learn_together", "traceback", ValueError("half way"))
        return [_learnt(task) for task in group]

    fake, outcomes, _ = _run(monkeypatch, tmp_path, answer, "abcd", num_workers=1)
    assert [outcomes[name].error for name in "abcd"] == ["", "half way", "", ""]
    assert (fake.num_started, fake.most_alive) == (2, 1), "c and d on a new one"


def test_a_class_that_fails_is_recorded_and_the_others_of_its_group_stand(monkeypatch, tmp_path):
    def answer(group: list[LearningTask]) -> list[Learned]:
        return [t.failed("loss is nan") if t.class_name == "b" else _learnt(t) for t in group]

    fake, outcomes, run = _run(monkeypatch, tmp_path, answer, "abc", group_size=3, num_workers=1)
    assert [outcomes[name].error for name in "abc"] == ["", "loss is nan", ""]
    assert run.load("concepts/b/t.json", Learned, "b") == outcomes["b"]
    assert len(fake.groups) == 1


def test_a_batch_that_fails_as_a_whole_is_tried_class_by_class(monkeypatch, tmp_path):
    def answer(group: list[LearningTask]) -> list[Learned]:
        if any(task.class_name == "b" for task in group):
            raise RayTaskError("learn_together", "traceback", MemoryError("out of memory"))
        return [_learnt(task) for task in group]

    fake, outcomes, _ = _run(monkeypatch, tmp_path, answer, "abcd", group_size=2, num_workers=1)
    assert ["".join(group) for group in fake.groups] == ["ab", "cd", "a", "b"]
    assert [outcomes[name].error for name in "abcd"] == ["", "out of memory", "", ""]


def test_a_base_that_cannot_be_used_ends_the_run_at_once(monkeypatch, tmp_path):
    groups = []

    def answer(group: list[LearningTask]) -> list[Learned]:
        groups.append(group)
        raise RayTaskError("learn_together", "traceback", UnusableBaseError("base.path: x.safetensors is damaged"))

    with pytest.raises(ValueError, match=r"^base\.path: x\.safetensors is damaged$"):
        _run(monkeypatch, tmp_path, answer, "abcd", group_size=2, num_workers=1)
    assert len(groups) == 1 and not RunDirectory(str(tmp_path)).names("")


def test_a_lost_worker_s_group_goes_on_together_until_it_was_lost_too_often(monkeypatch, tmp_path):
    lost = []

    def answer(group: list[LearningTask]) -> list[Learned]:
        names = "".join(task.class_name for task in group)
        if "a" in names and len(lost) < 2:
            lost.append(names)
            raise RayActorError
        return [_learnt(task) for task in group]

    fake, outcomes, _ = _run(monkeypatch, tmp_path, answer, "abc", group_size=2, num_workers=1, max_retries_per_class=2)
    assert ["".join(group) for group in fake.groups] == ["ab", "c", "ab", "ab"]
    assert not any(learned.error for learned in outcomes.values())
    lost.clear()
    _, outcomes, _ = _run(
        monkeypatch, tmp_path / "again", answer, "abc", group_size=2, num_workers=1, max_retries_per_class=1
    )
    assert outcomes["a"].error.startswith("its worker was lost 2 times")
    assert outcomes["c"].error == ""


def test_classes_that_ended_before_their_worker_was_lost_are_not_learnt_again(monkeypatch, tmp_path):
    run, lost = RunDirectory(str(tmp_path)), []

    def answer(group: list[LearningTask]) -> list[Learned]:
        if not lost:
            lost.append(1)
            run.save("concepts/a/t.json", _learnt(group[0]), group[0].key)
            raise RayActorError
        return [_learnt(task) for task in group]

    fake, outcomes, _ = _run(monkeypatch, tmp_path, answer, "abc", group_size=3, num_workers=1)
    assert ["".join(group) for group in fake.groups] == ["abc", "bc"]
    assert set(outcomes) == set("abc")


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("the node runs out of memory"),
        RuntimeEnvSetupError("no such package"),
        ActorUnschedulableError("no node can hold it"),
        WorkerCrashedError(),
        ObjectLostError("0" * 56, None, ""),
        RayActorError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_of_ray_is_tried_again_then_recorded_and_the_others_finish(monkeypatch, tmp_path, error: RayError):
    def answer(group: list[LearningTask]) -> list[Learned]:
        if group[0].class_name == "b":
            raise error
        return [_learnt(task) for task in group]

    fake, outcomes, run = _run(monkeypatch, tmp_path, answer, "abc", num_workers=1, max_retries_per_class=2)
    assert ["".join(group) for group in fake.groups] == ["a", "b", "c", "b", "b"]
    assert " 3 times: " in outcomes["b"].error
    assert not outcomes["a"].error and not outcomes["c"].error
    assert run.load("concepts/b/t.json", Learned, "b") == outcomes["b"]


def test_a_batch_that_ran_out_of_memory_is_halved_once(monkeypatch, tmp_path):
    def answer(group: list[LearningTask]) -> list[Learned]:
        if len(group) > 1:
            raise OutOfMemoryError("the node runs out of memory")
        return [_learnt(task) for task in group]

    fake, outcomes, _ = _run(monkeypatch, tmp_path, answer, "abc", group_size=3, num_workers=1, max_retries_per_class=2)
    assert ["".join(group) for group in fake.groups] == ["abc", "ab", "c", "ab"]
    assert outcomes["a"].error.startswith("its worker was ended for want of memory 3 times: ")
    assert not outcomes["c"].error


@pytest.mark.parametrize(
    "error",
    [
        NodeDiedError("gone"),
        RayActorError(preempted=True),
        RayActorError(error_msg="The actor died because its node has died. Node Id: 0"),
    ],
    ids=["node", "preempted", "actor's node"],
)
def test_lost_nodes_are_not_counted_among_the_retries(monkeypatch, tmp_path, error: RayError):
    lost = []

    def answer(group: list[LearningTask]) -> list[Learned]:
        if len(lost) < 5:
            lost.append(error)
            raise error
        if len(lost) == 5:
            lost.append(error)
            raise RayActorError
        return [_learnt(task) for task in group]

    fake, outcomes, _ = _run(monkeypatch, tmp_path, answer, "a", num_workers=1, max_retries_per_class=1)
    assert len(fake.groups) == 7 and not outcomes["a"].error


def test_a_class_that_loses_every_node_is_given_up(monkeypatch, tmp_path):
    def answer(group: list[LearningTask]) -> list[Learned]:
        raise NodeDiedError("gone")

    fake, outcomes, _ = _run(monkeypatch, tmp_path, answer, "a", num_workers=1, max_retries_per_class=0)
    assert outcomes["a"].error == f"its node was lost {len(fake.groups)} times: gone"
    assert len(fake.groups) == fan_out._MAX_NODES_LOST + 1


def test_losses_and_ended_classes_are_reported_as_numbers(monkeypatch, tmp_path):
    events = []
    real_wait, waited = _Ray.wait, []

    def wait_in_vain_twice(self, references: list, num_returns: int, timeout: float) -> tuple[list, list]:
        waited.append(1)
        return ([], references) if len(waited) < 3 else real_wait(self, references, num_returns, timeout)

    monkeypatch.setattr(_Ray, "wait", wait_in_vain_twice)
    progress = Progress("personalize.t", [events.append])
    answer: Answer = lambda group: [_learnt(task) for task in group]  # noqa: E731
    _run(monkeypatch, tmp_path, answer, "abc", progress=progress, num_workers=2)
    stage = "personalize.t"
    metrics = [event for event in events if isinstance(event, Metric)]
    assert metrics == [Metric(stage=stage, name="a/evaluation_loss", step=4, value=0.25)], "told once a step"
    advances = [event for event in events if isinstance(event, Advance)]
    assert advances == [Advance(stage=stage, done=done, total=3, unit="classes") for done in (1, 2, 3)]
    assert Info(stage=stage, text="a: learnt in 3 steps, best at 0") in events
    assert not progress.has_worked, "whoever asks for the fan-out says that"


def test_a_learning_that_fails_leaves_the_others_of_its_class(monkeypatch, tmp_path):
    def answer(group: list[LearningTask]) -> list[Learned]:
        return [t.failed("loss is nan") if t.learning == 1 else _learnt(t) for t in group]

    fake, outcomes, run = _run(monkeypatch, tmp_path, answer, ["a", "a1", "a2", "b"], group_size=4, num_workers=1)
    assert fake.groups == [["a", "a1", "a2", "b"]]
    assert {name: one.error for name, one in outcomes.items()} == {"a": "", "a1": "loss is nan", "a2": "", "b": ""}
    assert run.names("concepts") == ["concepts/a/learning-1/t.json"]
    assert run.load("concepts/a/learning-1/t.json", Learned, "a1") == outcomes["a1"]


def test_learnings_of_a_class_are_retried_and_counted_each_by_itself(monkeypatch, tmp_path):
    events, lost = [], []

    def answer(group: list[LearningTask]) -> list[Learned]:
        names = [_short(task) for task in group]
        if len(group) > 1:
            raise RayTaskError("learn_together", "traceback", MemoryError("out of memory"))
        if names == ["a2"] and len(lost) < 2:
            lost.append(names)
            raise RayActorError
        return [_learnt(task) for task in group]

    fake, outcomes, _ = _run(
        monkeypatch,
        tmp_path,
        answer,
        ["a", "a1", "a2"],
        group_size=3,
        progress=Progress("personalize.t", [events.append]),
        num_workers=1,
        max_retries_per_class=2,
    )
    assert fake.groups == [["a", "a1", "a2"], ["a"], ["a1"], ["a2"], ["a2"]]
    assert outcomes["a2"].error.startswith("its worker was lost 3 times"), (
        "in the group's attempt and in two of its own"
    )
    assert not outcomes["a"].error and not outcomes["a1"].error
    texts = [event.text for event in events if isinstance(event, Info)]
    assert "a (learning 1): learnt in 3 steps, best at 0" in texts
    assert "a (learning 2): its worker was lost, going on from the last checkpoint" in texts
    advances = [event for event in events if isinstance(event, Advance)]
    assert [(one.done, one.total, one.unit) for one in advances] == [(n, 3, "learnings") for n in (1, 2, 3)]


def test_losses_of_learnings_have_names_of_their_own(monkeypatch, tmp_path):
    events, real_wait, waited = [], _Ray.wait, []

    def wait_in_vain_once(self, references: list, num_returns: int, timeout: float) -> tuple[list, list]:
        waited.append(1)
        return ([], references) if len(waited) < 2 else real_wait(self, references, num_returns, timeout)

    monkeypatch.setattr(_Ray, "wait", wait_in_vain_once)
    answer: Answer = lambda group: [_learnt(task) for task in group]  # noqa: E731
    progress = Progress("personalize.t", [events.append])
    _run(monkeypatch, tmp_path, answer, ["a", "a1"], progress=progress, num_workers=2)
    names = [event.name for event in events if isinstance(event, Metric)]
    assert names == ["a/evaluation_loss", "a (learning 1)/evaluation_loss"]
