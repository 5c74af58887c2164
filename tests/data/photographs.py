"""Small photographs, and a look at what every folder of them must hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from wsss_seed.data import check_id, open_dataset
from wsss_seed.data.check import check_dataset
from wsss_seed.data.ids import folded
from wsss_seed.errors import ImageError


def photo(path: Path, width: int = 4, height: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(path)
    return path


def refused(root: Path) -> dict[str, str]:
    """Open a folder: id -> error of the images that fail, after a look at what must hold for every folder."""
    d = open_dataset("folder", root, classes="cat,")
    errors = {}
    for sample in d:
        assert check_id(sample.id) == sample.id
        try:
            assert d.image(sample).shape == (3, 4, 3)
        except ImageError as e:
            errors[sample.id] = str(e)
    assert all(error.isprintable() and error.endswith("; rename the image") for error in errors.values())
    assert len({folded(s.id) for s in d}) == len(d)
    report = check_dataset(d)
    assert sorted(report.problems) == sorted(errors.values())
    return errors
