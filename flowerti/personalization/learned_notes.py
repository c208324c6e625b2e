"""Records of everything that was learnt in a run, as notes in one file of the run directory.

A record without a note, or one of whose files was changed since, is read and its files are hashed once. This module
does not know how anything is learnt.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flowerti.artifacts import layout
from flowerti.artifacts.file_notes import FileNotes, stamps_suffice
from flowerti.artifacts.records import Learned
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.personalization.store import load_learned
from flowerti.personalization.worker import LearningTask

_NUM_READERS = 16
"""Threads that read records: a small request to an object store has a latency of tens of milliseconds."""


class LearnedNotes:
    """What is known of all that was learnt in a run."""

    def __init__(self, run: RunDirectory) -> None:
        """List what was learnt and read the notes."""
        self._run = run
        self._notes = FileNotes(run, layout.notes(layout.CONCEPTS), layout.CONCEPTS)

    def load(self, tasks: Sequence[LearningTask]) -> list[Learned | None]:
        """The record of each task; None where `load_learned` has none.

        Raises:
            ValueError: a record that has no note is damaged; names it.
        """
        found = [self._noted(task) if stamps_suffice(self._run) else None for task in tasks]
        unknown = [
            place
            for place, task in enumerate(tasks)
            if found[place] is None and self._notes.has(_file(task, f"{task.technique}.json"))
        ]
        with ThreadPoolExecutor(_NUM_READERS) as readers:
            for place, record in zip(unknown, readers.map(lambda i: self._read(tasks[i]), unknown), strict=True):
                found[place] = record
        for place in unknown:
            for file, note in _notes_on(tasks[place], found[place]).items():
                self._notes.add(file, note)
        self._notes.save()
        return found

    def learnt(self, done: Iterable[tuple[LearningTask, Learned]]) -> None:
        """Note records that workers have just written."""
        self._notes.add_written({file: note for one in done for file, note in _notes_on(*one).items()})
        self._notes.save()

    def _noted(self, task: LearningTask) -> Learned | None:
        import dacite

        note = self._notes.get(_file(task, f"{task.technique}.json"))
        if note is None or note["key"] != task.key:
            return None
        try:
            learned = dacite.from_dict(Learned, note["record"], dacite.Config(strict=True, cast=[float]))
        except dacite.DaciteError:  # of another version: the record itself is read
            return None
        files = {_file(task, name): sha256 for name, sha256 in learned.files.items()}
        return learned if all(self._notes.get(file) == sha256 for file, sha256 in files.items()) else None

    def _read(self, task: LearningTask) -> Learned | None:
        return load_learned(self._run, task.class_name, task.technique, task.key, task.learning)


def _file(task: LearningTask, name: str) -> str:
    return layout.learned_file(task.class_name, name, task.learning)


def _notes_on(task: LearningTask, learned: Learned | None) -> dict[str, Any]:
    """Notes on a record and its files; none on one that failed, which is tried again."""
    if learned is None or learned.error:
        return {}
    record = {"key": task.key, "record": dataclasses.asdict(learned)}
    files = {_file(task, name): sha256 for name, sha256 in learned.files.items()}
    return {_file(task, f"{task.technique}.json"): record, **files}
