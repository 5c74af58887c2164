"""Where the reference arrays lie."""

import os
from pathlib import Path

FOLDER = Path(os.environ.get("WSSS_SEED_GOLDENS") or Path(__file__).parents[3] / "shared" / "goldens")
