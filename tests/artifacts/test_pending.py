"""Artifacts that are saved together: nothing is written before, and nothing is made that is there."""

from pathlib import Path

import pytest

from flowerti.artifacts.pending import PendingArtifacts
from flowerti.artifacts.records import AlikeImages
from flowerti.artifacts.run_directory import RunDirectory


def test_what_is_made_is_written_at_the_end_and_made_once(tmp_path: Path):
    run, record = RunDirectory(str(tmp_path)), AlikeImages(groups=[["a", "b"]])
    pending = PendingArtifacts(run)
    assert pending.get("x.json", AlikeImages, "k", lambda: record) == record
    assert run.names("") == []
    pending.save()
    again = PendingArtifacts(run)
    assert again.get("x.json", AlikeImages, "k", lambda: pytest.fail("it is there")) == record
    other = AlikeImages(groups=[])
    assert again.get("x.json", AlikeImages, "another key", lambda: other) == other
    again.save()
    assert run.load("x.json", AlikeImages, "another key") == other
