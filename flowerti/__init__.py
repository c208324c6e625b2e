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

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("flowerti")
except PackageNotFoundError:  # a check-out on a worker's path, not installed
    __version__ = "0+checkout"
