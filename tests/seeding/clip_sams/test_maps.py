"""Normalisation and resizing of maps."""

import torch
from torch.nn.functional import interpolate

from wsss_seed.seeding.clip_sams.maps import EPSILON, minmax, resized, score


def test_minmax_is_per_map_with_epsilon_added_to_the_range():
    maps = torch.tensor([[[0.0, 1.0], [2.0, 4.0]], [[5.0, 5.0], [5.0, 5.0]]])
    got = minmax(maps)
    torch.testing.assert_close(got[0], maps[0] / (4 + EPSILON))
    assert (got[1] == 0).all()
    tiny = torch.tensor([[[0.0, 1e-7]]])
    torch.testing.assert_close(minmax(tiny), torch.tensor([[[0.0, 0.5]]]))


def test_scores_cut_negative_values_first():
    torch.testing.assert_close(score(torch.tensor([[[-3.0, 0.0, 1.0, 2.0]]])), torch.tensor([[[0.0, 0.0, 0.5, 1.0]]]))


def test_resizing_is_bilinear_with_half_pixel_centres():
    maps = torch.rand(3, 4, 5)
    torch.testing.assert_close(
        resized(maps, (9, 7)), interpolate(maps[None], (9, 7), mode="bilinear", align_corners=False)[0]
    )
    assert resized(maps, (4, 5)) is not None
    assert torch.equal(resized(maps, (4, 5)), maps)
    assert resized(maps[:0], (9, 7)).shape == (0, 9, 7)
