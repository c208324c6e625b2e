"""The cluster files as they lie there, and as somebody fills them in."""

import copy
import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILLED = {
    "ami-your-region": "ami-0123456789abcdef0",
    "sg-your-group": "sg-0123456789abcdef0",
    "your-account": "123456789012",
    "your-project": "lab-7",
    "-your-date": "-v20261101",
    "your-registry.example": "ghcr.io/lab",
    "your-bucket": "lab-runs",
}


def load(name: str, filled: bool = False) -> dict[str, Any]:
    """A file's content, with values of its own for every node type though the file shares them."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for placeholder, value in FILLED.items() if filled else ():
        text = text.replace(placeholder, value)
    return json.loads(json.dumps(yaml.safe_load(text)))


def changed(content: dict[str, Any], place: str, value: object) -> dict[str, Any]:
    """A copy with another value at a place such as "provider/region"; None takes the key out."""
    made = copy.deepcopy(content)
    *path, last = [int(part) if part.isdigit() else part for part in place.split("/")]
    here: Any = made
    for part in path:
        here = here[part]
    if value is None:
        del here[last]
    else:
        here[last] = value
    return made
