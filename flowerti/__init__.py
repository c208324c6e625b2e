"""flowerti: one learnt token for each weak class of an image data set, new images from it, and a fair trial of them.

    images -> classify -> select -> invert -> adapt -> sample -> score -> sweep -> report

Words used throughout:

- *class*: a category of the user's data set; *weak*: selected because a classifier does badly on it.
- *base*: the frozen text-to-image model. *Token*: the placeholder word whose embedding rows are learnt.
  *Concept*: a class together with its learnt token.
- *adapter*: low-rank matrices that are added to the base's U-Net for one class, on top of its token.
- *source* of a synthetic image: `raw` (prompt with the class name), `alternative_name`, `latin_name`, `token`,
  or `lora` (the token, drawn with the class's adapter).
- *ratio*: synthetic images of a weak class in training, as a multiple of its real training images.
- *floor*: the distance between two disjoint halves of the real images, at the same number of images.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("flowerti")
except PackageNotFoundError:  # a check-out on a worker's path, not installed
    __version__ = "0+checkout"
