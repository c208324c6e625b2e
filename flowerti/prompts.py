"""The words around a concept: prompt templates that training and sampling share, and other names of known classes.

It knows nothing about models or images.
"""

import json
from pathlib import Path

from flowerti.oxford_names import NAMES as OXFORD_NAMES

TEMPLATES: tuple[str, ...] = (
    "a photo of a {}",
    "a picture of a {}",
    "a close-up photo of a {}",
    "a bright photo of a {}",
    "a dark photo of a {}",
    "a cropped photo of a {}",
    "a good photo of a {}",
    "the photo of a {}",
    "a photo of one {}",
    "a photo of the cool {}",
    "a clean photo of a {}",
    "a rendition of a {}",
)
"""Each has one place for a noun phrase, as `str.format` takes it."""


def alternative_names(class_names: tuple[str, ...], file_name: str = "") -> dict[str, str]:
    """Another common name for each class that has one: the user's file first, then the names that the project knows.

    Args:
        class_names: the classes of the data set.
        file_name: JSON file {class name: another name}; may be empty.

    Raises:
        ValueError: the file is missing, is no such JSON, or names an unknown class.
    """
    from flowerti.demo.herbarium import SPECIES

    known = {name: common for name, (common, _) in OXFORD_NAMES.items() if common}
    known |= {s.name: s.alternative_name for s in SPECIES if s.alternative_name}
    names = {name: known[name] for name in class_names if name in known}
    return names | (_read_names(file_name, class_names) if file_name else {})


def latin_names(class_names: tuple[str, ...]) -> dict[str, str]:
    """The Latin name of each class for which the project knows one."""
    return {name: OXFORD_NAMES[name][1] for name in class_names if name in OXFORD_NAMES}


def _read_names(file_name: str, class_names: tuple[str, ...]) -> dict[str, str]:
    try:
        names = json.loads(Path(file_name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"sampling.alternative_names_file: {file_name} cannot be read: {error}") from error
    if not isinstance(names, dict) or not all(isinstance(n, str) and n.strip() for n in names.values()):
        raise ValueError(f"sampling.alternative_names_file: {file_name} must hold one object {{class: name}}")
    unknown = sorted(set(names) - set(class_names))
    if unknown:
        raise ValueError(f"sampling.alternative_names_file: {file_name} names unknown classes: {', '.join(unknown)}")
    return names
