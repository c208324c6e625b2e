"""Results of techniques in a run directory: record, files and key, and their application to a loaded base.

The record is written last: a class without it is unfinished, as is one whose files are missing or were changed, unless
they follow from the others. This module does not know how anything is trained, nor which techniques there are.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from flowerti.artifacts.damage import DamagedError, tell_damage
from flowerti.artifacts.identity import key_fields, key_of, label_of, subject_of
from flowerti.artifacts.layout import learned_file, learned_record, notes
from flowerti.artifacts.records import ConceptNeighbour, Learned
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, ScheduleConfig
from flowerti.config.techniques import TECHNIQUES, Technique, with_needs
from flowerti.diffusion import Base
from flowerti.personalization.technique import Content, implementation_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """Inputs of a class's training besides the technique's settings."""

    class_name: str
    images_sha256: str
    """Of the class's own training images, in order."""
    image_size_px: int
    run_seed: int
    base_sha256: str
    needed: Sequence[Learned]
    """Records of the techniques that this one depends on."""
    learning: int = 0
    """Which of the class's learnings."""


def key_for(technique: Technique, config: ScheduleConfig, base: BaseConfig, material: Material) -> str:
    """Key of a technique's result for a class; independent of the checkpoint interval."""
    return key_of(technique.name, _settings(config), base.dtype, _inputs(material))


def joint_key_for(technique: Technique, config: ScheduleConfig, base: BaseConfig, materials: Sequence[Material]) -> str:
    """Key of a technique's result for classes that are learnt together, in their order; likewise independent."""
    return key_of(technique.name, _settings(config), base.dtype, [_inputs(material) for material in materials])


def _settings(config: ScheduleConfig) -> dict[str, Any]:
    settings = dataclasses.asdict(config)
    del settings["checkpoint_every_steps"]
    return settings


def _inputs(material: Material) -> dict[str, Any]:
    needed = [[learned.technique, learned.files] for learned in material.needed]
    return key_fields(material) | {"needed": needed}


def load_learned(
    run: RunDirectory, class_name: str, technique: str, key: str | None = None, learning: int = 0
) -> Learned | None:
    """The record of a class; None if there is none with that key, or its files do not match their hashes."""
    content = _load_content(run, class_name, technique, key, learning)
    return None if content is None else content.learned


def _load_content(run: RunDirectory, class_name: str, technique: str, key: str | None, learning: int) -> Content | None:
    learned = run.load(learned_record(class_name, technique, learning), Learned, key)
    if learned is None or learned.error:
        return None
    files = {name: content for name in learned.files if (content := _read_intact(run, learned, name)) is not None}
    if len(files) < len(learned.files):
        files |= _written_anew(run, Content(learned=learned, files=files))
    return Content(learned=learned, files=files) if len(files) == len(learned.files) else None


def _read_intact(run: RunDirectory, learned: Learned, name: str) -> bytes | None:
    """A file whose content has the hash in the record; tells one that is missing or has another."""
    file = learned_file(learned.class_name, name, learned.learning)
    try:
        content = run.read_bytes(file)
    except FileNotFoundError:
        tell_damage(DamagedError(file, "it is missing"))
        return None
    if hashlib.sha256(content).hexdigest() != learned.files[name]:
        tell_damage(DamagedError(file, "its content is not what was learnt"))
        return None
    return content


def _written_anew(run: RunDirectory, content: Content) -> dict[str, bytes]:
    """Write what follows from the files that are left, where that gives what the record says."""
    learned, written = content.learned, {}
    for name, made in implementation_of(TECHNIQUES[learned.technique]).derived(content).items():
        if name not in content.files and hashlib.sha256(made).hexdigest() == learned.files.get(name):
            run.write_bytes(learned_file(learned.class_name, name, learned.learning), made)
            written[name] = made
    return written


def require_learned(run: RunDirectory, class_name: str, technique: str, learning: int = 0) -> Content:
    """The result for a class, with its files.

    Raises:
        ValueError: the class is not finished; says what to do.
    """
    content = _load_content(run, class_name, technique, None, learning)
    if content is None:
        raise ValueError(
            f"class {label_of(class_name, learning)!r}: {technique} has not finished in {run.uri}: run the stage "
            "personalize first"
        )
    return content


def save_learned(run: RunDirectory, learned: Learned, files: Mapping[str, bytes], key: str) -> Learned:
    """Write files and record, and return the record with the files' hashes."""
    for name, content in files.items():
        run.write_bytes(learned_file(learned.class_name, name, learned.learning), content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    complete = dataclasses.replace(learned, files=hashes)
    run.save(learned_record(learned.class_name, learned.technique, learned.learning), complete, key)
    return complete


def store_failure(run: RunDirectory, failed: Learned, key: str) -> Learned:
    """Write the record of a failed class."""
    run.save(learned_record(failed.class_name, failed.technique, failed.learning), failed, key)
    return failed


@contextmanager
def applied(base: Base, run: RunDirectory, class_name: str, technique: str, learning: int = 0) -> Iterator[Base]:
    """Context manager that applies the results of a technique, and of those it depends on, to a base.

    Args:
        base: the loaded base; its networks are restored on exit.
        run: the run directory with the results.
        class_name: the class.
        technique: name of a row in `TECHNIQUES`; empty for none.
        learning: which of the class's learnings; what the technique depends on is taken from the same one, as is what
            all classes share.

    Yields:
        The base to encode prompts with.

    Raises:
        ValueError: a technique has not finished, or its result belongs to another base.
    """
    with ExitStack() as stack:
        for needed in with_needs(technique):
            subject = subject_of(class_name, is_joint=needed.is_joint)
            content = require_learned(run, subject, needed.name, learning)
            base = stack.enter_context(implementation_of(needed).apply(base, content))
        yield base


@dataclass(frozen=True, kw_only=True, slots=True)
class _Neighbours:
    """What `neighbours_among` found."""

    rows: list[ConceptNeighbour]


def neighbours_among(run: RunDirectory, learned: Sequence[Learned]) -> list[ConceptNeighbour]:
    """Nearest results of other classes, for all techniques, among each class's first learning.

    Kept in the run directory for the same results: each class's files are read for it.
    """
    first = [one for one in learned if not one.learning and not one.error]
    compared = [
        (technique, [one for one in first if one.technique == technique.name])
        for technique in TECHNIQUES
        if any(one.technique == technique.name for one in first) and implementation_of(technique).neighbours_among
    ]
    if not compared:
        return []
    name = notes("neighbours")
    key = key_of([[one.technique, one.class_name, one.files] for _, of_one in compared for one in of_one])
    found = run.load(name, _Neighbours, key)
    if found is None:
        rows: list[ConceptNeighbour] = []
        for technique, of_one in compared:
            compare = implementation_of(technique).neighbours_among
            assert compare is not None
            rows += compare([require_learned(run, one.class_name, technique.name) for one in of_one])
        found = _Neighbours(rows=rows)
        run.save(name, found, key)
    return found.rows
