"""COCO's polygons and runs: read as pycocotools reads them, refused where it would write past its buffers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pycocotools import mask as coco

from wsss_seed.data.rle import checked_shape, checked_size, rasterised, unpacked

H, W = 20, 30
UNFIT = (ValueError, TypeError, LookupError, OverflowError)


def test_sound_masks_are_those_of_pycocotools():
    dice = np.random.RandomState(0)
    for _ in range(100):
        height, width = (int(side) for side in dice.randint(1, 70, 2))
        mask = dice.rand(height, width) < dice.rand()
        packed = coco.encode(np.asfortranarray(mask, np.uint8))["counts"]
        runs = unpacked(packed, height * width)
        for counts in (packed, packed.decode(), runs.tolist()):
            shape = checked_shape({"counts": counts, "size": [height, width]}, height, width)
            np.testing.assert_array_equal(shape, runs)
            np.testing.assert_array_equal(rasterised(shape, height, width), mask)
        polygon = (dice.rand(2 * dice.randint(3, 9)) * 70 - 20).tolist()  # partly outside, as annotators draw
        want = coco.decode(coco.merge(coco.frPyObjects([polygon], 40, 50)))
        np.testing.assert_array_equal(rasterised(checked_shape([polygon], 40, 50), 40, 50), want)


def test_a_large_image_is_unpacked_exactly():
    """Its runs need several characters each, with differences in both directions."""
    runs = [0, 7_000_000, 5, 1, 30_000_000, 2_000_000, 3, 10_999_991]
    mask = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8).reshape(10_000, 5_000).T
    packed = coco.encode(np.asfortranarray(mask))["counts"]
    assert unpacked(packed, mask.size).tolist() == runs


@pytest.mark.parametrize("shape", [None, [], {}, "", [[1, 1, 30, 20]], [[]]])
def test_what_covers_no_pixel(shape: object):
    assert checked_shape(shape, H, W) is None


def square(value: object) -> list[list[object]]:
    return [[1, 1, 9, 1, 9, 9, value, 9]]


ZIGZAG = [[x for _ in range(80_000) for x in (0, 0, 30, 20)]]
PACKED = coco.encode(np.asfortranarray(np.eye(H, W, dtype=np.uint8)))["counts"].decode()


@pytest.mark.parametrize(
    "shape",
    [
        *(square(v) for v in (math.inf, -math.inf, math.nan, -1e9, 1e9, 4e8, 61, -31, 10**400, "1", None, True, [1])),
        ZIGZAG,
        [3],
        [None],
        "x",
        3,
        {"counts": [H * W]},
        {"size": [H, W]},
        *({"counts": [600], "size": size} for size in ([W, H], [H], [0, 0], [10**9, 10**9], None, "x", [math.nan, W])),
        *(
            {"counts": counts, "size": [H, W]}
            for counts in ([], [599], [601], [0, 600, 1], [700, -100], [600.0], [True, 599], ["600"], [2**64], [None])
        ),
        *(
            {"counts": counts, "size": [H, W]}
            for counts in ("", PACKED[:-3], PACKED + "1", PACKED + "o", "o" * 20 + "0", "é", "\0", " ", "PP", None, 3)
        ),
    ],
    ids=lambda shape: repr(shape)[:40],
)
def test_what_would_crash_is_refused(shape: object):
    with pytest.raises(UNFIT):
        checked_shape(shape, H, W)


def test_a_vertex_slightly_outside_is_normal():
    assert rasterised(checked_shape(square(-5), H, W), H, W)[:, 0].any()


@pytest.mark.parametrize(
    ("height", "width"),
    [(0, 3), (-1, 3), (10**9, 10**9), (10**9, 1), (1.5, 3), (True, 3), ("3", 3), (None, 3), (math.nan, 3),
     (math.inf, 3), ([3], 3), (16_000, 16_000)],
)  # fmt: skip
def test_sizes_that_no_image_has(height: object, width: object):
    for sides in ((height, width), (width, height)):
        with pytest.raises(ValueError, match=r"not a size in pixels|more than 250 megapixels"):
            checked_size(*sides)
    assert checked_size(20, 30.0) == (20, 30)


def test_damaged_text_never_gives_another_number_of_pixels():
    dice = np.random.RandomState(3)
    data = np.frombuffer(PACKED.encode(), np.uint8)
    sound = 0
    for _ in range(500):
        damaged = data.copy()
        damaged[dice.randint(len(data), size=2)] = dice.randint(48, 112, 2)
        try:
            runs = unpacked(damaged.tobytes(), H * W)
        except ValueError:
            continue
        sound += 1
        assert runs.min() >= 0
        assert runs.sum() == H * W
    assert 0 < sound < 500
