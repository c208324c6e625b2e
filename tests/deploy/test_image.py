"""The Dockerfile, read without docker: what it copies is there, what it installs is pinned, its user is not root."""

import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from cluster_files import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.image import extras_of, image_file_problems, is_ignored, read_instructions, read_stages, sources_of
from deploy.pins import pins, requirements

TEXT = (ROOT / "Dockerfile").read_text()
IGNORE = (ROOT / ".dockerignore").read_text()
STAGES = read_stages(TEXT)


def test_the_image_passes():
    assert image_file_problems(TEXT, IGNORE) == []


def test_its_stages():
    assert [stage.name for stage in STAGES] == ["wheel", "flowerti"]
    assert {stage.base for stage in STAGES} == {"python:3.11-slim-trixie"}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("PYTHON=3.11-slim", "PYTHON=3.10-slim", "FROM python:3.10-slim-trixie: the project wants Python >=3.11"),
        ("PYTHON=3.11-slim-trixie", "PYTHON=latest", "FROM python:latest: is not a Python image of a named version"),
        ("USER ray\n", "", "USER: the container runs as root"),
        ("USER ray\n", "USER root\n", "USER: the container runs as root"),
        ("--uid 1000", "--uid 1001", "is not made with the number 1000"),
        ("CMD [", 'ENTRYPOINT ["ray"]\nCMD [', "ENTRYPOINT: Ray's launcher starts `bash`"),
        ("HOME=/home/ray", "HAUS=/home/ray", "ENV: HOME is not set"),
        ("NVIDIA_VISIBLE_DEVICES=all", "X=1", "ENV: NVIDIA_VISIBLE_DEVICES is not set"),
        ("RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled", "ENV: RAY_AUTH_MODE is not token"),
        ("USER ray\n", "ENV HF_TOKEN=hf_x\nUSER ray\n", "HF_TOKEN: a secret does not belong in an image"),
        ("USER ray\n", "ARG AWS_SECRET_ACCESS_KEY\nUSER ray\n", "a secret does not belong in an image"),
        (" rsync ", " ", "rsync is missing"),
        ("USER ray\n", "RUN pip install black\nUSER ray\n", "RUN pip install black: takes versions that are not those"),
        ('EXTRAS="clouds', 'EXTRAS="cloud', "ARG EXTRAS: pyproject.toml: no extra is called 'cloud'"),
        ("COPY flowerti flowerti", "COPY flowrti flowerti", "COPY flowrti: does not exist"),
        ("COPY flowerti flowerti", "COPY flowerti results flowerti", "COPY results: .dockerignore keeps it"),
        ("COPY flowerti flowerti", "ADD flowerti flowerti", "ADD: use COPY"),
    ],
)
def test_a_mistake_is_told(old: str, new: str, told: str):
    assert old in TEXT
    found = image_file_problems(TEXT.replace(old, new), IGNORE)
    assert len(set(found)) in (1, 2)
    assert any(told in text for text in found)


def test_versions_that_do_not_fit_are_told(monkeypatch: pytest.MonkeyPatch):
    from deploy import image

    known = pins()
    monkeypatch.setattr(image, "pins", lambda: {**known, "ray": "2.55.0"})
    assert [text for text in image_file_problems(TEXT, IGNORE) if "ray 2.55.0 is not" in text]
    monkeypatch.setattr(image, "pins", lambda: {name: version for name, version in known.items() if name != "torch"})
    assert image_file_problems(TEXT, IGNORE) == ["constraints.txt: torch is not pinned"]


def needs_of(asked: Requirement) -> list[Requirement]:
    """What an installed package asks for in its turn; nothing for what the image alone has."""
    try:
        lines = distribution(asked.name).requires or []
    except PackageNotFoundError:
        return []
    extras = asked.extras or {""}
    needs = [Requirement(line) for line in lines]
    return [need for need in needs if not need.marker or any(need.marker.evaluate({"extra": e}) for e in extras)]


def test_what_comes_along_is_pinned_as_well():
    known, seen = pins(), set()
    waiting = requirements(extras_of(STAGES[-1]))
    while waiting:
        asked = waiting.pop()
        if str(asked) not in seen:
            seen.add(str(asked))
            waiting += needs_of(asked)
    names = {canonicalize_name(Requirement(line).name) for line in seen}
    assert len(names) > 100
    assert names <= set(known)


def test_continued_lines_and_comments():
    steps = read_instructions("# a\nRUN one \\\n    # between\n    && two\n\nenv A=1\n")
    assert [(step.name, step.text) for step in steps] == [("RUN", "one  && two"), ("ENV", "A=1")]


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        (".git/config", True),
        (".venv/bin/python", True),
        ("runs/demo/config.json", True),
        ("results/demo/report.html", True),
        ("auth_token", True),
        ("flowerti", False),
        ("flowerti/cli.py", False),
        ("flowerti/demo/base/unet/config.json", False),
        ("flowerti/__pycache__/cli.cpython-311.pyc", True),
        ("flowerti/data/__pycache__", True),
        ("flowerti/cli.pyc", True),
        ("constraints.txt", False),
        ("ray_jobs/pipeline.py", False),
        ("tests/conftest.py", True),
    ],
)
def test_what_reaches_the_builder(path: str, ignored: bool):
    assert is_ignored(path, IGNORE) is ignored


def test_a_star_stays_within_its_folder():
    assert is_ignored("a/b.txt", "a/*.txt")
    assert not is_ignored("a/b/c.txt", "a/*.txt")
    assert is_ignored("a/b/c.txt", "a/**/*.txt")
    assert is_ignored("a/b", "a\n!b")
    assert not is_ignored("a/b", "*\n!a/b")


def test_all_that_the_wheel_is_built_of_is_copied():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {settings["project"]["readme"], *settings["project"]["license-files"], "pyproject.toml"}
    wanted |= set(settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert wanted <= set(sources_of(STAGES[0]))


def test_the_line_that_lists_requirements_lists_all_of_them(tmp_path: Path):
    (step,) = [text for text in STAGES[-1].texts("RUN") if "requirements.txt" in text]
    (command,) = [part for part in step.split("&& ") if part.startswith("python -c")]
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {"PATH": path, "EXTRAS": " ".join(extras_of(STAGES[-1]))}
    subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, check=True)
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = table["optional-dependencies"]
    listed = (tmp_path / "requirements.txt").read_text().splitlines()
    assert listed == [
        *table["dependencies"],
        *extras["clouds"],
        *extras["cluster"],
        *extras["demo"],
        *extras["fid"],
    ]


def test_the_image_with_files_stands_on_ours_and_keeps_its_user():
    (stage,) = read_stages((ROOT / "deploy/with-files.Dockerfile").read_text())
    assert stage.base == "${IMAGE}"
    assert stage.texts("USER") == []
    assert stage.texts("COPY") == ["--chown=ray:ray . /opt/flowerti"]
