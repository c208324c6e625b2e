"""Which shards the images of a class, source and learning are cut into, and the key of each.

This module opens no file and does not know how an image is drawn.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flowerti.artifacts import layout
from flowerti.artifacts.identity import key_fields, key_of, of_learning, seed_for
from flowerti.config.experiment import SamplingConfig
from flowerti.config.sampling import WHOLE_LADDER
from flowerti.generation.starts import Start, StartImage, starts_of
from flowerti.tables.sources import SOURCES, Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The images of one class, source and learning."""

    class_name: str
    source: str
    words: str
    """What fills the prompt: the class name, another name, or a token."""
    run_seed: int
    inputs: str
    """Key of the base and of the learnt parameters."""
    learning: int = 0
    """Which of the class's learnings they are drawn with."""
    negative: str = ""
    """What fills the negative prompt: the name of another class; empty for none."""
    starts_sha256: str = ""
    """Identity of the images of the data set that they start from; empty for none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardTask:
    """One batch of images of a class, source and learning."""

    class_name: str
    source: str
    words: str
    """What fills the prompt."""
    begin: int
    end: int
    run_seed: int
    key: str
    learning: int = 0
    negative: str = ""
    """What fills the negative prompt."""
    starts: tuple[Start, ...] = ()
    """What each image starts from; none where they are drawn from noise."""

    @property
    def file(self) -> str:
        """The shard's name in the run directory."""
        return layout.shard(self.class_name, self.source, self.begin, self.learning)

    @property
    def num_images(self) -> int:
        """Images in the shard."""
        return self.end - self.begin

    @property
    def indices(self) -> range:
        """Of its images in their set."""
        return range(self.begin, self.end)

    def seeds(self, purpose: str = "") -> list[int]:
        """A seed for each image: of its noise, or of another purpose."""
        name = of_learning(f"sample/{self.source}{purpose and f'/{purpose}'}", self.learning)
        return [seed_for(self.run_seed, self.class_name, name, index) for index in self.indices]

    def to_json(self) -> str:
        """As Ray Data's rows have it."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> "ShardTask":
        """Read what `to_json` wrote."""
        import dacite

        return dacite.from_dict(ShardTask, json.loads(text), dacite.Config(cast=[tuple]))


def plan_shards(wanted: Wanted, config: SamplingConfig, images: Sequence[StartImage] = ()) -> list[ShardTask]:
    """Split the images of one class, source and learning into batches.

    The number of images is not part of a shard's key: a larger number adds shards and keeps the existing ones.

    Args:
        wanted: what is to be drawn.
        config: how.
        images: the data set's images that the source starts from; none for a source that draws from noise.

    Raises:
        ValueError: the source starts from images, and there are none.
    """
    source = SOURCES[wanted.source]
    if source.starts_from_images and not images:
        raise ValueError(f"class {wanted.class_name!r}: source {source.name} starts from images, and there are none")
    settings, more = _settings(source, config)
    tasks = []
    for begin in range(0, config.num_per_class, config.batch_size):
        end = min(begin + config.batch_size, config.num_per_class)
        tasks.append(
            ShardTask(
                class_name=wanted.class_name,
                source=wanted.source,
                words=wanted.words,
                begin=begin,
                end=end,
                run_seed=wanted.run_seed,
                key=key_of(settings, key_fields(wanted), begin, end, *more),
                learning=wanted.learning,
                negative=wanted.negative,
                starts=_starts(wanted, source, config, images, range(begin, end)),
            )
        )
    return tasks


def _settings(source: Source, config: SamplingConfig) -> tuple[list[Any], list[dict[str, Any]]]:
    """The settings that a source's images depend on: those of any source, and what only some sources ask for.

    The second part is empty where nothing of it is used, so that keys from before it existed stay.
    """
    if not source.has_steps:
        return [config.batch_size], [{"mode": source.mode}]
    steps = [config.num_inference_steps, config.guidance_scale, config.batch_size]
    more: dict[str, Any] = {}
    if config.guidance_interval != WHOLE_LADDER:
        more["guidance_interval"] = config.guidance_interval
    if source.has_strength:
        more |= {"mode": source.mode, "strengths": config.strengths}
    if source.mode == "inter_class":
        more["label_exponent"] = config.label_exponent
    if source.has_noisy_token:
        more["token_noise"] = config.token_noise
    if source.has_contexts:
        more["contexts"] = config.contexts
    return [config.prompt, *steps], [more] if more else []


def _starts(
    wanted: Wanted, source: Source, config: SamplingConfig, images: Sequence[StartImage], indices: range
) -> tuple[Start, ...]:
    if not source.starts_from_images:
        return ()
    name = of_learning(f"sample/{source.name}/starts", wanted.learning)
    seed = seed_for(wanted.run_seed, wanted.class_name, name, 0)
    return starts_of(images, config.strengths if source.has_strength else (0.0,), seed, indices)
