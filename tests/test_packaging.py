"""What is in the wheel: the package with everything it reads at run time, and nothing else."""

import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READ_AT_RUN_TIME = [
    "flowerti/py.typed",
    "flowerti/summary.schema.json",
    "flowerti/demo/base/model_index.json",
    "flowerti/demo/base/training_images.json",
    "flowerti/demo/base/unet/diffusion_pytorch_model.safetensors",
    "flowerti/demo/base/tokenizer/tokenizer.json",
]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files in a wheel that is built as pip builds it, with the build backend itself."""
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="the build backend is in the group dev")
    built = wheel.WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])
    with zipfile.ZipFile(next(built)) as archive:
        return set(archive.namelist())


def test_all_that_the_package_reads_is_in_the_wheel(names: set[str]):
    templates = [path.relative_to(ROOT).as_posix() for path in (ROOT / "flowerti/templates").rglob("*.j2")]
    modules = [path.relative_to(ROOT).as_posix() for path in (ROOT / "flowerti").rglob("*.py")]
    assert len(templates) > 3
    assert not {*READ_AT_RUN_TIME, *templates, *modules} - names


def test_nothing_else_is_in_the_wheel(names: set[str]):
    assert {name.split("/")[0].split("-")[0] for name in names} == {"flowerti"}
    assert not [name for name in names if "__pycache__" in name]


def test_only_the_package_is_named_for_the_wheel():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": ["flowerti"]}
    assert all((ROOT / name).is_file() for name in READ_AT_RUN_TIME)
