"""What the report calls things: sources, arms and verdicts in plain words, figures by file name.

Page and figures both take their words from here. This module knows nothing else.
"""

from flowerti.artifacts.identity import slug

SOURCE_NAMES = {
    "real": "real",
    "raw": "class name",
    "alternative_name": "other name",
    "latin_name": "Latin name",
    "token": "learnt token",
    "lora": "token and adapter",
}
ARM_NAMES = SOURCE_NAMES | {
    "real": "real only",
    "balanced": "balanced sampling",
    "balanced_softmax": "balanced softmax",
    "augmented": "augmentation",
    "repeated": "own images repeated",
    "shuffled_token": "another class's token",
    "token_replace": "token instead of real",
}
VERDICT_NAMES = {
    "token": "the token is needed",
    "better_name_is_enough": "a better name is enough",
    "class_name_is_enough": "the class name is enough",
    "undecided": "undecided",
}


def arm_name(arm: str) -> str:
    """An arm in plain words; "a+token" is token images on top of the control a."""
    control, plus, source = arm.partition("+")
    known = ARM_NAMES.get(control, control)
    return f"{known} and {ARM_NAMES.get(source, source)}" if plus else known


def strip_file(class_name: str) -> str:
    """The figure with the first images of each set of a class."""
    return f"grid_{slug(class_name)}.png"


def matrix_file(extractor: str, metric: str) -> str:
    """The figure with the distances of each set to all classes."""
    return f"matrix_{slug(extractor)}.{slug(metric)}.png"


def copies_file(class_name: str, source: str, extractor: str) -> str:
    """The figure with the images of a set that come nearest to training images."""
    return f"copies_{slug(class_name)}.{slug(source)}.{slug(extractor)}.png"
