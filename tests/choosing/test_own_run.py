"""From a folder to an experiment and back through the commented file."""

import tomllib
from pathlib import Path

import pytest
from drawn_folders import draw_classes

from flowerti import cli
from flowerti.choosing.folder_kind import kind_of
from flowerti.choosing.own_run import choose_run, chosen_lines, run_name, toml_text, value_of
from flowerti.config.experiment import from_toml, to_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw_classes(tmp_path / 'my "own" images', {"rose": 20, "lily": 16, "rare": 3})


def test_the_file_says_what_was_chosen_and_nothing_else(folder: Path, tiny_base: Path):
    own = choose_run(str(folder), str(tiny_base))
    text = toml_text(own)
    assert from_toml(text, file_name="x.toml") == own.experiment
    named = {f"{table}.{field}" for table, fields in tomllib.loads(text).items() if table != "name" for field in fields}
    assert {choice.field for choice in own.choices if choice.field.count(".") == 1} <= named
    for choice in own.choices:
        assert f"# {choice.why}\n{choice.field.rpartition('.')[2]} = " in text
        assert value_of(own.experiment, choice.field) == choice.value


def test_an_option_replaces_a_choice_and_is_not_told_as_one(folder: Path, tiny_base: Path, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    arguments = [str(folder), "--base", str(tiny_base), "--sampling.num-per-class", "70"]
    experiment, run = cli.parse_run(arguments)
    assert experiment.sampling.num_per_class == 70
    assert run.uri == "runs/my-own-images"
    own = choose_run(str(folder), str(tiny_base))
    lines = chosen_lines(own, experiment)
    assert not [line for line in lines if "--sampling.num-per-class" in line]
    assert "chosen: --data.image-size-px 32 (the base draws at 32 px)" in lines
    assert lines[-1].startswith("cannot be weak: 1 class with too few images held out")
    assert "rare (1 + 1 + 1)" in lines[-1]


def test_a_run_that_was_started_goes_on_with_its_settings(folder: Path, tiny_base: Path, tmp_path: Path):
    started = tmp_path / "started"
    first, run = cli.parse_run([str(folder), "--base", str(tiny_base), "--run-dir", str(started), "--seed", "5"])
    run.write_bytes("config.json", to_json(first).encode())
    draw_classes(folder, {"more": 30})
    assert cli.parse_run([str(folder), "--run-dir", str(started)])[0] == first, "no base is needed, nothing is chosen"


def test_init_writes_what_run_would_choose(folder: Path, tiny_base: Path, tmp_path: Path, capsys):
    file = tmp_path / "mine.toml"
    assert cli.main(["init", str(folder), "--base", str(tiny_base), "--output", str(file)]) == 0
    assert cli.parse_run(["--config", str(file)]) == cli.parse_run([str(folder), "--base", str(tiny_base)])
    capsys.readouterr()
    assert cli.main(["init", str(folder), "--base", str(tiny_base)]) == 0
    assert capsys.readouterr().out == file.read_text()
    assert cli.main(["init", str(folder), "--base", str(tiny_base), "--output", str(file)]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["name = 3\n", "[data\n", "x = 1\n", 'name = "a"\n'])
def test_a_bad_toml_file_is_one_line_that_names_it(content: str, tmp_path: Path, capsys):
    file = tmp_path / "my.toml"
    file.write_text(content)
    assert cli.main(["run", "--config", str(file)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and str(file) in err


def test_kinds_are_told_by_what_lies_there(tmp_path: Path, folder: Path):
    assert kind_of(str(folder)) == "image_folder"
    (tmp_path / "hub" / "data").mkdir(parents=True)
    (tmp_path / "hub" / "data" / "train-0.parquet").write_bytes(b"")
    assert kind_of(str(tmp_path / "hub")) == "parquet"
    (tmp_path / "list.CSV").write_text("path,label\n")
    assert kind_of(str(tmp_path / "list.CSV")) == "csv"
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars" / "0.tar").write_bytes(b"")
    for name, words in (("tars", "unpack"), ("nothing", "is missing"), ("hub/data/train-0.parquet", "is a file")):
        with pytest.raises(ValueError, match=words):
            kind_of(str(tmp_path / name))


@pytest.mark.parametrize(("name", "expected"), [("flowers", "flowers"), ("a b/", "a-b"), ("..x", "x"), ("ü!", "ü")])
def test_a_run_is_named_after_its_folder(name: str, expected: str, tmp_path: Path):
    assert run_name(str(tmp_path / name)) == expected
