"""Box-prompted segmentation with a small random SAM of the real class."""

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.utils.amg import remove_small_regions

from tests.rounding import FLIPPED, ROUNDING
from wsss_seed.seeding.detection.box_masks import (
    grow,
    mask_logits,
    pixel_window,
    region_area_limit,
    trim_masks,
)
from wsss_seed.seeding.detection.settings import SamSettings

SHAPE = (90, 120)
BOXES = np.array([[10, 10, 60, 50], [0, 0, 120, 90], [70.4, 20.2, 110.7, 80.9], [3, 60, 9, 66]], np.float32)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)


@pytest.fixture(scope="module")
def embedding(sam, image):
    return sam.embed(image)


OPEN = {"min_region_area": 0, "min_box_coverage": 0.0, "pred_iou_thresh": -1.0}


def cut_masks(sam, embedding, boxes, shape, **settings):
    s = SamSettings(**settings)
    return trim_masks(mask_logits(sam, embedding, boxes, shape, s.output), boxes, shape, s, s.pred_iou_thresh)


def on_image(cut):
    out = np.zeros(SHAPE, bool)
    h, w = cut.mask.shape
    out[cut.y : cut.y + h, cut.x : cut.x + w] = cut.mask
    return out


def inside(box, part=0.05):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    x0, y0, x1, y1 = grow(box, part)
    return (x >= x0) & (x < x1) & (y >= y0) & (y < y1)


def shifted(sam, embedding):
    """Random masks lie anywhere; logits moved to their median give masks with holes and islands in every box."""

    class Shifted(type(sam)):
        def logits(self, embedding, low_res):
            full = super().logits(embedding, low_res)
            return full - full.flatten(1).median(1).values[:, None, None]

    return Shifted(sam.model)


@pytest.mark.parametrize(("output", "level"), [("single", None), ("best", "best"), ("whole", 2)])
def test_masks_are_the_library_s_inside_the_grown_box(sam, image, embedding, output, level):
    """The chosen token's mask, logits > 0, cut off 5 % outside the box."""
    predictor = SamPredictor(sam.model)
    predictor.set_image(image)
    compared = 0
    for box, cut in zip(BOXES, cut_masks(sam, embedding, BOXES, SHAPE, output=output, **OPEN), strict=True):
        masks, ious, _ = predictor.predict(box=box, multimask_output=level is not None)
        i = {None: 0, "best": int(ious.argmax()), 2: 2}[level]
        expected = masks[i] & inside(box)
        if expected.any():
            assert cut.valid
            assert (on_image(cut) != expected).mean() < FLIPPED
            compared += 1
        assert cut.iou == pytest.approx(float(ious[i]), rel=ROUNDING)
    assert compared


def test_masks_are_cleaned_as_in_the_whole_image(sam, embedding):
    """Holes and islands below the area go, judged in the image, not in the window."""
    model = shifted(sam, embedding)
    raw = cut_masks(model, embedding, BOXES, SHAPE, **OPEN)
    clean = cut_masks(model, embedding, BOXES, SHAPE, **{**OPEN, "min_region_area": 30})
    changed = 0
    for box, a, b in zip(BOXES, raw, clean, strict=True):
        expected, _ = remove_small_regions(on_image(a), 30, "holes")
        expected, _ = remove_small_regions(expected, 30, "islands")
        np.testing.assert_array_equal(on_image(b), expected & inside(box))
        changed += int((a.mask != b.mask).any())
    assert changed


@pytest.mark.parametrize(
    ("shape", "limit"),
    [
        ((90, 120), 100),
        ((375, 500), 100),
        ((500, 500), 100),
        ((480, 640), 164),
        ((3000, 4000), 6400),
        ((4000, 3000), 6400),
    ],
)
def test_the_smallest_region_grows_with_images_beyond_voc_s(shape, limit):
    assert region_area_limit(100, shape) == limit
    assert region_area_limit(0, shape) == 0


def test_an_island_that_counts_in_a_small_image_goes_in_a_large_one():
    """The same logits, of an object with an island of 12 x 12 pixels, in images of 300 and of 3,000 pixels."""
    logits = torch.full((300, 300), -1.0)
    logits[20:220, 20:220] = 1
    logits[250:262, 250:262] = 1
    for factor, kept in ((1, True), (10, False)):
        shape = (300 * factor,) * 2
        canvas = torch.full(shape, -1.0)
        canvas[:300, :300] = logits
        box = np.array([[0, 0, 300, 300]], np.float32)
        [cut] = trim_masks([(canvas, None)], box, shape, SamSettings(min_region_area=100))
        assert cut.mask[255, 255] == kept
        assert cut.mask[100, 100]


def test_probability_is_the_sigmoid_of_the_logits(sam, embedding):
    low_res, _ = sam.decode_boxes(embedding, BOXES, multimask=False)
    full = sam.logits(embedding, low_res[:, 0]).sigmoid().numpy()
    cuts = cut_masks(sam, embedding, BOXES, SHAPE, **OPEN)
    assert any(cut.valid for cut in cuts)
    for cut, expected in zip(cuts, full, strict=True):
        if cut.valid:
            h, w = cut.mask.shape
            np.testing.assert_allclose(cut.probability, expected[cut.y : cut.y + h, cut.x : cut.x + w], atol=1e-3)


def test_a_dropped_mask_leaves_the_core_of_its_box(sam, embedding):
    """Covering too little of the box, or of too low a predicted IoU; the central 50 % of each side stay."""
    box = np.array([[20, 10, 60, 50]], np.float32)
    model = shifted(sam, embedding)
    cover = cut_masks(model, embedding, box, SHAPE, **OPEN)[0].mask.sum() / 1600
    assert 0.01 < cover < 0.99
    iou = cut_masks(model, embedding, box, SHAPE, **OPEN)[0].iou
    for kwargs, valid in (
        ({"min_box_coverage": cover - 1e-4, "pred_iou_thresh": -1.0}, True),
        ({"min_box_coverage": cover + 1e-4, "pred_iou_thresh": -1.0}, False),
        ({"min_box_coverage": 0.0, "pred_iou_thresh": iou - 1e-4}, True),
        ({"min_box_coverage": 0.0, "pred_iou_thresh": iou + 1e-4}, False),
    ):
        [cut] = cut_masks(model, embedding, box, SHAPE, min_region_area=0, **kwargs)
        assert cut.valid == valid
        if not valid:
            assert (cut.x, cut.y, *cut.mask.shape) == (30, 20, 20, 20)
            assert cut.mask.all()


def test_pixels_whose_centres_lie_in_the_box():
    assert pixel_window(np.array([2.5, 3.51, 7.5, 7.49]), SHAPE) == (2, 4, 7, 7)
    assert pixel_window(np.array([-9.0, -9, 500, 500]), SHAPE) == (0, 0, 120, 90)
    assert pixel_window(np.array([4.6, 4.6, 5.4, 5.4]), SHAPE) == (4, 4, 5, 5)
    assert pixel_window(np.array([0.0, 0, 1, 1]), (1, 1)) == (0, 0, 1, 1)
    assert pixel_window(np.array([119.9, 89.9, 120, 90]), SHAPE) == (119, 89, 120, 90)


def test_boxes_do_not_depend_on_one_another(sam, embedding):
    together = cut_masks(sam, embedding, BOXES, SHAPE, **OPEN)
    for i, cut in enumerate(together):
        [alone] = cut_masks(sam, embedding, BOXES[i : i + 1], SHAPE, **OPEN)
        assert (alone.mask != cut.mask).mean() < 0.01


@pytest.mark.parametrize("output", ["single", "best"])
def test_boxes_do_not_wait_for_the_device_one_by_one(sam, embedding, monkeypatch, output):
    """On a GPU every transfer waits: masks and predicted IoUs come in one each, however many boxes there are."""
    copies, copy = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: copies.append(tensor.shape) or copy(tensor))
    for repeated in (1, 10):
        copies.clear()
        found = list(mask_logits(sam, embedding, np.tile(BOXES, (repeated, 1)), SHAPE, output))
        assert len(found) == 4 * repeated
        assert all(logits.device.type == "cpu" for logits, _ in found)
        assert len(copies) == 2
