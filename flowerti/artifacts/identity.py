"""Identity of artifacts: their keys, the seeds of all random choices, and file names of classes.

An artifact's key is the hash of the settings that it depends on and of the keys of its inputs; a stage runs only if the
run directory has no artifact with that key. This module does not know what is stored.
"""

import dataclasses
import hashlib
import json
from typing import Any
from urllib.parse import quote

ALL_CLASSES = "@all"
"""Stands for all weak classes where they are learnt together; no class may have this name, and no slug holds an @."""
_MAX_SLUG_LENGTH = 80


def key_of(*parts: Any) -> str:
    """Hash dataclasses, dictionaries, sequences, strings and numbers to 64 hexadecimal digits."""
    text = json.dumps(
        [dataclasses.asdict(p) if dataclasses.is_dataclass(p) and not isinstance(p, type) else p for p in parts],
        sort_keys=True,
        allow_nan=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def seed_for(run_seed: int, class_name: str, source: str, index: int) -> int:
    """Return the seed of an image, an optimiser run or a trial: a hash in [0, 2**63), identical on every worker."""
    text = json.dumps([run_seed, class_name, source, index]).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def of_learning(name: str, learning: int, separator: str = "/") -> str:
    """The name of a seed, a folder or a set for one of a class's learnings; the first one's stays as it is."""
    return f"{name}{separator}learning-{learning}" if learning else name


def label_of(class_name: str, learning: int) -> str:
    """What a learning of a class is called in messages: "azalea" for the first, "azalea (learning 1)" for the next."""
    name = "all classes" if class_name == ALL_CLASSES else class_name
    return f"{name} (learning {learning})" if learning else name


def subject_of(class_name: str, *, is_joint: bool) -> str:
    """Under which name a technique's result for a class is kept, if all classes are learnt together or each alone."""
    return ALL_CLASSES if is_joint else class_name


def key_fields(inputs: Any) -> dict[str, Any]:
    """The fields of a dataclass for its key, without those that have their default."""
    # a run's first learnings keep the keys of a run that has no others, so that more can be added to it, and what was
    # made before a field existed keeps its key
    defaults = {field.name: field.default for field in dataclasses.fields(inputs)}
    return {name: value for name, value in dataclasses.asdict(inputs).items() if value != defaults[name]}


def num_synthetic(ratio: float, num_real: int) -> int:
    """How many synthetic images a class gets at a ratio."""
    return round(ratio * num_real)


def slug(class_name: str) -> str:
    """Turn a class name into a safe file name, different for different names.

    Letters, digits and hyphens stay, a space becomes an underscore, everything else is percent-escaped, so that no
    name can leave its folder or be hidden; a name that grows too long ends in its hash.

    Raises:
        ValueError: the name is empty.
    """
    if not class_name:
        raise ValueError("class name is empty: every class needs a name")
    escaped = quote(class_name, safe=" ")
    for character, code in ((".", "%2E"), ("_", "%5F"), ("~", "%7E"), (" ", "_")):
        escaped = escaped.replace(character, code)
    if len(escaped) <= _MAX_SLUG_LENGTH:
        return escaped
    return escaped[: _MAX_SLUG_LENGTH - 17] + "~" + hashlib.sha256(class_name.encode()).hexdigest()[:16]
