"""The config beside a run's results: found, missing, damaged, or of another version."""

from pathlib import Path

import pytest

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import find_config, load_saved_plugins, read_config, write_config
from flowerti.config.presets import demo, flowers102


def test_a_config_comes_back_as_it_was(tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    assert find_config(run) is None
    write_config(run, flowers102())
    assert read_config(run) == find_config(run) == flowers102()


def test_a_folder_without_a_run_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"config\.json is missing: no run was started"):
        read_config(RunDirectory(str(tmp_path)))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"name": "x", "colour": 1}'])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    run.write_bytes("config.json", content)
    with pytest.raises(ValueError, match=r"config\.json: not a config of this version"):
        find_config(run)


def test_the_config_of_a_run_before_the_techniques_had_a_table_is_refused_in_one_line(tmp_path: Path):
    """Old run directories have `inversion` and `sampling.adapter`: never misread, told in one line."""
    import json

    from flowerti.config.experiment import to_json

    values = json.loads(to_json(demo()))
    values["inversion"] = values.pop("techniques")["textual_inversion"]
    run = RunDirectory(str(tmp_path))
    run.write_bytes("config.json", json.dumps(values).encode())
    with pytest.raises(ValueError, match=r"not a config of this version.*inversion") as caught:
        read_config(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"plugins": "a:b"}', b'{"plugins": [1]}'])
def test_plugins_are_read_from_a_config_of_any_version_and_damage_is_named(tmp_path, content):
    run = RunDirectory(str(tmp_path))
    load_saved_plugins(run)
    run.write_bytes("config.json", b'{"plugins": [], "a setting that is gone": 1}')
    load_saved_plugins(run)
    run.write_bytes("config.json", content)
    with pytest.raises(ValueError, match=r"config\.json"):
        load_saved_plugins(run)
