"""The command that says what keeps the cluster files from bringing a cluster up."""

import importlib.util
import re
from pathlib import Path

import pytest
from cluster_files import FILLED, ROOT, load

from deploy.check import IMAGE, LAUNCHERS, MANIFESTS, findings, main, placeholders
from deploy.pins import cuda_major, min_driver, pins, project

FILES = [*LAUNCHERS, *MANIFESTS]


@pytest.mark.parametrize("name", FILES)
def test_nothing_but_placeholders_is_wrong(name: str):
    found = findings(ROOT / name)
    assert found
    assert all(": fill in " in text for text in found)


@pytest.mark.parametrize("name", FILES)
def test_every_placeholder_stands_on_a_line_that_says_so(name: str):
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.lstrip().startswith("#")]
    marked = {line for line in lines if line.endswith("# CHANGE")}
    assert marked == {line for line in lines if "your-" in line.split(" # ")[0]}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_filled_in_is_ready(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    text = (ROOT / name).read_text()
    for placeholder, value in FILLED.items():
        text = text.replace(placeholder, value)
    path = tmp_path / Path(name).name
    path.write_text(text)
    assert main([str(path)]) == 0
    assert capsys.readouterr().out == ""


def test_all_files_are_looked_at(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 1
    out = capsys.readouterr().out
    assert all(f"{ROOT / name}: " in out for name in FILES)
    assert str(ROOT / IMAGE) not in out


def test_files_of_another_kind_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "other.yaml"
    path.write_text("a: 1\n")
    assert main([str(path)]) == 2
    assert "is neither a launcher's file (provider) nor a manifest (kind)" in capsys.readouterr().err
    path.write_text("a: [\n")
    assert main([str(path)]) == 2
    assert main([str(tmp_path / "none.yaml")]) == 2


def test_placeholders_are_found_wherever_they_stand():
    content = {"a": [{"b": "s3://your-bucket/x"}], "c": "ami-your-region", "d": "yours", "e": 1}
    assert list(placeholders(content)) == [("a/0/b", "your-bucket"), ("c", "ami-your-region")]


def test_all_files_name_one_image():
    names = [image.rsplit("/", 1)[-1] for file in FILES for image in re.findall(r"'image': '([^']+)'", str(load(file)))]
    assert len(names) == 6
    assert set(names) == {f"flowerti:{project()['version']}"}


def test_the_driver_is_that_of_the_cuda_that_torch_brings():
    torch = importlib.util.find_spec("torch")
    assert torch
    assert torch.origin
    built_for = re.search(r"^cuda.*= '(\d+)", Path(torch.origin).with_name("version.py").read_text(), re.MULTILINE)
    # a build for CPUs names no CUDA
    assert built_for is None or int(built_for[1]) == cuda_major()
    suffixed = {name for name in pins() if re.fullmatch(r"nvidia-.*-cu\d+", name)}
    assert suffixed
    assert all(name.endswith(f"-cu{cuda_major()}") for name in suffixed)
    assert min_driver() == 580


def test_an_unknown_cuda_is_refused(monkeypatch: pytest.MonkeyPatch):
    from deploy import pins as module

    monkeypatch.setattr(module, "pins", lambda: {"nvidia-cuda-runtime": "14.0.1"})
    with pytest.raises(ValueError, match="torch's CUDA is 14: add its driver"):
        min_driver()
