"""Lets the tests of one technique, which are in folders below, import what all share from this folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
