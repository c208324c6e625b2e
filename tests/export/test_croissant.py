"""The Croissant description is valid by MLCommons' own library, which reads the images by it."""

import json

import pytest
from small_export import NAMES, NUM_DRAWN, NUM_TRAIN, WEAK, asking

from flowerti.export.croissant import croissant
from flowerti.export.exporter import export_run


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of rdflib and mlcroissant, which warn of themselves
@pytest.mark.parametrize("rows_per_file", [1000, 10])
def test_mlcroissant_finds_no_error_and_reads_all_images(run, tmp_path, monkeypatch, rows_per_file):
    monkeypatch.setattr("flowerti.export.dataset_repository._ROWS_PER_FILE", rows_per_file)
    mlcroissant = pytest.importorskip("mlcroissant", reason="it is in the group dev")
    (folder,) = export_run(run, str(tmp_path / "out"), asking("parquet"))
    dataset = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    records = list(dataset.records("images"))
    assert len(records) == len(NAMES) * NUM_TRAIN + len(WEAK) * NUM_DRAWN
    first = records[0]
    assert first["images/image"].size == (40, 40) and first["images/label"] == 0
    assert [r["classes/name"] for r in dataset.records("classes")] == list(NAMES)


def test_each_file_has_its_hash():
    described = croissant("small", ["a", "b"], {"data/x.parquet": "0" * 64, "data/y.parquet": "1" * 64})
    files = {one["@id"]: one for one in described["distribution"] if one["@type"] == "cr:FileObject"}
    assert [one["sha256"] for one in files.values()] == ["0" * 64, "1" * 64]
    (together,) = (one for one in described["distribution"] if one["@type"] == "cr:FileSet")
    assert together["includes"] == "data/train-*.parquet"
    assert json.loads(json.dumps(described)) == described
