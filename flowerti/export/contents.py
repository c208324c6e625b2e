"""What a run holds that can leave it: its settings, classes and results, read from the run directory alone.

Real images are not looked for here (`training_set` does), so that tokens can leave a run without its photographs.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flowerti.artifacts import layout
from flowerti.artifacts.curation import Curation
from flowerti.artifacts.records import Census, Learned, Selection
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import read_config
from flowerti.base_files import resolve_folder
from flowerti.config.experiment import Experiment
from flowerti.export.class_words import folders_of, trigger_of, words_of
from flowerti.export.request import ExportRequest
from flowerti.tables.sources import SOURCES, judged_source

_TOKENS = "textual_inversion"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A run and what is asked of it."""

    run: RunDirectory
    request: ExportRequest
    experiment: Experiment
    class_names: tuple[str, ...]
    """In the order of their ids."""
    weak: tuple[str, ...]
    """The classes that something was learnt and drawn for."""
    curation: Curation | None
    summary: dict[str, Any]
    """What the report says; empty where there is none yet."""

    @cached_property
    def words(self) -> dict[str, str]:
        """The word that stands for each class's token elsewhere."""
        return words_of(self.class_names)

    @cached_property
    def folders(self) -> dict[str, str]:
        """The folder of each class's images."""
        return folders_of(self.class_names)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Whose images leave the run."""
        drawn = self.experiment.sampling.sources
        default = judged_source() if judged_source() in drawn else drawn[0]
        return self.request.sources or (default,)

    @property
    def holds_back_real(self) -> bool:
        """Whether real images stay because their licence does not let them go."""
        return not (self.experiment.data.show_images or self.request.with_real_images)

    @cached_property
    def base_model(self) -> str:
        """The base's name on the Hub, or of its folder where it has none there: never a path of this machine."""
        config = self.experiment.base
        is_on_hub = config.path != "demo" and resolve_folder(config) is None
        return self.request.base_model or (config.path if is_on_hub else Path(config.path).name)

    @cached_property
    def base_sha256(self) -> str:
        """Content hash of the base, as what was learnt and the report have it; empty where neither tells."""
        learned = next((one for name in self.weak if (one := self.learned(name)) is not None), None)
        return learned.base_sha256 if learned else (self.summary.get("base") or {}).get("sha256", "")

    def learnt_bytes(self, learned: Learned, name: str) -> bytes:
        """A file that a technique wrote.

        Raises:
            ValueError: it is missing or was changed since; names it.
        """
        file = layout.learned_file(learned.class_name, name, learned.learning)
        content = self.run.read_bytes(file) if self.run.exists(file) else b""
        if hashlib.sha256(content).hexdigest() != learned.files.get(name):
            raise ValueError(f"{self.run.uri}/{file} is not what was learnt: run the stage personalize again")
        return content

    @cached_property
    def _tokens(self) -> dict[str, str]:
        """The token of each weak class in prompts of this run; empty for none."""
        return {name: one.token if (one := self.learned(name)) else "" for name in self.weak}

    @cached_property
    def shards(self) -> dict[str, list[str]]:
        """The shards of drawn images, in order, by what their names begin with (`layout.shards`)."""
        found: dict[str, list[str]] = {}
        for name in self.run.names(layout.SYNTHETIC):
            found.setdefault(name.rsplit(".", 2)[0], []).append(name)
        return found

    def learned(self, class_name: str, technique: str = _TOKENS) -> Learned | None:
        """The record of what a technique learnt for a class; None where it has not finished or failed."""
        found = self.run.load(layout.learned_record(class_name, technique, self.request.learning), Learned)
        return None if found is None or found.error else found

    def prompt_elsewhere(self, class_name: str, prompt: str, *, is_web: bool = False) -> str:
        """A prompt with the word that stands for the class's token elsewhere in place of the token.

        Args:
            class_name: the class.
            prompt: as it was drawn with.
            is_web: whether it is for programs that go by a file's name, in place of diffusers.
        """
        token, word = self._tokens.get(class_name, ""), self.words[class_name]
        return prompt.replace(token, word if is_web else trigger_of(word)) if token else prompt


def read_contents(run: RunDirectory, request: ExportRequest) -> Contents:
    """Read what a run holds.

    Raises:
        ValueError: no run was started there, its classes are not selected yet, or it did not draw from a source or
            has no such learning; says what to do.
    """
    experiment = read_config(run)
    census, selection = run.load(layout.CENSUS, Census), run.load(layout.SELECTION, Selection)
    if census is None or selection is None:
        raise ValueError(f"{run.uri}: the weak classes are not selected yet: let the run go on until there are images")
    for name in request.sources:
        if name not in experiment.sampling.sources:
            known = ", ".join(experiment.sampling.sources)
            raise ValueError(f"--sources: the run drew no images of source {name}: choose among {known}")
    num_learnings = experiment.replication.num_learnings_in_all
    if request.learning >= num_learnings:
        raise ValueError(f"--learning: {request.learning} is none of the run's {num_learnings} learnings, from 0")
    found = Contents(
        run=run,
        request=request,
        experiment=experiment,
        class_names=tuple(count.class_name for count in census.counts),
        weak=tuple(chosen.class_name for chosen in selection.selected),
        curation=run.load(layout.CURATION, Curation) if experiment.filters.keep else None,
        summary=json.loads(run.read_bytes(layout.SUMMARY)) if run.exists(layout.SUMMARY) else {},
    )
    held_back = [name for name in found.sources if SOURCES[name].starts_from_images]
    if found.holds_back_real and held_back:
        raise ValueError(
            f"--sources: images of {held_back[0]} show real images, and data.show_images is off: choose another "
            "source, or add --with-real-images where their licence allows it"
        )
    return found
