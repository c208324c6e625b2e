"""The words around a concept: prompt templates that training and sampling share, and other names of known classes.

It knows nothing about models or pictures.
"""

import json
from pathlib import Path

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

OXFORD_ALTERNATIVE_NAMES: dict[str, str] = {
    "sword lily": "gladiolus",
    "canna lily": "canna indica",
    "azalea": "rhododendron",
    "prince of wales feathers": "amaranthus hypochondriacus",
    "bird of paradise": "strelitzia reginae",
    "love in the mist": "nigella damascena",
    "peruvian lily": "alstroemeria",
    "ball moss": "tillandsia recurvata",
    "bishop of llandaff": "red dahlia",
    "pincushion flower": "scabiosa",
    "globe thistle": "echinops",
    "spear thistle": "cirsium vulgare",
    "sweet william": "dianthus barbatus",
    "stemless gentian": "gentiana acaulis",
    "moon orchid": "phalaenopsis",
    "monkshood": "aconitum",
    "fire lily": "lilium bulbiferum",
    "tiger lily": "lilium lancifolium",
    "toad lily": "tricyrtis",
    "blackberry lily": "iris domestica",
    "giant white arum lily": "zantedeschia aethiopica",
    "trumpet creeper": "campsis radicans",
    "barbeton daisy": "gerbera",
    "balloon flower": "platycodon",
    "windflower": "anemone",
    "mexican aster": "cosmos",
    "cape flower": "nerine",
    "tree mallow": "lavatera",
    "desert-rose": "adenium obesum",
    "thorn apple": "datura stramonium",
}
"""Another common or Latin name of classes of Oxford 102, from general botany."""


def alternative_names(class_names: tuple[str, ...], file_name: str = "") -> dict[str, str]:
    """Another name for each class that has one: the user's file first, then the names that the project knows.

    Args:
        class_names: the classes of the data set.
        file_name: JSON file {class name: another name}; may be empty.

    Raises:
        ValueError: the file is missing, is no such JSON, or names an unknown class.
    """
    from flowerti.demo.herbarium import SPECIES

    known = OXFORD_ALTERNATIVE_NAMES | {s.name: s.alternative_name for s in SPECIES if s.alternative_name}
    names = {name: known[name] for name in class_names if name in known}
    return names | (_read_names(file_name, class_names) if file_name else {})


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
