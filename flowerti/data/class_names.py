"""Other names of the classes of a data set: another common name, and the Latin name.

This module does not know where a name is used.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from flowerti.config.data_sources import DATA_SOURCES
from flowerti.data.sources.implementation import implementation_of
from flowerti.tables.sources import ClassNames


def alternative_names(kind: str, class_names: Sequence[str], file_name: str = "") -> dict[str, str]:
    """Another common name for each class that has one: the user's file first, then `known_names`.

    Args:
        kind: the data source of the run.
        class_names: the classes of the data set.
        file_name: JSON file {class name: another name}; may be empty.

    Raises:
        ValueError: the data source is unknown, or the file is missing, is no such JSON, or names an unknown class.
    """
    names = {known.class_name: known.alternative for known in known_names(kind, class_names) if known.alternative}
    return names | (_read_names(file_name, class_names) if file_name else {})


def latin_names(kind: str, class_names: Sequence[str]) -> dict[str, str]:
    """The Latin name of each class for which one is known; arguments as in `alternative_names`."""
    return {known.class_name: known.latin for known in known_names(kind, class_names) if known.latin}


def known_names(kind: str, class_names: Sequence[str]) -> list[ClassNames]:
    """Look up names of classes in the data sources; a name that is not found is empty.

    For each of the two names the data source of the run takes precedence, followed by all others in the order of their
    table: a class of an image folder gets the names of a class with the same name in another data source.

    Raises:
        ValueError: the data source is unknown.
    """
    others = [row for row in DATA_SOURCES if row.name != kind]
    known = [implementation_of(row).known_names() for row in (DATA_SOURCES[kind], *others)]
    found = []
    for name in class_names:
        of_class = [names[name] for names in known if name in names]
        alternative = next((one.alternative for one in of_class if one.alternative), "")
        latin = next((one.latin for one in of_class if one.latin), "")
        found.append(ClassNames(class_name=name, alternative=alternative, latin=latin))
    return found


def _read_names(file_name: str, class_names: Sequence[str]) -> dict[str, str]:
    try:
        names = json.loads(Path(file_name).read_text(encoding="utf-8"))
        json.dumps(names, ensure_ascii=False).encode()
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"sampling.alternative_names_file: {file_name} cannot be read: {error}") from error
    if not isinstance(names, dict) or not all(isinstance(n, str) and n.strip() for n in names.values()):
        raise ValueError(f"sampling.alternative_names_file: {file_name} must hold one object {{class: name}}")
    unknown = sorted(set(names) - set(class_names))
    if unknown:
        raise ValueError(f"sampling.alternative_names_file: {file_name} names unknown classes: {', '.join(unknown)}")
    return names
