"""Points decoded in batches, and masks enlarged in windows, against segment_anything's own."""

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from tests.models.test_sam import picture, random_model
from tests.rounding import assert_same
from wsss_seed.models import sam_points, upsample
from wsss_seed.models.sam import Sam


@pytest.fixture(scope="module")
def sam():
    return Sam(random_model())


def predicted(sam, image, points):
    predictor = SamPredictor(sam.model)
    predictor.set_image(image)
    moved = torch.as_tensor(predictor.transform.apply_coords(points, image.shape[:2]))[:, None]
    return predictor.predict_torch(moved, torch.ones(len(points), 1), multimask_output=True, return_logits=True)


def some_points(h, w, n, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (n, 2)) * (w, h)


@pytest.mark.parametrize("size", [(64, 64), (60, 91), (203, 48), (1, 1), (1, 100), (400, 600)])
def test_points_equal_sam_predictor(sam, size):
    image, points = picture(*size), some_points(*size, 11)
    _, want_iou, want = predicted(sam, image, points)
    answers = list(sam.decode_points(sam.embed(image), points, chunk=4))
    assert [len(a.iou) for a in answers] == [4, 4, 3]
    assert_same(torch.cat([a.iou for a in answers]), want_iou)
    every = [a.low_res(torch.ones_like(a.iou, dtype=torch.bool)) for a in answers]
    assert_same(torch.cat(every), want.flatten(0, 1))


def test_only_chosen_masks_are_painted(sam, monkeypatch):
    image = picture(50, 70)
    (answers,) = sam.decode_points(sam.embed(image), some_points(50, 70, 20))
    every = answers.low_res(torch.ones(20, 3, dtype=torch.bool)).view(20, 3, 32, 32)
    chosen = torch.from_numpy(np.random.default_rng(1).random((20, 3)) < 0.3)
    assert_same(answers.low_res(chosen), every[chosen])
    monkeypatch.setitem(sam_points._MASK_ELEMENTS, "cpu", 1)
    assert_same(answers.low_res(chosen), every[chosen])
    assert answers.low_res(torch.zeros(20, 3, dtype=torch.bool)).shape == (0, 32, 32)


def test_points_are_decoded_in_batches_that_fit_the_cache(sam, monkeypatch):
    embedding, points = sam.embed(picture(50, 70)), some_points(50, 70, 7)
    (whole,) = sam.decode_points(embedding, points)
    monkeypatch.setitem(sam_points._IMAGE_ELEMENTS, "cpu", 3 * embedding.features.numel() / torch.get_num_threads())
    parts = list(sam.decode_points(embedding, points))
    assert [len(part.iou) for part in parts] == [3, 3, 1]
    assert_same(torch.cat([part.iou for part in parts]), whole.iou)
    every = torch.cat([part.low_res(torch.ones_like(part.iou, dtype=torch.bool)) for part in parts])
    assert_same(every, whole.low_res(torch.ones_like(whole.iou, dtype=torch.bool)))


def test_no_points(sam):
    assert list(sam.decode_points(sam.embed(picture(20, 30)), np.zeros((0, 2)))) == []


def blobs(n, seed=0):
    """Logits of masks of many sizes, some touching the border of the grid, one nowhere positive, one everywhere."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    centre, radius = rng.uniform(0, 32, (n, 2, 1, 1)), rng.uniform(0.5, 12, (n, 1, 1))
    logits = 2 * (radius - np.hypot(y - centre[:, 0], x - centre[:, 1])) + rng.normal(0, 0.5, (n, 32, 32))
    logits[0], logits[1] = -5, 5
    return torch.from_numpy(logits).float()


@pytest.mark.parametrize("portion", [1, 2**19])
@pytest.mark.parametrize("size", [(64, 64), (60, 91), (203, 48), (5, 3), (1, 100), (400, 600)])
@pytest.mark.parametrize("floor", [-1.0, 0.0])
def test_windows_hold_all_that_is_above_the_floor(sam, size, floor, portion, monkeypatch):
    monkeypatch.setitem(upsample.WINDOW_PIXELS, "cpu", portion)
    embedding, low_res = sam.embed(picture(*size)), blobs(9)
    want = sam.logits(embedding, low_res)
    got = torch.full_like(want, -100)
    seen = []
    for which, top, left, logits in sam.upsampled_windows(embedding, low_res, floor):
        height, width = logits.shape[1:]
        seen += which.tolist()
        got[which, top : top + height, left : left + width] = logits
    assert seen == sorted(set(seen))
    assert 0 not in seen
    inside = got > -100
    assert_same(got[inside], want[inside])
    assert (want[~inside] <= floor + 1e-4).all()
    if portion == 1 and size == (400, 600):
        assert inside.float().mean() < 0.6  # windows are for not doing all
