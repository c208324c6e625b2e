"""A run with tokens, adapters and drawn images, made without learning or drawing; lets tests import helpers."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))


# flowerti is imported in the fixtures: at the top it would be imported before its type checks are installed
@pytest.fixture
def run(tmp_path: Path, tiny_base: Path, base: Any) -> Any:
    """The run directory tmp_path/run of a data set of files in tmp_path/data."""
    from small_export import make_run

    return make_run(tmp_path, tiny_base, base)
