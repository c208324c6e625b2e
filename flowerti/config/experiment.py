"""A complete run: the settings of all stages together, and how they are read and written as JSON.

Each stage's settings are a frozen dataclass of their own, checked when built, in a module beside this one; a stage
receives its own and nothing else. A run can be started again from the file beside its results. This module knows
nothing about torch, Ray, files of images or how a stage works; ready-made experiments are in `presets`.
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from flowerti.config.base import BaseConfig as BaseConfig
from flowerti.config.ceiling import CeilingConfig as CeilingConfig
from flowerti.config.checks import check_kinds, require
from flowerti.config.classifier import ClassifierConfig as ClassifierConfig
from flowerti.config.classifier import SelectionConfig as SelectionConfig
from flowerti.config.cluster import ClusterConfig as ClusterConfig
from flowerti.config.cross_attention import CrossAttentionConfig as CrossAttentionConfig
from flowerti.config.data import DataConfig as DataConfig
from flowerti.config.data import ImbalanceConfig as ImbalanceConfig
from flowerti.config.dreambooth import DreamboothConfig as DreamboothConfig
from flowerti.config.filters import FiltersConfig as FiltersConfig
from flowerti.config.lora import LoraConfig as LoraConfig
from flowerti.config.prior import PriorConfig as PriorConfig
from flowerti.config.replication import ReplicationConfig as ReplicationConfig
from flowerti.config.sampling import SamplingConfig as SamplingConfig
from flowerti.config.schedule import ScheduleConfig as ScheduleConfig
from flowerti.config.scoring import ScoringConfig as ScoringConfig
from flowerti.config.shared_lora import SharedLoraConfig as SharedLoraConfig
from flowerti.config.sweep import SweepConfig as SweepConfig
from flowerti.config.techniques import TECHNIQUES
from flowerti.config.text_lora import TextLoraConfig as TextLoraConfig
from flowerti.config.textual_inversion import TextualInversionConfig as TextualInversionConfig
from flowerti.tables import load_plugins
from flowerti.tables.sources import SOURCES


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """A complete run."""

    name: str
    """Name of the run, shown in the report."""
    seed: int = 0
    """Run seed; every other seed is a hash of it."""
    data: DataConfig
    base: BaseConfig
    imbalance: ImbalanceConfig = field(default_factory=ImbalanceConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    techniques: Annotated[dict[str, ScheduleConfig], tyro.conf.arg(name="")] = field(default_factory=dict)
    """Settings of each technique by its name; those that are not given have the defaults of `config.techniques`. On the
    command line they stand without this prefix, as in --lora.rank."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    filters: FiltersConfig = field(default_factory=FiltersConfig)
    replication: ReplicationConfig = field(default_factory=ReplicationConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    ceiling: CeilingConfig = field(default_factory=CeilingConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    plugins: tuple[str, ...] = ()
    """Functions that add rows to the tables, as module:register; see `tables.plugins`."""

    def __post_init__(self) -> None:
        """Check the name, which becomes the default run directory, and the seed's range."""
        check_kinds(self, "")
        load_plugins(self.plugins)
        object.__setattr__(self, "techniques", _completed(self.techniques))
        good = bool(self.name.strip()) and "/" not in self.name and not self.name.startswith(".")
        require(good, "name", f"must be a plain name without slashes, not {self.name!r}")
        require(0 <= self.seed < 2**31, "seed", "must lie in [0, 2**31)")
        shared, classifier = self.cluster.num_workers_per_classifier, self.classifier
        name = "cluster.num_workers_per_classifier"
        require(shared == 1 or classifier.mode != "head", name, "needs classifier.mode 'full' or 'scratch'")
        fits = classifier.batch_size % shared == 0
        require(fits, name, f"must divide classifier.batch_size, which is {classifier.batch_size}")
        self.sweep.check_sources(self.sampling.sources)
        self.sweep.check_mode(classifier.mode)

    def learnings_of(self, source: str) -> range:
        """The learnings that images of a source are drawn from: all of them where the sweep trains with the images.

        The first one stands also for a source that has the same images for every learning.
        """
        row = SOURCES[source]
        is_trained = row.is_arm or self.sweep.trains_with(source)
        return range(self.replication.num_learnings_in_all if row.is_per_learning and is_trained else 1)

    @property
    def has_rehearsal(self) -> bool:
        """Whether the ceiling is asked for, and the classifier one that the rehearsal can train."""
        return self.ceiling.num_classes > 0 and self.classifier.mode == "head"

    @property
    def num_sets_per_class(self) -> int:
        """Sets of images of a class that has words for every source, over all learnings."""
        return sum(len(self.learnings_of(source)) for source in self.sampling.sources)


def _completed(given: dict[str, ScheduleConfig]) -> dict[str, ScheduleConfig]:
    """The settings of all techniques, in the order of the table."""
    unknown = [name for name in given if name not in TECHNIQUES]
    require(
        not unknown, "techniques", f"names unknown {', '.join(unknown)}: choose among {', '.join(TECHNIQUES.names)}"
    )
    for name, config in given.items():
        kind = type(TECHNIQUES[name].config)
        require(type(config) is kind, f"techniques.{name}", f"must be a {kind.__name__}, not {type(config).__name__}")
    return {technique.name: given.get(technique.name, technique.config) for technique in TECHNIQUES}


def to_json(experiment: Experiment) -> str:
    """Write every setting, defaults included, as indented JSON with one trailing newline."""
    return json.dumps(dataclasses.asdict(experiment), indent=2) + "\n"


def _with_tuples(value: Any) -> Any:
    """Lists as tuples, at any depth."""
    if isinstance(value, dict):
        return {name: _with_tuples(inner) for name, inner in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list | tuple) else value


def from_json(text: str, *, file_name: str = "config.json") -> Experiment:
    """Read what `to_json` wrote.

    Raises:
        ValueError: the text is not JSON, a field is unknown or missing, or a value is out of range; names the file.
    """
    return _parsed(json.loads, text, file_name)


def from_toml(text: str, *, file_name: str) -> Experiment:
    """Read settings as TOML, with a table for each stage; those that it does not name have their defaults.

    Raises:
        ValueError: the text is not TOML, or as `from_json`; names the file.
    """
    import tomllib

    return _parsed(tomllib.loads, text, file_name)


def from_values(values: dict[str, Any]) -> Experiment:
    """An experiment from nested tables of settings; those that they do not name have their defaults.

    Raises:
        ValueError: a value is out of range.
        TypeError, AttributeError, KeyError, dacite.DaciteError: a field is unknown or missing, or of another kind.
    """
    import dacite

    load_plugins(values.get("plugins", ()))
    options = dacite.Config(strict=True, check_types=False)
    learnt = values.get("techniques", {})
    techniques = {name: dacite.from_dict(type(TECHNIQUES[name].config), learnt[name], options) for name in learnt}
    return dacite.from_dict(Experiment, values | {"techniques": techniques}, options)


def _parsed(parse: Callable[[str], Any], text: str, file_name: str) -> Experiment:
    import dacite

    try:
        values = _with_tuples(parse(text))
        json.dumps(values, ensure_ascii=False).encode()  # half a sign, which no file and no page can hold
        if not isinstance(values, dict):
            raise ValueError("it holds no object or table of settings")
        values.pop("checksum", None)  # the copy in a run directory has one
        return from_values(values)
    except RecursionError as error:
        raise ValueError(f"{file_name}: not a config of this version: it is nested too deeply") from error
    except (dacite.DaciteError, TypeError, AttributeError, KeyError, ValueError) as error:
        raise ValueError(f"{file_name}: not a config of this version: {error}") from error
