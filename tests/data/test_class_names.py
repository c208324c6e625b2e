"""What classes are called besides: the run's own data source first, then any other, and the user's file before all."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from flowerti.config.data_sources import DATA_SOURCES, DataSource
from flowerti.data.class_names import alternative_names, known_names, latin_names
from flowerti.data.dataset import Dataset
from flowerti.data.sources.herbarium.species import SPECIES
from flowerti.data.sources.implementation import ImageReader, Implementation
from flowerti.tables.sources import ClassNames


@pytest.mark.parametrize("kind", ["flowers102", "image_folder"])
def test_the_studys_examples_are_known_wherever_the_images_come_from(kind: str):
    asked = ("sword lily", "prince of wales feathers", "rose", "no such flower")
    assert alternative_names(kind, asked)["sword lily"] == "gladiolus"
    assert latin_names(kind, asked)["prince of wales feathers"] == "amaranthus hypochondriacus"
    # a rose has no other common name, and what is not of Oxford 102 has none at all
    assert set(alternative_names(kind, asked)) == {"sword lily", "prince of wales feathers"}
    assert set(latin_names(kind, asked)) == {"sword lily", "prince of wales feathers", "rose"}


def test_the_herbarium_brings_its_own_names():
    expected = {s.name: s.alternative_name for s in SPECIES if s.alternative_name}
    assert expected
    rare = tuple(s.name for s in SPECIES if s.rare)
    assert alternative_names("herbarium", rare) == expected
    assert latin_names("herbarium", rare) == {}


def test_a_species_that_oxford_102_has_as_well_gets_the_names_that_it_lacks():
    assert alternative_names("herbarium", ("buttercup", "sunflower")) == {"buttercup": "meadow buttercup"}
    assert latin_names("herbarium", ("sunflower",)) == {"sunflower": "helianthus annuus"}


def _names() -> Mapping[str, ClassNames]:
    return {"rose": ClassNames(class_name="rose", latin="rosa ficta"), "gorse": ClassNames(class_name="gorse")}


IMAGES = ImageReader(identify=str.encode, stamp_of=str)
GARDEN = Implementation(list_records=lambda _config, _seed: Dataset((), ()), images=IMAGES, known_names=_names)


def test_the_data_source_of_the_run_is_asked_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(DATA_SOURCES, "_rows", dict(DATA_SOURCES._rows))
    DATA_SOURCES.add(DataSource(name="garden", label="made up", implementation=f"{__name__}:GARDEN"))
    assert latin_names("garden", ("rose", "gorse", "lotus")) == {"rose": "rosa ficta", "lotus": "nelumbo nucifera"}
    assert latin_names("flowers102", ("rose", "gorse")) == {"rose": "rosa"}
    assert known_names("garden", ("gorse",)) == [ClassNames(class_name="gorse")]


def test_an_unknown_data_source_is_refused():
    with pytest.raises(ValueError, match="unknown data source 'zip'"):
        alternative_names("zip", ("rose",))


def write(folder: Path, content: object) -> str:
    file = folder / "names.json"
    file.write_text(json.dumps(content))
    return str(file)


def test_the_users_file_comes_first_and_adds(tmp_path: Path):
    file = write(tmp_path, {"azalea": "Azaleen", "rose": "rosa"})
    names = alternative_names("image_folder", ("azalea", "rose", "canna lily"), file)
    assert names == {"azalea": "Azaleen", "rose": "rosa", "canna lily": "indian shot"}


def test_a_file_in_utf_8_is_read_as_such(tmp_path: Path):
    file = tmp_path / "names.json"
    file.write_bytes('{"rose": "Röschen"}'.encode())
    assert alternative_names("image_folder", ("rose",), str(file)) == {"rose": "Röschen"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "one object"),
        (b'{"rose": 3}', "one object"),
        (b'{"rose": null}', "one object"),
        (b'{"rose": " "}', "one object"),
        (b'{"roes": "rosa", "zinnia": "x"}', "unknown classes: roes, zinnia"),
    ],
)
def test_a_bad_file_is_refused_by_field_and_file(tmp_path: Path, content: bytes, problem: str):
    file = tmp_path / "names.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"^sampling\.alternative_names_file: ") as caught:
        alternative_names("image_folder", ("rose",), str(file))
    assert str(file) in str(caught.value)
    assert problem in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="cannot be read"):
        alternative_names("image_folder", ("rose",), str(tmp_path / "none.json"))
