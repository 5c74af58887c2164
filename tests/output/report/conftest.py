"""Ground truth for the odd run."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.output.odd_run import label_maps


@pytest.fixture
def truth(run, tmp_path) -> Path:
    """Ground truth a little beside the masks."""
    for name, labels in label_maps().items():
        path = tmp_path / "truth" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        labels = np.roll(labels, 2, 1)
        labels[:1] = 255
        labels[1, :] = 2
        Image.fromarray(labels).save(path)
    return tmp_path / "truth"
