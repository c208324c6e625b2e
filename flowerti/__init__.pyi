# What `__getattr__` of the package hands out, for programs that read types.
from flowerti.reading.run import Run as Run
from flowerti.starting import run as run

__version__: str
