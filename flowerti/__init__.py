"""flowerti: one learnt token for each weak class of an image data set, new images from it, and a fair trial of them.

    images -> classify -> select -> personalize -> sample -> score -> sweep -> confirm -> report

Words used throughout:

- *class*: a category of the user's data set; *weak*: selected because a classifier does badly on it.
- *base*: the frozen text-to-image model. *Token*: the placeholder word whose embedding rows are learnt.
- *technique*: a way to personalise the base for a class, as Textual Inversion (a token) or LoRA (low-rank matrices that
  are added to the base's U-Net, on top of the token); a row of `config.techniques`.
- *source* of a synthetic image: the class name, another name, the token, ...; a row of `tables.sources`.
- *arm* of the sweep: one way to train the classifier; a row of `tables.arms`, or made from a source.
- *ratio*: synthetic images of a weak class in training, as a multiple of its real training images.
- *floor*: the distance between two disjoint halves of the real images, at the same number of images.

For a person's own Python: `Run`, a run directory with its tables, images and tokens, and `run`, which starts one. Both
are imported when they are asked for.
"""

from typing import Any

_ADDRESSES = {"Run": "flowerti.reading.run", "run": "flowerti.starting"}
"""What the package hands out by name, and in which module it is: importing the package imports none of them."""


def __getattr__(name: str) -> Any:
    """`Run`, `run`, or `__version__`, which takes longer to look up than the rest of the command's start."""
    if name in _ADDRESSES:
        from importlib import import_module

        return getattr(import_module(_ADDRESSES[name]), name)
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("flowerti")
    except PackageNotFoundError:  # a check-out on a worker's path, not installed
        return "0+checkout"


def __dir__() -> list[str]:
    """With the names that are looked up."""
    return sorted([*globals(), *_ADDRESSES, "__version__"])
