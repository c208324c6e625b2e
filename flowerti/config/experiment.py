"""Settings of a run: one frozen dataclass a stage, gathered in `Experiment`, checked when built.

Every figure that steers a stage stands here, or in `config.adapter` and `config.data`, with its unit. A stage receives
its own config and nothing else. Reading and writing configs as JSON is here too, so that a run can be started again
from the file beside its results. This module knows nothing about torch, Ray, files of pictures or how a stage works;
ready-made experiments are in `presets`.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from flowerti.config.adapter import AdapterConfig as AdapterConfig
from flowerti.config.checks import check_kinds, require
from flowerti.config.data import DataConfig as DataConfig
from flowerti.config.data import ImbalanceConfig as ImbalanceConfig

Source = Literal["raw", "alternative_name", "latin_name", "token", "lora"]
"""Where a synthetic picture's prompt takes its name from: the class name, another name, or the learnt token; lora: the
token on a U-Net with the class's adapter."""

SelectionRule = Literal["lowest_f1", "fewest_pictures", "blend", "fixed"]

Start = Literal["initializer_token", "class_name", "class_name_mean", "nearest", "random", "zero", "mean"]
"""Where learnt rows start: a word; the class name's own tokens, spread over the vectors or their mean; the vocabulary's
word with the lowest evaluation loss on the pictures; random; zeros; the mean of the whole vocabulary."""

FreeArm = Literal["real", "balanced", "balanced_softmax", "augmented"]
"""Arms of the sweep that cost no synthetic picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseConfig:
    """The frozen text-to-image model."""

    path: str
    """Folder in Stable Diffusion's layout, a Hugging Face name, or "demo" for the embedded one."""
    revision: str = ""
    """Revision of a Hugging Face name; empty for the default one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the frozen networks; learnt rows and losses stay float32. auto: bfloat16 on a GPU, else float32."""
    channels_last: bool = False
    """Lay the U-Net out with channels last while a token is learnt: for GPUs, slower on CPUs."""
    compile: bool = False
    """Compile the U-Net's repeated blocks while a token is learnt: costs a minute, pays on GPUs."""

    def __post_init__(self) -> None:
        """Check that a model is named."""
        check_kinds(self, "base.")
        require(bool(self.path), "base.path", "is empty: name a folder or a Hugging Face model")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierConfig:
    """The image classifier and how it is trained."""

    backbone: str = "efficientnet_lite0"
    """efficientnet_lite0 (weights from a package) or the name of a torchvision classification model."""
    weights: str = ""
    """Local weights file of the backbone; empty for the package's or torchvision's own ImageNet weights."""
    input_size_px: int = 128
    """Side of the square that the backbone sees, in pixels."""
    mode: Literal["head", "full"] = "head"
    """Train a linear head on the frozen backbone, or fine-tune everything."""
    num_epochs: int = 5
    """Passes over the real training pictures; fixes the number of optimiser steps for every arm of the sweep."""
    batch_size: int = 32
    """Pictures in an optimiser step."""
    learning_rate: float = 1e-3
    """Peak rate of AdamW; follows a cosine to zero."""
    weight_decay: float = 1e-4
    """Decay of AdamW."""
    label_smoothing: float = 0.0
    """Share of the target mass spread over all classes, in [0, 1)."""
    num_views: int = 4
    """Random views of each training picture for the augmented arm of the sweep."""
    rand_augment: bool = False
    """Full fine-tuning only: random crops and RandAugment on every picture."""
    batch_mixing: Literal["none", "mixup", "cutmix"] = "none"
    """Full fine-tuning only: mix each picture and its target with another one of the batch."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_kinds(self, "classifier.")
        for name, is_off in (("rand_augment", not self.rand_augment), ("batch_mixing", self.batch_mixing == "none")):
            require(self.mode == "full" or is_off, f"classifier.{name}", "needs classifier.mode 'full'")
        for name in ("input_size_px", "num_epochs", "batch_size", "num_views"):
            require(getattr(self, name) >= 1, f"classifier.{name}", "must be at least 1")
        require(self.learning_rate > 0, "classifier.learning_rate", "must be positive")
        require(self.weight_decay >= 0, "classifier.weight_decay", "must not be negative")
        require(0 <= self.label_smoothing < 1, "classifier.label_smoothing", "must lie in [0, 1)")


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionConfig:
    """Which classes count as weak."""

    rule: SelectionRule = "blend"
    """Lowest validation F1, fewest training pictures, the mean of both ranks, or the classes named below."""
    num_classes: int = 3
    """How many classes to select (ignored by the fixed rule)."""
    class_names: tuple[str, ...] = ()
    """The classes of the fixed rule."""

    def __post_init__(self) -> None:
        """Check that rule and names fit together."""
        check_kinds(self, "selection.")
        require(self.num_classes >= 1, "selection.num_classes", "must be at least 1")
        require(
            (self.rule == "fixed") == bool(self.class_names),
            "selection.class_names",
            "must be given with rule 'fixed', and only then",
        )
        require(
            len(set(self.class_names)) == len(self.class_names),
            "selection.class_names",
            "names a class twice",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class InversionConfig:
    """Textual Inversion (Gal et al. 2022) of one class."""

    num_vectors: int = 1
    """Embedding rows of a token."""
    initializer_token: str = "flower"
    """Word whose embedding every row starts from; one token of the base's vocabulary."""
    start: Start = "initializer_token"
    """Where the rows start."""
    num_steps: int = 400
    """Optimiser steps."""
    batch_size: int = 16
    """Latents in a step."""
    learning_rate: float = 5e-3
    """Peak rate of AdamW on the rows; the first tenth warms up, then a cosine falls to a tenth of it."""
    weight_decay: float = 0.0
    """Decay of AdamW on the rows."""
    keep_norm: bool = False
    """Scale each row back to the length that it started with, after every step."""
    eval_every_steps: int = 25
    """Steps between two deterministic evaluations; the rows of the best one are kept."""
    num_eval_latents: int = 64
    """Fixed (picture, flip, timestep, noise, caption) combinations in an evaluation."""
    patience_evals: int = 0
    """Stop once the loss no longer moves over so many evaluations, or none was better; 0 trains all steps."""
    checkpoint_every_steps: int = 50
    """Steps between two checkpoints; does not change any number."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_kinds(self, "inversion.")
        for name in ("num_vectors", "num_steps", "batch_size", "eval_every_steps", "num_eval_latents"):
            require(getattr(self, name) >= 1, f"inversion.{name}", "must be at least 1")
        require(self.checkpoint_every_steps >= 1, "inversion.checkpoint_every_steps", "must be at least 1")
        require(self.patience_evals >= 0, "inversion.patience_evals", "must not be negative")
        require(self.learning_rate > 0, "inversion.learning_rate", "must be positive")
        require(self.weight_decay >= 0, "inversion.weight_decay", "must not be negative")
        require(bool(self.initializer_token.strip()), "inversion.initializer_token", "is empty")
        has_norm = not (self.keep_norm and self.start == "zero")
        require(has_norm, "inversion.keep_norm", "must be off with start 'zero', which has no length to keep")


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How synthetic pictures are drawn."""

    num_per_class: int = 64
    """Pictures of each source for each selected class."""
    sources: tuple[Source, ...] = ("raw", "alternative_name", "latin_name", "token")
    """Which names to draw from; another or a Latin name is left out for a class that has none."""
    prompt: str = 'Photo of a "{}"'
    """Prompt; {} takes the name or the token."""
    num_inference_steps: int = 20
    """Steps of the noise scheduler."""
    guidance_scale: float = 3.0
    """Weight of classifier-free guidance; 1 turns it off."""
    batch_size: int = 16
    """Pictures drawn at once; cut by picture index."""
    alternative_names_file: str = ""
    """JSON file {class name: another name}; comes before the names that the project knows."""
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    """How the adapters of source 'lora' are learnt."""

    def __post_init__(self) -> None:
        """Check ranges and the prompt's placeholder."""
        check_kinds(self, "sampling.")
        for name in ("num_per_class", "num_inference_steps", "batch_size"):
            require(getattr(self, name) >= 1, f"sampling.{name}", "must be at least 1")
        require(self.num_per_class >= 2, "sampling.num_per_class", "must be at least 2 to be scored")
        require(self.guidance_scale >= 1, "sampling.guidance_scale", "must be at least 1")
        around = self.prompt.partition("{}")
        braces = not around[1] or any(brace in around[0] + around[2] for brace in "{}")
        require(not braces, "sampling.prompt", "must contain {} once, and no other brace")
        require("token" in self.sources, "sampling.sources", "must contain 'token'")
        require(len(set(self.sources)) == len(self.sources), "sampling.sources", "names one twice")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringConfig:
    """How sets of pictures are compared."""

    extractors: tuple[str, ...] = ("efficientnet_lite0",)
    """Feature extractors: efficientnet_lite0, inception (FID weights), clip, dinov2 or a torchvision model's name.

    Verdicts, recognition and the check for copies go by the first one.
    """
    weights: tuple[str, ...] = ()
    """Local weights of each extractor, in their order: a file, for clip and dinov2 a folder; empty for their own."""
    input_sizes_px: tuple[int, ...] = (128,)
    """Side of the square that each extractor sees, in pixels."""
    num_permutations: int = 2000
    """Random relabellings behind a permutation p-value."""
    num_floor_splits: int = 20
    """Random disjoint halves behind a real-against-real floor."""
    num_neighbours: int = 5
    """Neighbours that span the manifold of precision, recall, density and coverage."""
    num_closest_pairs: int = 20
    """Pairs of synthetic and nearest training pictures that are listed for each set."""

    def __post_init__(self) -> None:
        """Check ranges, and that the lists fit together."""
        check_kinds(self, "scoring.")
        require(len(self.extractors) > 0, "scoring.extractors", "is empty: name at least one")
        require(len(set(self.extractors)) == len(self.extractors), "scoring.extractors", "names one twice")
        num = len(self.extractors)
        require(len(self.weights) in (0, num), "scoring.weights", f"must name none or {num} files, one an extractor")
        require(len(self.input_sizes_px) == num, "scoring.input_sizes_px", f"must hold {num} sizes, one an extractor")
        require(min(self.input_sizes_px) >= 1, "scoring.input_sizes_px", "must be at least 1")
        for name in ("num_floor_splits", "num_neighbours", "num_closest_pairs"):
            require(getattr(self, name) >= 1, f"scoring.{name}", "must be at least 1")
        require(self.num_permutations >= 99, "scoring.num_permutations", "must be at least 99")


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepConfig:
    """The experiment that decides how many synthetic pictures to use."""

    ratios: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    """Synthetic pictures of a weak class as multiples of its real count; ratio 0 is always run."""
    free_arms: tuple[FreeArm, ...] = ("real", "balanced", "balanced_softmax", "augmented")
    """Controls without synthetic pictures; real is the baseline."""
    num_seeds: int = 5
    """Paired repetitions of every arm."""
    num_bootstrap: int = 2000
    """Resamples of seeds and pictures behind an interval."""
    max_rest_drop: float = 0.01
    """Mean F1 that the other classes may lose before a ratio is refused, in [0, 1]."""
    max_concurrent_trials: int = 0
    """Trials at once; 0 lets the cluster's resources decide."""
    negative_control: bool = True
    """Also give every weak class the pictures of another weak class's token; needs two weak classes."""
    on_best_control: bool = True
    """Also add token pictures on top of the control without pictures that does best on validation."""
    replace_probabilities: tuple[float, ...] = ()
    """Probabilities, in (0, 1], with which a weak class's real pictures give way to token pictures; may be empty."""
    synthetic_weight: float = 1.0
    """Loss weight of a synthetic picture; a real one has 1."""
    synthetic_smoothing: float = 0.0
    """Soft labels: share of a synthetic picture's target mass spread evenly over all classes, in [0, 1)."""
    refit_epochs: int = 0
    """Second stage of every arm: passes over real pictures, classes equally often, in which the head alone learns."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_kinds(self, "sweep.")
        require(len(self.ratios) > 0 and min(self.ratios) > 0, "sweep.ratios", "must be positive numbers")
        require(len(set(self.ratios)) == len(self.ratios), "sweep.ratios", "names a ratio twice")
        require("real" in self.free_arms, "sweep.free_arms", "must contain 'real', the baseline")
        require(self.num_seeds >= 1, "sweep.num_seeds", "must be at least 1")
        require(self.num_bootstrap >= 100, "sweep.num_bootstrap", "must be at least 100")
        require(0 <= self.max_rest_drop <= 1, "sweep.max_rest_drop", "must lie in [0, 1]")
        shares = self.replace_probabilities
        require(all(0 < p <= 1 for p in shares), "sweep.replace_probabilities", "must lie in (0, 1]")
        require(len(set(shares)) == len(shares), "sweep.replace_probabilities", "names a probability twice")
        require(self.refit_epochs >= 0, "sweep.refit_epochs", "must not be negative")
        require(self.synthetic_weight > 0, "sweep.synthetic_weight", "must be positive")
        require(0 <= self.synthetic_smoothing < 1, "sweep.synthetic_smoothing", "must lie in [0, 1)")
        require(self.max_concurrent_trials >= 0, "sweep.max_concurrent_trials", "must not be negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterConfig:
    """Where the work runs; none changes a number, except threads and processes of a classifier in the last digits."""

    address: str = "local"
    """"local" starts Ray on this machine; "auto" joins the cluster that this job was submitted to."""
    num_workers: int = 2
    """Actors of a stage at once."""
    num_cpus_per_worker: float = 1.0
    """CPUs that an actor asks Ray for."""
    num_gpus_per_worker: float = 0.0
    """GPUs that an actor asks Ray for; fractions share a GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where an actor's networks lie; auto: on a GPU where actors ask for one."""
    num_threads_per_worker: int = 1
    """Threads of an actor; fixed, because kernels round differently at another count."""
    classes_per_actor: int = 1
    """Classes that one inversion actor learns in one batch; more fill a GPU, fewer lose less when an actor dies."""
    num_workers_per_classifier: int = 1
    """Workers that fine-tune the first classifier together, each on its share of every batch."""
    max_retries_per_class: int = 3
    """New attempts at a class whose actor or node was lost."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_kinds(self, "cluster.")
        for name in ("num_workers", "num_threads_per_worker", "classes_per_actor", "num_workers_per_classifier"):
            require(getattr(self, name) >= 1, f"cluster.{name}", "must be at least 1")
        require(self.num_cpus_per_worker > 0, "cluster.num_cpus_per_worker", "must be positive")
        require(self.num_gpus_per_worker >= 0, "cluster.num_gpus_per_worker", "must not be negative")
        require(
            self.num_gpus_per_worker <= 1 or float(self.num_gpus_per_worker).is_integer(),
            "cluster.num_gpus_per_worker",
            "must be a fraction of one GPU or a whole number",
        )
        require(self.max_retries_per_class >= 0, "cluster.max_retries_per_class", "must not be negative")
        shared = self.num_workers_per_classifier
        name = "cluster.num_workers_per_classifier"
        require(shared <= self.num_workers, name, f"must be at most cluster.num_workers, which is {self.num_workers}")
        has_own = shared == 1 or self.num_gpus_per_worker == 0 or self.num_gpus_per_worker >= 1
        require(has_own, name, "needs a whole GPU for each worker, or none: set cluster.num_gpus_per_worker to 1 or 0")


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
    inversion: InversionConfig = field(default_factory=InversionConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    def __post_init__(self) -> None:
        """Check the name, which becomes the default run directory, and the seed's range."""
        check_kinds(self, "")
        good = bool(self.name.strip()) and "/" not in self.name and not self.name.startswith(".")
        require(good, "name", f"must be a plain name without slashes, not {self.name!r}")
        require(0 <= self.seed < 2**31, "seed", "must lie in [0, 2**31)")
        shared, classifier = self.cluster.num_workers_per_classifier, self.classifier
        name = "cluster.num_workers_per_classifier"
        require(shared == 1 or classifier.mode == "full", name, "needs classifier.mode 'full'")
        fits = classifier.batch_size % shared == 0
        require(fits, name, f"must divide classifier.batch_size, which is {classifier.batch_size}")


def to_json(experiment: Experiment) -> str:
    """Write every setting, defaults included, as indented JSON with one trailing newline."""
    return json.dumps(dataclasses.asdict(experiment), indent=2) + "\n"


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def from_json(text: str, *, file_name: str = "config.json") -> Experiment:
    """Read what `to_json` wrote.

    Raises:
        ValueError: the text is not JSON, a field is unknown or missing, or a value is out of range; names the file.
    """
    import dacite

    try:
        values: Any = json.loads(text, object_hook=_with_tuples)
        if not isinstance(values, dict):
            raise ValueError("it holds no JSON object")
        return dacite.from_dict(Experiment, values, dacite.Config(strict=True, check_types=False))
    except (json.JSONDecodeError, dacite.DaciteError, TypeError, ValueError) as error:
        raise ValueError(f"{file_name}: not a config of this version: {error}") from error
