"""What several tests on clusters compare with."""

from pathlib import Path

import pytest

# before a local session is: Ray then takes clusters made in this process and their drivers for one network
import ray  # noqa: F401
from nodes import Driver
from tiny_run import tiny_experiment


@pytest.fixture(scope="session")
def quiet(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of an undisturbed run up to the tokens; further stages are made by those who need them."""
    folder = tmp_path_factory.mktemp("quiet") / "run"
    Driver(tiny_experiment(tiny_base), folder, until="personalize").finish()
    return folder
