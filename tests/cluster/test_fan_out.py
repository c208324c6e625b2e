"""Which actor gets which classes, and what happens to a group whose class or worker fails, without a cluster.

A stand-in runs every actor's call at once, in this process; what Ray itself does is tested with the whole pipeline.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
from ray import ObjectRef
from ray.exceptions import RayActorError, RayTaskError

from flowerti.artifacts.records import Adapter, Census, Concept
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster import adapt, fan_out
from flowerti.cluster import personalize as invert
from flowerti.config.experiment import BaseConfig, ClusterConfig, DataConfig, Experiment, SamplingConfig
from flowerti.data.dataset import Dataset
from flowerti.personalization.worker import InversionTask, failed_concept
from flowerti.study import Study

Answer = Callable[[list[InversionTask]], Sequence[Concept | Adapter]]


class _Ray:
    """Enough of Ray for the fan-out: a call is answered when it is made."""

    def __init__(self, answer: Answer) -> None:
        self.groups: list[list[str]] = []
        self.num_alive = self.most_alive = 0
        self._answer = answer
        self._answers: dict[ObjectRef, Sequence[Concept | Adapter] | Exception] = {}

    def remote(self, _kind: type) -> SimpleNamespace:
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._actor))

    def _actor(self, *_args: object) -> SimpleNamespace:
        self.num_alive += 1
        self.most_alive = max(self.most_alive, self.num_alive)
        return SimpleNamespace(learn_together=SimpleNamespace(remote=self._call))

    def _call(self, group: list[InversionTask]) -> ObjectRef:
        self.groups.append([task.class_name for task in group])
        reference = ObjectRef.from_random()
        try:
            self._answers[reference] = self._answer(group)
        except (RayTaskError, RayActorError) as error:
            self._answers[reference] = error
        return reference

    def wait(self, references: list, num_returns: int, timeout: float) -> tuple[list, list]:
        assert (num_returns, timeout > 0) == (1, True)
        return references[:1], references[1:]

    def get(self, reference: ObjectRef) -> Sequence[Concept | Adapter]:
        answer = self._answers[reference]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self, _actor: SimpleNamespace) -> None:
        self.num_alive -= 1


def _learnt(task: InversionTask) -> Concept:
    return Concept(class_name=task.class_name, token="<x>", num_steps=3)


def _study(run: RunDirectory, names: str, cluster: ClusterConfig, sampling: SamplingConfig | None = None) -> Study:
    experiment = Experiment(
        name="tiny",
        data=DataConfig(kind="herbarium"),
        base=BaseConfig(path="demo"),
        sampling=sampling or SamplingConfig(),
        cluster=cluster,
    )
    return Study(
        experiment=experiment,
        run=run,
        dataset=Dataset(class_names=tuple(names), records=()),
        census=Census(fingerprint="", counts=[], unreadable=[], duplicates=[]),
        base_sha256="b" * 64,
        alternative_names={},
        latin_names={},
    )


def _run(
    monkeypatch: pytest.MonkeyPatch, tmp_path, answer: Answer, names: str, **cluster: int
) -> tuple[_Ray, dict[str, Concept], RunDirectory]:
    study = _study(RunDirectory(str(tmp_path)), names, ClusterConfig(**cluster))
    fake = _Ray(answer)
    monkeypatch.setattr(fan_out, "ray", fake)
    tasks = [InversionTask(class_name=name, addresses=("a",), image_size_px=8, run_seed=0, key=name) for name in names]
    outcomes = fan_out.FanOut(study.experiment.cluster, invert.craft(study), lambda text: None).run(tasks)
    assert fake.num_alive == 0
    return fake, outcomes, study.run


@pytest.mark.parametrize(
    ("classes_per_actor", "groups"),
    [(1, ["a", "b", "c", "d", "e"]), (2, ["ab", "cd", "e"]), (3, ["abc", "de"]), (9, ["abcde"])],
)
def test_classes_are_packed_in_their_order(monkeypatch, tmp_path, classes_per_actor, groups):
    fake, outcomes, _ = _run(
        monkeypatch,
        tmp_path,
        lambda group: [_learnt(task) for task in group],
        "abcde",
        classes_per_actor=classes_per_actor,
        num_workers=2,
    )
    assert ["".join(group) for group in fake.groups] == groups
    assert fake.most_alive == min(2, len(groups))
    assert set(outcomes) == set("abcde")


def test_a_class_that_fails_is_recorded_and_the_others_of_its_group_stand(monkeypatch, tmp_path):
    def answer(group: list[InversionTask]) -> list[Concept]:
        return [failed_concept("b", "loss is nan") if t.class_name == "b" else _learnt(t) for t in group]

    fake, outcomes, run = _run(monkeypatch, tmp_path, answer, "abc", classes_per_actor=3)
    assert [outcomes[name].error for name in "abc"] == ["", "loss is nan", ""]
    assert run.load("concepts/b/concept.json", Concept, "b") == outcomes["b"]
    assert len(fake.groups) == 1


def test_a_batch_that_fails_as_a_whole_is_tried_class_by_class(monkeypatch, tmp_path):
    def answer(group: list[InversionTask]) -> list[Concept]:
        if any(task.class_name == "b" for task in group):
            raise RayTaskError("learn_together", "traceback", MemoryError("out of memory"))
        return [_learnt(task) for task in group]

    fake, outcomes, _ = _run(monkeypatch, tmp_path, answer, "abcd", classes_per_actor=2, num_workers=1)
    assert ["".join(group) for group in fake.groups] == ["ab", "cd", "a", "b"]
    assert [outcomes[name].error for name in "abcd"] == ["", "out of memory", "", ""]


def test_a_lost_worker_s_group_goes_on_together_until_it_was_lost_too_often(monkeypatch, tmp_path):
    lost = []

    def answer(group: list[InversionTask]) -> list[Concept]:
        names = "".join(task.class_name for task in group)
        if "a" in names and len(lost) < 2:
            lost.append(names)
            raise RayActorError
        return [_learnt(task) for task in group]

    fake, outcomes, _ = _run(
        monkeypatch, tmp_path, answer, "abc", classes_per_actor=2, num_workers=1, max_retries_per_class=2
    )
    assert ["".join(group) for group in fake.groups] == ["ab", "c", "ab", "ab"]
    assert not any(concept.error for concept in outcomes.values())
    lost.clear()
    _, outcomes, _ = _run(
        monkeypatch, tmp_path / "again", answer, "abc", classes_per_actor=2, num_workers=1, max_retries_per_class=1
    )
    assert outcomes["a"].error.startswith("its worker was lost 2 times")
    assert outcomes["c"].error == ""


def test_classes_that_ended_before_their_worker_was_lost_are_not_learnt_again(monkeypatch, tmp_path):
    finished = {"a": _learnt(InversionTask(class_name="a", addresses=(), image_size_px=8, run_seed=0, key="a"))}
    monkeypatch.setattr(invert, "load_concept", lambda run, name, key: finished.get(name) if lost else None)
    lost: list[int] = []

    def answer(group: list[InversionTask]) -> list[Concept]:
        if not lost:
            lost.append(1)
            raise RayActorError
        return [_learnt(task) for task in group]

    fake, outcomes, _ = _run(monkeypatch, tmp_path, answer, "abc", classes_per_actor=3)
    assert ["".join(group) for group in fake.groups] == ["abc", "bc"]
    assert set(outcomes) == set("abc")


def test_adapters_are_learnt_where_they_are_asked_for_and_a_class_that_fails_is_recorded_as_an_adapter(
    monkeypatch, tmp_path
):
    def answer(group: list[InversionTask]) -> list[Adapter]:
        return [Adapter(class_name=t.class_name, error="loss is nan" if t.class_name == "b" else "") for t in group]

    fake: _Ray = _Ray(answer)
    monkeypatch.setattr(fan_out, "ray", fake)
    monkeypatch.setattr(adapt, "connect", lambda config: None)
    concepts = [_learnt(InversionTask(class_name=n, addresses=(), image_size_px=8, run_seed=0, key="")) for n in "ab"]
    concepts.append(failed_concept("c", "no image"))
    run, cluster = RunDirectory(str(tmp_path)), ClusterConfig(classes_per_actor=3)
    assert adapt.adapt(_study(run, "abc", cluster), concepts, lambda text: None) == []
    assert fake.groups == []
    asked = _study(run, "abc", cluster, SamplingConfig(sources=("token", "lora")))
    adapters = adapt.adapt(asked, concepts, lambda text: None)
    assert fake.groups == [["a"], ["b"]], "one class an actor, and none without a token"
    assert [(a.class_name, a.error) for a in adapters] == [("a", ""), ("b", "loss is nan")]
    assert run.load("concepts/b/adapter.json", Adapter) == adapters[1]
