"""The table of personalisation techniques, each with its settings and the location of its code.

A technique is a folder under `flowerti.personalization`, a config class and a row here. This module imports none of
their code.
"""

from dataclasses import dataclass

from flowerti.config.checks import require
from flowerti.config.cross_attention import CrossAttentionConfig
from flowerti.config.dreambooth import DreamboothConfig
from flowerti.config.lora import LoraConfig
from flowerti.config.schedule import ScheduleConfig
from flowerti.config.shared_lora import SharedLoraConfig
from flowerti.config.text_lora import TextLoraConfig
from flowerti.config.textual_inversion import TextualInversionConfig
from flowerti.tables import Table
from flowerti.tables.sources import SOURCES


@dataclass(frozen=True, kw_only=True, slots=True)
class Technique:
    """One way to personalise the base for a class."""

    name: str
    """Also the section of its settings: its config's `section`."""
    label: str
    """What is learnt, in plain words and in the plural, as in "tokens"."""
    config: ScheduleConfig
    """Its settings with their defaults; their class is the technique's own."""
    implementation: str
    """Where its code is, as module:object; the object is a `flowerti.personalization.technique.Implementation`."""
    needs: str = ""
    """The technique that must have been learnt for the class before; empty for none."""
    shares_batches: bool = False
    """Whether several classes can be learnt in one batch; not where it needs another, which changes the base for a
    class alone."""
    is_joint: bool = False
    """Whether all weak classes are learnt together, in one result; it then stands on a token of each class."""
    seed_name: str = ""
    """Seed name of its start and its steps, by default its name."""

    def __post_init__(self) -> None:
        """Check what belongs together."""
        problem = f"must be {self.name!r}, the technique's name, not {self.config.section!r}"
        require(self.config.section == self.name, f"technique {self.name!r}: section of its config", problem)
        is_alone = not (self.shares_batches and self.needs)
        require(is_alone, f"technique {self.name!r}: shares_batches", f"must be off, because it needs {self.needs!r}")
        has_needs = bool(self.needs) or not self.is_joint
        require(has_needs, f"technique {self.name!r}: needs", "must name what tells the classes apart: it is_joint")

    @property
    def seeds(self) -> str:
        """What its seeds are named after."""
        return self.seed_name or self.name


TECHNIQUES: Table[Technique] = Table(
    "technique",
    [
        Technique(
            name="textual_inversion",
            label="tokens",
            config=TextualInversionConfig(),
            implementation="flowerti.personalization.textual_inversion.technique:TEXTUAL_INVERSION",
            shares_batches=True,
            seed_name="inversion",  # an earlier name: kept, so that seeds stay what they were
        ),
        Technique(
            name="lora",
            label="adapters",
            config=LoraConfig(),
            implementation="flowerti.personalization.lora.technique:LORA",
            needs="textual_inversion",
            seed_name="sampling.adapter",  # an earlier name: kept, so that seeds stay what they were
        ),
        Technique(
            name="cross_attention",
            label="cross-attention weights",
            config=CrossAttentionConfig(),
            implementation="flowerti.personalization.cross_attention.technique:CROSS_ATTENTION",
            needs="textual_inversion",
        ),
        Technique(
            name="dreambooth",
            label="fine-tuned U-Nets",
            config=DreamboothConfig(),
            implementation="flowerti.personalization.dreambooth.technique:DREAMBOOTH",
            needs="textual_inversion",
        ),
        Technique(
            name="text_lora",
            label="text adapters",
            config=TextLoraConfig(),
            implementation="flowerti.personalization.text_lora.technique:TEXT_LORA",
            needs="textual_inversion",
        ),
        Technique(
            name="shared_lora",
            label="shared adapters",
            config=SharedLoraConfig(),
            # the same code, which sees one batch: whose images are in it is for the worker
            implementation="flowerti.personalization.lora.technique:LORA",
            needs="textual_inversion",
            is_joint=True,
        ),
    ],
)


def with_needs(name: str) -> list[Technique]:
    """A technique after those it depends on; empty for an empty name.

    Raises:
        ValueError: a technique is unknown, or needs itself in the end.
    """
    chain: list[Technique] = []
    while name:
        is_new = all(name != technique.name for technique in chain)
        require(is_new, f"technique {name!r}: needs", "leads back to itself: let one of them need nothing")
        chain.append(TECHNIQUES[name])
        name = TECHNIQUES[name].needs
    return chain[::-1]


def techniques_for(sources: tuple[str, ...]) -> list[Technique]:
    """The techniques that some sources require, each after those it depends on.

    Raises:
        ValueError: a source or a technique is unknown.
    """
    chains = [with_needs(SOURCES[name].technique) for name in sources]
    return list({technique.name: technique for chain in chains for technique in chain}.values())
