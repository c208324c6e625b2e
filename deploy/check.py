"""`.venv/bin/python -m deploy.check [FILES]`: what keeps the cluster files from bringing a cluster up.

Without names it looks at all of them and at the Dockerfile. Placeholders that are not filled in count, so a file is
ready for `ray up` or `kubectl apply` when nothing is said about it. No cloud is asked.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from deploy.clouds import problems
from deploy.image import image_file_problems
from deploy.manifests import manifest_problems
from deploy.pins import ROOT

LAUNCHERS = ("cluster.yaml", "deploy/cluster-gcp.yaml")
MANIFESTS = ("deploy/kuberay-cluster.yaml", "deploy/kuberay-job.yaml", "deploy/kuberay-service-account.yaml")
IMAGE = "Dockerfile"


def placeholders(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Place and text of each value that somebody must still fill in: all of them say `your-`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from placeholders(inner, f"{place}/{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from placeholders(inner, f"{place}/{number}")
    elif isinstance(value, str) and (found := re.search(r"[\w.]*-?your-[\w-]+", value)):
        yield place.lstrip("/"), found[0]


def findings(path: Path) -> list[str]:
    """What is wrong with one file, placeholders last.

    Raises:
        ValueError: it is neither a Dockerfile, nor a launcher's file, nor a manifest of KubeRay's.
    """
    if path.name == IMAGE:
        return image_file_problems(path.read_text(encoding="utf-8"), _ignore_of(path), path.parent)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not {"provider", "kind"} & set(content):
        raise ValueError(f"{path}: is neither a launcher's file (provider) nor a manifest (kind)")
    found = problems(content) if "provider" in content else manifest_problems(content)
    empty = [f"{place}: fill in {text}" for place, text in placeholders(content)]
    return [*found, *empty]


def _ignore_of(path: Path) -> str:
    ignore = path.with_name(".dockerignore")
    return ignore.read_text(encoding="utf-8") if ignore.exists() else ""


def main(names: list[str]) -> int:
    """Print what is wrong, a line each; returns 1 where anything is, 2 where a file is not one of these."""
    paths = [Path(name) for name in names] or [ROOT / name for name in (*LAUNCHERS, *MANIFESTS, IMAGE)]
    found = []
    try:
        found = [(path, text) for path in paths for text in findings(path)]
    except (ValueError, OSError, yaml.YAMLError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    for path, text in found:
        print(f"{path}: {text}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
