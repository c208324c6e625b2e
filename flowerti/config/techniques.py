"""The table of what can be learnt for a class: each technique with its settings, and where its code is.

A technique is a folder under `flowerti.personalization`, a config class and a row here. This module imports none of
their code.
"""

from dataclasses import dataclass

from flowerti.config.lora import LoraConfig
from flowerti.config.schedule import ScheduleConfig
from flowerti.config.textual_inversion import TextualInversionConfig
from flowerti.sources import SOURCES
from flowerti.tables import Table


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
    """Whether several classes can be learnt in one batch."""


TECHNIQUES: Table[Technique] = Table(
    "technique",
    [
        Technique(
            name="textual_inversion",
            label="tokens",
            config=TextualInversionConfig(),
            implementation="flowerti.personalization.textual_inversion.technique:TEXTUAL_INVERSION",
            shares_batches=True,
        ),
        Technique(
            name="lora",
            label="adapters",
            config=LoraConfig(),
            implementation="flowerti.personalization.lora.technique:LORA",
            needs="textual_inversion",
        ),
    ],
)


def techniques_for(sources: tuple[str, ...]) -> list[Technique]:
    """What must be learnt for some sources, each after what it needs.

    Raises:
        ValueError: a source or a technique is unknown.
    """
    wanted = [SOURCES[name].technique for name in sources]
    ordered: dict[str, Technique] = {}
    for name in wanted:
        chain = []
        while name and name not in ordered:
            chain.append(TECHNIQUES[name])
            name = TECHNIQUES[name].needs
        ordered |= {technique.name: technique for technique in reversed(chain)}
    return list(ordered.values())
