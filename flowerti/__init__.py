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
"""


def __getattr__(name: str) -> str:
    """`__version__`, looked up when it is asked for: it takes longer than the rest of the command's start."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("flowerti")
    except PackageNotFoundError:  # a check-out on a worker's path, not installed
        return "0+checkout"
