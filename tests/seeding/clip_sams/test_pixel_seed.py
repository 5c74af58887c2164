"""Seeds from maps alone, by hand."""

import numpy as np
import torch

from wsss_seed.seeding.clip_sams.pixel_seed import pixel_seed


def test_the_best_class_wins_and_background_wins_ties():
    cams = torch.tensor([[[4.0, 2.0, 0.0, -1.0]], [[0.0, 0.0, 1.0, 0.4]]])
    labels, confidence = pixel_seed(cams, (6, 2), (1, 4))
    assert labels.tolist() == [[7, 0, 3, 0]]  # 0.5 against 0.5, and 0.6 against 0.4, are background
    np.testing.assert_allclose(confidence, [[1, 0.5, 1, 0.6]], atol=1e-6)


def test_a_larger_exponent_leaves_less_background():
    cams = torch.tensor([[[4.0, 2.0, 1.0, 0.0]]])
    shares = [(pixel_seed(cams, (0,), (1, 4), exponent)[0] == 0).sum() for exponent in (0.5, 1, 2, 8)]
    assert shares == [3, 3, 2, 1]


def test_maps_are_upsampled_before_they_are_normalised():
    labels, confidence = pixel_seed(torch.rand(1, 3, 3), (0,), (12, 9))
    assert labels.shape == confidence.shape == (12, 9)
    assert confidence.max() == 1
    assert labels.dtype == np.uint8
