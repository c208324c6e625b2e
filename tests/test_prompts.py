"""Prompt templates and other names of classes."""

import json
from pathlib import Path
from string import Formatter

import pytest

from flowerti.oxford_names import NAMES
from flowerti.prompts import TEMPLATES, alternative_names, latin_names


def test_each_template_has_one_place_for_a_name():
    assert len(set(TEMPLATES)) == len(TEMPLATES)
    for template in TEMPLATES:
        places = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
        assert places == [""]
        assert "rose" in template.format("rose")


def test_known_names_are_those_of_oxford_102():
    from torchvision.datasets import Flowers102

    assert set(NAMES) == set(Flowers102.classes)
    assert all(name not in others and others[0] != others[1] and others[1] for name, others in NAMES.items())


def test_the_studys_examples_are_known():
    asked = ("sword lily", "prince of wales feathers", "rose", "no such flower")
    assert alternative_names(asked)["sword lily"] == "gladiolus"
    assert latin_names(asked)["prince of wales feathers"] == "amaranthus hypochondriacus"
    # a rose has no other common name, and what is not of Oxford 102 has none at all
    assert set(alternative_names(asked)) == {"sword lily", "prince of wales feathers"}
    assert set(latin_names(asked)) == {"sword lily", "prince of wales feathers", "rose"}


def test_the_herbarium_brings_its_own_names():
    from flowerti.demo.herbarium import SPECIES

    expected = {s.name: s.alternative_name for s in SPECIES if s.alternative_name}
    assert expected
    rare = tuple(s.name for s in SPECIES if s.rare)
    assert alternative_names(rare) == expected
    assert latin_names(rare) == {}


def write(folder: Path, content: object) -> str:
    file = folder / "names.json"
    file.write_text(json.dumps(content))
    return str(file)


def test_the_users_file_comes_first_and_adds(tmp_path: Path):
    file = write(tmp_path, {"azalea": "Azaleen", "rose": "rosa"})
    names = alternative_names(("azalea", "rose", "canna lily"), file)
    assert names == {"azalea": "Azaleen", "rose": "rosa", "canna lily": "indian shot"}


def test_a_file_in_utf_8_is_read_as_such(tmp_path: Path):
    file = tmp_path / "names.json"
    file.write_bytes('{"rose": "Röschen"}'.encode())
    assert alternative_names(("rose",), str(file)) == {"rose": "Röschen"}


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
        alternative_names(("rose",), str(file))
    assert str(file) in str(caught.value)
    assert problem in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="cannot be read"):
        alternative_names(("rose",), str(tmp_path / "none.json"))
