"""Optional packages that bring a network or its weights.

This module does not know which networks there are.
"""

import importlib.util

from flowerti.features.state_dicts import FIELDS


def require_packages(name: str, packages: tuple[str, ...]) -> None:
    """Check, without importing them, that the packages behind a network are installed.

    Raises:
        ValueError: some are not; says how to install them.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        distributions = " ".join(package.replace("_", "-") for package in missing)
        raise ValueError(f"{name!r} ({FIELDS}) needs packages that are missing: pip install {distributions}")
