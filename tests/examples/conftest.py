"""The scripts of examples/tiny_models import each other by name, as when they are run from there."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples/tiny_models"))
