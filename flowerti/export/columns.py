"""What is told of each image of an exported training set, and in which type: one list for all forms.

This module opens no file.
"""

from collections.abc import Sequence
from typing import Any

from flowerti.export.training_set import ExportImage

COLUMNS: dict[str, str] = {
    "is_synthetic": "bool",
    "image_id": "string",
    "source": "string",
    "mode": "string",
    "prompt": "string",
    "negative_prompt": "string",
    "guidance_scale": "float64",
    "seed": "int64",
    "index": "int64",
    "learning": "int64",
    "source_image": "string",
    "source_class": "string",
    "strength": "float64",
    "label_share": "float64",
    "weight": "float64",
}
"""Name -> type, as Arrow and Hugging Face `datasets` call it. `image_id` is a real image's name in the data set, the
rest is of drawn ones; `label_share` of the label is the image's class's, the rest `source_class`'s."""
_DEFAULTS = {"weight": 1.0, "label_share": 1.0}


def columns_of(image: ExportImage) -> dict[str, Any]:
    """The columns of an image; None where it has no such thing."""
    known = {"is_synthetic": image.is_synthetic, **image.fields}
    found = {name: known.get(name) for name in COLUMNS}
    return {name: _DEFAULTS.get(name) if value is None else value for name, value in found.items()}


def counts_of(images: Sequence[ExportImage]) -> dict[str, tuple[int, int]]:
    """Real and drawn images of each class that has any."""
    found: dict[str, tuple[int, int]] = {}
    for image in images:
        num_real, num_drawn = found.get(image.class_name, (0, 0))
        found[image.class_name] = (num_real + (not image.is_synthetic), num_drawn + image.is_synthetic)
    return found
