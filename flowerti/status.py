"""How far a run is, read from its run directory alone: also after the cluster, or the machine that ran it, is gone.

It tells what is there, not whether it still fits a config that was changed since: the next start of the run decides
that by its keys. It needs neither torch nor Ray and starts nothing.
"""

from dataclasses import dataclass

from flowerti.artifacts.identity import slug
from flowerti.artifacts.records import Adapter, Concept, Selection
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.tensor_files import metadata_in
from flowerti.config.experiment import Experiment, from_json


@dataclass(frozen=True, kw_only=True, slots=True)
class StageState:
    """One line of the answer."""

    stage: str
    state: str
    """done, begun, waiting or failed."""
    detail: str = ""


def read_status(run: RunDirectory) -> list[StageState]:
    """The state of every stage, in order.

    Raises:
        ValueError: there is no run in this directory, or one of its files is damaged; names the file.
    """
    if not run.exists("config.json"):
        raise ValueError(f"{run.uri}/config.json is missing: no run was started in this directory")
    experiment = from_json(run.read_bytes("config.json").decode(errors="replace"), file_name=f"{run.uri}/config.json")
    selection = run.load("selection.json", Selection)
    names = [selected.class_name for selected in selection.selected] if selection else []
    return [
        _of_file(run, "classify", "classifier/report.json"),
        StageState(stage="select", state="done" if selection else "waiting", detail=", ".join(names)),
        *[_invert(run, experiment, name) for name in names],
        *[_adapt(run, experiment, name) for name in names if "lora" in experiment.sampling.sources],
        _sample(run, experiment, names),
        _of_file(run, "score", "scores/validation.json"),
        _sweep(run),
        _of_file(run, "confirm", "scores/test.json"),
        _of_file(run, "report", "summary.json"),
    ]


def _of_file(run: RunDirectory, stage: str, file: str) -> StageState:
    return StageState(stage=stage, state="done" if run.exists(file) else "waiting")


def _learnt(
    run: RunDirectory, stage: str, class_name: str, record: Concept | Adapter | None, checkpoint: str, num_steps: int
) -> StageState:
    stage = f"{stage} {class_name}"
    if record is not None and record.error:
        return StageState(stage=stage, state="failed", detail=record.error)
    if record is not None:
        return StageState(stage=stage, state="done", detail=f"best at step {record.best_step} of {record.num_steps}")
    return _begun(run, stage, f"concepts/{slug(class_name)}/checkpoints/{checkpoint}", num_steps)


def _invert(run: RunDirectory, experiment: Experiment, class_name: str) -> StageState:
    concept = run.load(f"concepts/{slug(class_name)}/concept.json", Concept)
    return _learnt(
        run, "invert", class_name, concept, "last.safetensors", experiment.techniques["textual_inversion"].num_steps
    )


def _adapt(run: RunDirectory, experiment: Experiment, class_name: str) -> StageState:
    adapter = run.load(f"concepts/{slug(class_name)}/adapter.json", Adapter)
    return _learnt(run, "adapt", class_name, adapter, "adapter.safetensors", experiment.techniques["lora"].num_steps)


def _begun(run: RunDirectory, stage: str, checkpoint: str, num_steps: int) -> StageState:
    try:
        step = metadata_in(run, checkpoint)["step"]
    except FileNotFoundError:
        return StageState(stage=stage, state="waiting")
    except (ValueError, KeyError) as error:
        raise ValueError(f"{run.uri}/{checkpoint} is damaged ({error}): delete it to start the class anew") from error
    return StageState(stage=stage, state="begun", detail=f"step {step} of {num_steps}")


def _sample(run: RunDirectory, experiment: Experiment, names: list[str]) -> StageState:
    config = experiment.sampling
    num_shards = -(-config.num_per_class // config.batch_size)
    written = [name.removeprefix("synthetic/") for name in run.names("synthetic")]
    # the sources that a class has are known from its first shard; a set without one has not begun
    sets = {shard.rsplit(".", 2)[0] for shard in written}
    wanted = max(len(sets), len(names)) * num_shards
    state = "done" if wanted and len(written) >= wanted else "begun" if written else "waiting"
    return StageState(stage="sample", state=state, detail=f"{len(written)} shards of {len(sets)} sets")


def _sweep(run: RunDirectory) -> StageState:
    num_trials = len([name for name in run.names("sweep/trials") if name.endswith(".json")])
    state = "done" if run.exists("sweep/table.json") else "begun" if num_trials else "waiting"
    return StageState(stage="sweep", state=state, detail=f"{num_trials} trials")
