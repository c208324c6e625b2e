"""How far a run is, read from its run directory alone: also after the cluster, or the machine that ran it, is gone.

It tells what is there, not whether it still fits a config that was changed since: the next start of the run decides
that by its keys. It needs neither torch nor Ray and starts nothing.
"""

import time
from dataclasses import dataclass

from flowerti.artifacts import layout
from flowerti.artifacts.identity import label_of, subject_of
from flowerti.artifacts.records import Learned, Selection
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.run_lock import claims_in, is_dead
from flowerti.artifacts.saved_config import read_config
from flowerti.artifacts.tensor_files import metadata_in
from flowerti.config.experiment import Experiment
from flowerti.config.techniques import Technique, techniques_for, with_needs
from flowerti.tables.sources import SOURCES


@dataclass(frozen=True, kw_only=True, slots=True)
class StageState:
    """One line of the answer."""

    stage: str
    state: str
    """done, begun, waiting or failed; of the run as a whole running, done, failed or stopped."""
    detail: str = ""


def read_status(run: RunDirectory) -> list[StageState]:
    """The state of every stage, in order, and before them whether the run is at work, or how it ended last.

    Raises:
        ValueError: there is no run in this directory, or one of its files is damaged; names the file.
    """
    experiment = read_config(run)
    selection = run.load(layout.SELECTION, Selection)
    names = [selected.class_name for selected in selection.selected] if selection else []
    techniques = techniques_for(experiment.sampling.sources)
    subjects = [(t.name, *subject) for t in techniques for subject in _subjects(experiment, t, names)]
    return [
        *_of_run(run),
        _of_file(run, "classify", layout.CLASSIFIER_REPORT),
        StageState(stage="select", state="done" if selection else "waiting", detail=", ".join(names)),
        *([_of_file(run, "ceiling", layout.CEILING)] if experiment.has_rehearsal else []),
        *[_learned(run, experiment, *subject) for subject in subjects],
        _sample(run, experiment, names),
        _of_file(run, "score", layout.scores("validation")),
        _sweep(run),
        _of_file(run, "confirm", layout.scores("test")),
        _of_file(run, "report", layout.SUMMARY),
    ]


def _of_run(run: RunDirectory) -> list[StageState]:
    """How the run ended last, or who is at work on it; nothing where no run has said so."""
    if not run.exists(layout.RESULT):
        return []
    result = run.read_json(layout.RESULT)
    state, stage, reason = (str(result.get(name, "")) for name in ("state", "stage", "reason"))
    if state != "running":
        ended = f"in {stage}" if stage and state != "done" else stage
        return [StageState(stage="run", state=state, detail=f"{ended}: {reason}" if reason else ended)]
    who = f"process {result.get('pid')} on {result.get('host')}, since {result.get('started')}"
    if all(is_dead(claim) for claim in claims_in(run, time.time())):
        return [StageState(stage="run", state="stopped", detail=f"{who}: gone without a word")]
    return [StageState(stage="run", state=state, detail=who)]


def _of_file(run: RunDirectory, stage: str, file: str) -> StageState:
    return StageState(stage=stage, state="done" if run.exists(file) else "waiting")


def _subjects(experiment: Experiment, technique: Technique, names: list[str]) -> list[tuple[str, int]]:
    """Under which names a technique's results lie, and of which learnings."""
    # each once: of a joint technique all classes have the same
    distinct = dict.fromkeys(subject_of(name, is_joint=technique.is_joint) for name in names)
    return [(name, k) for name in distinct for k in range(experiment.replication.num_learnings_in_all)]


def _learned(run: RunDirectory, experiment: Experiment, technique: str, class_name: str, learning: int) -> StageState:
    stage = f"{technique} {label_of(class_name, learning)}"
    record = run.load(layout.learned_record(class_name, technique, learning), Learned)
    if record is not None and record.error:
        return StageState(stage=stage, state="failed", detail=record.error)
    if record is not None:
        return StageState(stage=stage, state="done", detail=f"best at step {record.best_step} of {record.num_steps}")
    checkpoint = layout.checkpoint(class_name, technique, learning)
    try:
        step = metadata_in(run, checkpoint)["step"]
    except FileNotFoundError:
        return StageState(stage=stage, state="waiting")
    except (ValueError, KeyError):
        return StageState(stage=stage, state="waiting", detail=f"{checkpoint} is damaged: the class starts anew")
    num_steps = experiment.techniques[technique].num_steps
    return StageState(stage=stage, state="begun", detail=f"step {step} of {num_steps}")


def _sample(run: RunDirectory, experiment: Experiment, names: list[str]) -> StageState:
    config = experiment.sampling
    num_shards = -(-config.num_per_class // config.batch_size)
    written = run.names(layout.SYNTHETIC)
    sets = {shard.rsplit(".", 2)[0] for shard in written}
    wanted = _num_sets(run, experiment, names, sets) * num_shards
    state = "done" if wanted and len(written) >= wanted else "begun" if written else "waiting"
    return StageState(stage="sample", state=state, detail=f"{len(written)} shards of {len(sets)} sets")


def _num_sets(run: RunDirectory, experiment: Experiment, names: list[str], begun: set[str]) -> int:
    """Sets of images that are known to be wanted; at least one of each class.

    Whether a class has images of a source is known from its first shard; it then has some of every learning.
    """
    wanted, num_classes_to_come = set(begun), 0
    for name in names:
        of_sources = [_sets_of(experiment, name, source) for source in experiment.sampling.sources]
        known = [of_source for of_source in of_sources if not begun.isdisjoint(of_source)]
        wanted |= {one for of_source in known for one, needed in of_source.items() if _have(run, needed)}
        num_classes_to_come += not known
    return len(wanted) + num_classes_to_come


def _sets_of(experiment: Experiment, class_name: str, source: str) -> dict[str, list[str]]:
    """What the shards of each learning's set are called, with the records of what must be learnt for it."""
    needed = {t.name: subject_of(class_name, is_joint=t.is_joint) for t in with_needs(SOURCES[source].technique)}
    return {
        layout.shards(class_name, source, learning): [
            layout.learned_record(subject, technique, learning) for technique, subject in needed.items()
        ]
        for learning in experiment.learnings_of(source)
    }


def _have(run: RunDirectory, records: list[str]) -> bool:
    found = [run.load(record, Learned) for record in records]
    return all(learned is not None and not learned.error for learned in found)


def _sweep(run: RunDirectory) -> StageState:
    num_trials = len([name for name in run.names(layout.TRIALS) if name.endswith(".json")])
    state = "done" if run.exists(layout.SWEEP_TABLE) else "begun" if num_trials else "waiting"
    return StageState(stage="sweep", state=state, detail=f"{num_trials} trials")
