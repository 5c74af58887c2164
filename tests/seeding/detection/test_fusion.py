"""Fusion and ignore rules on small drawn masks whose outcome one can read off."""

import itertools

import numpy as np
import pytest

from wsss_seed.seeding.detection.fusion import ScoredMask, contested, overlaps
from wsss_seed.seeding.detection.fusion import duplicate_masks as duplicates_of
from wsss_seed.seeding.detection.fusion import fuse as fuse_with
from wsss_seed.seeding.detection.fusion import painting_order as order_of
from wsss_seed.seeding.detection.settings import FusionSettings, IgnoreSettings

A, B, C = 0, 1, 2
SHAPE = (4, 12)


def fuse(confident, ambiguous, shape, *, missing=False, **settings):
    own = {key: settings.pop(key) for key in ("order", "per_pixel") if key in settings}
    rules = FusionSettings(**own), IgnoreSettings(**settings)
    return fuse_with(confident, ambiguous, overlaps(confident), shape, *rules, missing=missing)


def duplicate_masks(instances, iou_threshold):
    return duplicates_of(instances, overlaps(instances), iou_threshold)


def painting_order(instances, order):
    return [instances[k] for k in order_of(instances, overlaps(instances).diagonal(), order)]


def row(cls, score, start, stop, *, rows=(0, 4), p=1.0, query=0, margin=0):
    """A mask of columns start..stop-1, in a window with a margin."""
    y0, y1 = max(rows[0] - margin, 0), min(rows[1] + margin, SHAPE[0])
    x0, x1 = max(start - margin, 0), min(stop + margin, SHAPE[1])
    full = np.zeros(SHAPE, bool)
    full[rows[0] : rows[1], start:stop] = True
    mask = full[y0:y1, x0:x1]
    probability = np.broadcast_to(np.float16(p), mask.shape) if np.isscalar(p) else np.float16(p)[y0:y1, x0:x1]
    return ScoredMask(cls, score, (start, rows[0], stop, rows[1]), x0, y0, mask, probability, query)


def line(labels):
    """A label map whose rows are all the same, as text: '.' background, '?' ignore, else the class."""
    assert (labels == labels[0]).all()
    return "".join({0: ".", 255: "?"}.get(int(v), "-ABC"[min(v, 3)]) for v in labels[0])


def text(high, low=(), **kwargs):
    return line(fuse(high, low, SHAPE, **kwargs)[0])


def test_small_objects_end_on_top():
    """Descending area, whatever the scores."""
    assert text([row(A, 0.9, 1, 10), row(B, 0.4, 3, 6)]) == ".AABBBAAAA.."


def test_equal_areas_paint_by_rising_score_then_by_key():
    """Ties ascending s', then class and box."""
    assert text([row(A, 0.9, 0, 6), row(B, 0.5, 3, 9)]) == "AAAAAABBB..."
    assert text([row(A, 0.5, 0, 6), row(B, 0.9, 3, 9)]) == "AAABBBBBB..."
    assert text([row(B, 0.5, 0, 6), row(A, 0.5, 3, 9)], contest_margin=0.0) == "BBBBBBAAA..."


def test_score_paints_the_strong_over_the_weak():
    assert text([row(A, 0.9, 1, 10), row(B, 0.4, 3, 6)], order="score") == ".AAAAAAAAA.."
    assert text([row(A, 0.4, 1, 10), row(B, 0.9, 3, 6)], order="score") == ".AABBBAAAA.."


@pytest.mark.parametrize(
    ("small", "score", "expected"),
    [
        ((5, 10), 0.4, "AAAAAAAABB.."),  # 0.6 of the small one overlaps, the large one is stronger
        ((5, 10), 0.95, "AAAAABBBBB.."),  # the small one is stronger
        ((4, 9), 0.4, "AAAABBBBB..."),  # 0.8 overlaps: it lies on the large one
    ],
)
def test_area_score_lets_the_stronger_win_a_partial_overlap(small, score, expected):
    """Overlap < 0.8 of the small mask and different classes -> the higher s' wins."""
    assert text([row(A, 0.9, 0, 8), row(B, score, *small)], order="area_score") == expected


def test_area_score_leaves_what_lies_below_the_loser():
    """The rule is one of pairs."""
    pile = [row(C, 0.5, 0, 11), row(A, 0.9, 0, 6), row(B, 0.6, 4, 9)]
    assert text(pile, order="area_score") == "AAAAAABBBCC."


def test_the_detector_s_order_is_the_bare_reference():
    """Later overwrites earlier, uncovered = 0, no 255."""
    big, small = row(A, 0.9, 1, 10, query=1), row(B, 0.9, 3, 6, query=0)
    assert text([big, small], [row(C, 0.3, 8, 12)], order="detector", missing=True) == ".AAAAAAAAA.."
    assert text([row(A, 0.9, 1, 10, query=0), row(B, 0.9, 3, 6, query=1)], order="detector") == ".AABBBAAAA.."


def test_exact_rule_weighs_score_and_probability_at_each_pixel():
    """s' * sigmoid(logit) decides where masks share pixels."""
    p = np.tile(np.linspace(0.5, 1.0, 12), (4, 1))
    a, b = row(A, 0.8, 0, 8, p=0.875), row(B, 0.95, 2, 9, p=p)
    # 0.8 * 0.875 = 0.70 against 0.95 * p, p = 0.5 + x / 22: B wins from p > 0.737, x >= 6
    assert text([a, b], per_pixel=True) == "AAAAAABBB..."
    assert text([a, b]) == "AABBBBBBB..."


def test_duplicate_guard_removes_the_weaker_of_two_classes():
    """IoU >= 0.80 of different classes; tie: the later key goes."""
    assert duplicate_masks([row(A, 0.5, 0, 10), row(B, 0.6, 0, 8)], 0.80) == [True, False]
    assert duplicate_masks([row(A, 0.5, 0, 10), row(B, 0.6, 0, 7)], 0.80) == [False, False]
    assert duplicate_masks([row(A, 0.5, 0, 10), row(A, 0.6, 0, 8)], 0.80) == [False, False]
    assert duplicate_masks([row(B, 0.5, 0, 10), row(A, 0.5, 0, 10)], 0.80) == [True, False]
    assert duplicate_masks([row(A, 0.5, 1, 10), row(A, 0.5, 1, 9), row(B, 0.5, 0, 10)], 0.80) == [False, False, True]


def test_one_that_has_gone_removes_no_other():
    """A and B, B and C are twins, A and C are not."""
    twins = [row(A, 0.9, 0, 8), row(B, 0.8, 0, 9), row(C, 0.7, 0, 11)]
    assert duplicate_masks(twins, 0.80) == [False, True, False]


def test_only_uncovered_pixels_of_the_low_pool_become_255():
    assert text([row(A, 0.9, 2, 6)], [row(B, 0.25, 4, 9)]) == "..AAAA???..."


@pytest.mark.parametrize(
    ("b", "expected"),
    [
        (row(B, 0.51, 4, 10), "AAAA??BBBB.."),  # scores 0.01 apart
        (row(B, 0.55, 4, 10), "AAAABBBBBB.."),  # 0.05 apart: no contest
        (row(B, 0.51, 2, 7), "AABBBBB....."),  # 0.8 of B lies on A: no contest
        (row(B, 0.51, 3, 8), "AAA???BB...."),  # 0.6 of B
        (row(A, 0.51, 4, 10), "AAAAAAAAAA.."),  # the same class
    ],
)
def test_contested_pixels_become_255(b, expected):
    """|s1 - s2| < 0.05, and neither mask contains 0.8 of the other."""
    a = row(A, 0.5, 0, 6)
    assert text([a, b]) == expected
    assert text([b, a]) == expected


def test_only_the_two_best_classes_of_a_pixel_contest_it():
    """B and C would contest columns 4 and 5, but A is far better there."""
    b, c = row(B, 0.5, 2, 6), row(C, 0.5, 4, 9)
    assert text([b, c]) == "..BB??CCC..."
    assert text([row(A, 0.9, 0, 12), b, c]) == "AABBBBCCCAAA"


def test_a_second_instance_of_the_best_class_is_no_rival():
    """Of two As and a B on a pixel, the best A and the B count."""
    two = [row(A, 0.9, 0, 6), row(A, 0.88, 3, 9), row(B, 0.87, 5, 12)]
    found = contested(two, overlaps(two), SHAPE, 0.05)
    assert np.flatnonzero(found[0]).tolist() == [5, 6, 7, 8]
    far = [row(A, 0.95, 0, 6), row(A, 0.88, 3, 9), row(B, 0.87, 5, 12)]
    found = contested(far, overlaps(far), SHAPE, 0.05)
    assert np.flatnonzero(found[0]).tolist() == [6, 7, 8]


def test_a_missing_class_makes_all_uncovered_pixels_255():
    assert text([row(A, 0.9, 2, 6)], missing=True) == "??AAAA??????"
    assert text([], missing=True) == "?" * 12


def test_everything_else_is_background():
    assert text([]) == "." * 12


def test_boundary_band_where_sam_is_unsure():
    """|logit| < 1, that is 0.269 < p < 0.731, within the width, on both sides of the outline."""
    p = np.tile([0.0, 0.2, 0.3, 0.7, 0.72, 0.9, 0.9, 0.7, 0.4, 0.3, 0.1, 0], (4, 1))
    a = row(A, 0.9, 3, 8, p=p, margin=3)
    assert text([a]) == "...AAAAA...."
    assert text([a], boundary=1) == "..??AAA??..."
    assert text([a], boundary=2) == "..???AA???.."


def test_boundary_of_what_lies_below_is_hidden():
    """A band counts where its mask, or what it lies on, is seen; not inside its own class."""
    below = row(A, 0.9, 0, 8, p=0.6, margin=1)
    above = row(B, 0.5, 6, 10, margin=1)
    assert text([below, above], boundary=1) == "AAAAAABBBB.."
    assert text([below, row(A, 0.5, 6, 10, p=0.6, margin=1)], boundary=1) == "AAAAAAAAA??."


def test_boundary_of_what_yields_is_hidden():
    """The part of B that A wins has no outline to be seen."""
    a, b = row(A, 0.9, 0, 8, margin=1), row(B, 0.6, 5, 10, p=0.6, margin=1)
    assert text([a, b], order="area_score", boundary=1) == "AAAAAAAAB??."
    assert text([a, b], per_pixel=True, boundary=1) == "AAAAAAAAB??."
    assert text([a, b], boundary=1) == "AAAA??BBB??."


def test_confidence():
    """Painted: score times probability. Background: 1 - the best such product. 255: 0."""
    p = np.tile([0.0, 0.0, 0.25, 0.75, 1.0, 1.0, 0.5, 0, 0, 0, 0, 0], (4, 1))
    a, low = row(A, 0.8, 3, 6, p=p, margin=2), row(B, 0.25, 9, 11, p=0.5)
    labels, confidence = fuse([a], [low], SHAPE)
    assert line(labels) == "...AAA...??."
    np.testing.assert_allclose(confidence[0], [1, 1, 0.8, 0.6, 0.8, 0.8, 0.6, 1, 1, 0, 0, 1], atol=1e-6)
    assert confidence.dtype == np.float32
    assert labels.dtype == np.uint8


def random_instances(seed, n=7, shape=(20, 30)):
    rng = np.random.default_rng(seed)
    found = []
    for k in range(n):
        x, y = int(rng.integers(0, 15)), int(rng.integers(0, 8))
        h, w = int(rng.integers(3, shape[0] - y + 1)), int(rng.integers(3, shape[1] - x + 1))
        p = rng.random((h, w)).astype(np.float16)
        score = float(rng.choice([0.4, 0.42, 0.6]))
        found.append(ScoredMask(int(rng.integers(0, 3)), score, (x, y, x + w, y + h), x, y, p > 0.4, p, k))
    return found


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"order": "score"},
        {"order": "area_score"},
        {"per_pixel": True},
        {"boundary": 2},
        {"missing": True},
    ],
)
def test_no_outcome_depends_on_the_order_of_the_detections(kwargs):
    """Nor is any value outside 0..K and 255."""
    for seed in range(10):
        high, low = random_instances(seed), random_instances(seed + 100, 3)
        labels, confidence = fuse(high, low, (20, 30), **kwargs)
        assert set(np.unique(labels)) <= {0, 1, 2, 3, 255}
        assert labels.shape == confidence.shape == (20, 30)
        assert ((confidence >= 0) & (confidence <= 1)).all()
        assert (confidence[labels == 255] == 0).all()
        mixed = fuse(high[::-1], [low[i] for i in (2, 0, 1)], (20, 30), **kwargs)
        assert (labels == mixed[0]).all()
        assert (confidence == mixed[1]).all()


def test_windows_give_what_whole_masks_give():
    def whole(i):
        mask, p = np.zeros((20, 30), bool), np.zeros((20, 30), np.float16)
        mask[i.window], p[i.window] = i.mask, i.probability
        return ScoredMask(i.cls, i.score, i.box, 0, 0, mask, p, i.query)

    for seed in range(5):
        high, low = random_instances(seed), random_instances(seed + 100, 3)
        wide = [whole(i) for i in high], [whole(i) for i in low]
        assert (overlaps(high) == overlaps(wide[0])).all()
        assert duplicate_masks(high, 0.3) == duplicate_masks(wide[0], 0.3)
        for a, b in zip(fuse(high, low, (20, 30)), fuse(*wide, (20, 30)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_contested_pixels_agree_with_the_definition_pixel_by_pixel():
    for seed in range(10):
        found = random_instances(seed)
        shared = overlaps(found)
        got = contested(found, shared, (20, 30), 0.05)
        expected = np.zeros((20, 30), bool)
        for y, x in itertools.product(range(20), range(30)):
            here = [
                k
                for k, i in enumerate(found)
                if i.y <= y < i.y + i.mask.shape[0] and i.x <= x < i.x + i.mask.shape[1] and i.mask[y - i.y, x - i.x]
            ]
            here.sort(key=lambda k: (-found[k].score, found[k].key))
            others = [k for k in here if found[k].cls != found[here[0]].cls]
            if others:
                i, j = here[0], others[0]
                close = abs(found[i].score - found[j].score) < 0.05
                apart = shared[i, j] < 0.8 * min(shared[i, i], shared[j, j])
                expected[y, x] = close and apart
        assert (np.zeros((20, 30), bool) if got is None else got).tolist() == expected.tolist()


def test_painting_order_has_definite_ends():
    """Like areas and scores are ordered by class and box."""
    like = [row(B, 0.5, 0, 4), row(A, 0.5, 4, 8), row(A, 0.5, 0, 4)]
    for policy in ("area", "score", "area_score"):
        for order in itertools.permutations(like):
            assert [i.key[:2] for i in painting_order(order, policy)] == [(A, 0), (A, 4), (B, 0)]
