"""What tests of techniques share lies in this folder; those of one technique are in folders below."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
