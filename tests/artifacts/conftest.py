"""The fixture of run directories at every kind of local address."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(params=["path", "file address", "address with a space", "trailing slash"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A local run directory that is still missing."""
    # not at the top: it would be imported before its type checks are installed
    from flowerti.artifacts.run_directory import RunDirectory

    uris = {
        "path": str(tmp_path / "run"),
        "file address": f"file://{tmp_path}/run",
        "address with a space": f"file://{tmp_path}/a%20run",
        "trailing slash": f"{tmp_path}/run/",
    }
    return RunDirectory(uris[request.param])
