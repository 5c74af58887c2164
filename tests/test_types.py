"""Seeds and instances as a user handles them."""

import numpy as np
import pytest

from wsss_seed.data.classes import load_class_set
from wsss_seed.data.images import read_labels
from wsss_seed.types import Instance, Seed

LABELS = np.array([[0, 1, 1], [2, 255, 0]], np.uint8)


def test_a_mask_lies_at_its_window():
    window = np.array([[True, False], [True, True]])
    mask = Instance(0, 0.5, (1, 0, 3, 2), (3, 4), (1, 1), window).mask
    assert mask.astype(int).tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0]]


def test_names_saving_and_drawing(tmp_path):
    image = np.full((2, 3, 3), 100, np.uint8)
    seed = Seed(LABELS, np.ones((2, 3), np.float32), (0, 1), image=image, class_set=load_class_set("cat, dog"))
    assert seed.names == ("cat", "dog")
    seed.save(str(tmp_path / "a.png"))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), LABELS)
    assert np.asarray(seed.plot(1.0))[0].tolist() == [[100] * 3, [128, 0, 0], [128, 0, 0]]
    assert seed._repr_png_() is not None


def test_what_a_backend_returns_lacks_image_and_classes():
    seed = Seed(LABELS, np.ones((2, 3), np.float32), (0,))
    assert seed._repr_png_() is None
    for use in (lambda: seed.names, seed.plot, lambda: seed.save("a.png")):
        with pytest.raises(ValueError, match="does not have its"):
            use()
