"""The shared seeder, as dino-sam: modes, fallbacks and independence, in a world of flat rectangles."""

from dataclasses import replace

import numpy as np
import pytest

from tests.seeding.rectangles import BLUE, CLASSES, GREEN, MANY, RED, TWO, ColourDetector, check, found, loaded, picture
from wsss_seed.data.base import Boxes
from wsss_seed.errors import ImageError, WsssError
from wsss_seed.seeding.detection.classification import probabilities, text_features, to_numpy
from wsss_seed.seeding.detection.crop_verification import crop_boxes
from wsss_seed.seeding.detection.settings import TEMPLATES


def test_given_labels_are_detected_and_cut_out(make):
    detector = ColourDetector()
    seed = make(detector).seed(loaded(TWO, (RED, GREEN)))
    check(seed, (80, 100))
    assert detector.captions == [[["red"], ["green"]]]
    assert found(seed) == [("red", "confident", ""), ("green", "confident", "")]
    assert seed.present == (RED, GREEN)
    assert set(np.unique(seed.labels)) >= {RED + 1, GREEN + 1}
    assert seed.evidence["mode"] == "label_given"
    first = seed.evidence["detections"][0]
    assert first["box"] == [5, 5, 45, 40]
    assert 0 <= first["crop_probability"] <= 1
    assert first["combined_score"] == first["score"]
    assert seed.scores[RED] == first["combined_score"]


def test_auto_is_label_given_where_labels_are_known(make):
    seeder = make()
    seeds = [seeder.seed(loaded(TWO, labels)) for labels in ((RED,), None)]
    assert [s.evidence["mode"] for s in seeds] == ["label_given", "label_free"]
    assert [s.present for s in seeds] == [(RED,), (RED, GREEN)]
    assert "clip" in seeds[1].evidence


def test_one_given_class_is_not_verified(make):
    """s' = det in label_given mode with one class."""
    seed = make().seed(loaded(TWO, (RED,)))
    [d] = seed.evidence["detections"]
    assert d["crop_probability"] is None
    assert d["combined_score"] == d["score"]


def test_crops_compete_with_the_given_classes_and_the_background(make, clip):
    """In label_given mode foreground is restricted to the given classes."""
    names = ["red", "green", "sky", "sea"]
    text = text_features(clip, [[n] for n in names], TEMPLATES)
    crop = crop_boxes(np.array([[5, 5, 45, 40]], np.float32), (80, 100), 0.10, square=False)
    views = clip.encode_views(TWO, crop)
    expected = probabilities(to_numpy(views), text, 20.0)[0, RED]
    seed = make(clip__logit_scale=20.0).seed(loaded(TWO, (RED, GREEN)))
    assert {d["class"]: d["crop_probability"] for d in seed.evidence["detections"]}["red"] == pytest.approx(
        expected, abs=1e-4
    )


def test_small_boxes_are_not_verified(make):
    seed = make(verify__min_side=36, verify__weight_label_given=0.3).seed(loaded(TWO, (RED, GREEN)))
    by_name = {d["class"]: d for d in seed.evidence["detections"]}
    assert by_name["red"]["crop_probability"] is None  # 40 x 35
    assert by_name["red"]["combined_score"] == pytest.approx(by_name["red"]["score"] ** 0.7, abs=1e-5)
    assert by_name["green"]["crop_probability"] is not None


def test_given_classes_are_not_scored_down_by_their_crops(make):
    """CLIP sees little of a rider on a motorcycle, but both are known to be there."""
    for weight, scored_down in ((0.0, False), (0.3, True)):
        seed = make(verify__weight_label_given=weight, verify__trust_threshold=1.0).seed(loaded(TWO, (RED, GREEN)))
        for d in seed.evidence["detections"]:
            assert (d["combined_score"] < d["score"]) == scored_down
            assert d["crop_probability"] < 1


def test_verification_can_be_switched_off(make):
    seed = make(verify__enabled=False).seed(loaded(TWO, (RED, GREEN)))
    assert all(d["combined_score"] == d["score"] and d["crop_probability"] is None for d in seed.evidence["detections"])


def test_a_given_class_without_box_makes_uncovered_pixels_255(make):
    seed = make().seed(loaded(TWO, (RED, BLUE)))
    check(seed, (80, 100))
    assert seed.present == (RED, BLUE)
    assert seed.scores[BLUE] == 0
    assert not (seed.labels == 0).any()
    assert (seed.labels == 255).any()
    assert (seed.labels == RED + 1).any()
    assert "blue" in seed.notes[0]


def test_rescue_has_a_floor_and_needs_no_second_caption_for_one_class(make):
    """det >= 0.10; a single class was alone in its caption already."""
    for score, pools in ((0.11, ["confident"]), (0.09, [])):
        detector = ColourDetector()
        seed = make(detector).seed(loaded(picture((RED, score, 5, 5, 45, 40)), (RED,)))
        assert [d["role"] for d in seed.evidence["detections"]] == pools
        assert len(detector.captions) == 1


def test_a_rescued_box_takes_the_place_of_its_weak_twin(make):
    """Green is at 0.25 in the joint caption, above the low floor, and at 0.45 by itself."""
    image = picture((RED, 0.9, 5, 5, 45, 40), (GREEN, 0.45, 50, 30, 95, 75))
    seed = make().seed(loaded(image, (RED, GREEN)))
    assert found(seed)[0] == ("red", "confident", "")
    assert sorted(found(seed)[1:]) == [("green", "confident", ""), ("green", "dropped", "nms")]


def test_no_given_class_is_an_image_of_background(make):
    seed = make().seed(loaded(TWO, ()))
    check(seed, (80, 100))
    assert (seed.labels == 0).all()
    assert (seed.confidence == 1).all()
    assert seed.notes == ("no class given: all pixels are background",)


def test_label_given_needs_labels(make):
    with pytest.raises(ImageError, match=r"^x: no image-level labels"):
        make(mode="label_given").seed(loaded(TWO, name="x"))


def test_mode_label_free_ignores_given_labels(make):
    seed = make(mode="label_free").seed(loaded(TWO, (BLUE,)))
    assert seed.present == (RED, GREEN)
    assert seed.evidence["mode"] == "label_free"


def test_label_free_detects_candidates_only(make):
    detector = ColourDetector()
    seed = make(detector, clip__max_candidates=2, detector__candidate_threshold=1.0).seed(loaded(TWO))
    best = np.argsort(-np.array(seed.evidence["clip"]), kind="stable")[:2]
    assert detector.captions == [[[CLASSES.names[c]] for c in sorted(best)]]
    assert set(seed.scores) == set(best.tolist())


def test_label_free_without_boxes_is_all_255(make):
    """It must not become all background."""
    seed = make().seed(loaded(picture()))
    check(seed, (80, 100))
    assert (seed.labels == 255).all()
    assert seed.present == ()
    assert "no candidate class has a box" in seed.notes[0]


def test_an_image_without_any_of_the_classes_is_background(make):
    """Unless every image is known to show one of them, no box is kept for want of a better one."""
    absent = replace(CLASSES, assume_present=False)
    weak = picture((RED, 0.25, 5, 5, 45, 40))
    for image in (picture(), weak):
        seed = make(classes=absent, detector__caption="per_class").seed(loaded(image))
        check(seed, (80, 100))
        assert seed.present == ()
        assert not ((seed.labels > 0) & (seed.labels < 255)).any()
        assert (seed.labels == 0).any()
    assert (make(classes=absent).seed(loaded(picture())).labels == 0).all()
    kept = make(classes=absent, assume_present="yes", detector__caption="per_class").seed(loaded(weak))
    assert kept.present == (RED,)
    assert (make(assume_present="no").seed(loaded(picture())).labels == 0).all()
    assert make(classes=absent).seed(loaded(TWO)).present == (RED, GREEN)


def test_a_class_that_only_the_detector_finds_is_a_candidate(make):
    """CLIP proposes one class only; blue is found by detecting all of them."""
    image = picture((BLUE, 0.9, 5, 5, 45, 40), (GREEN, 0.8, 50, 30, 95, 75))
    alone = {"clip__max_candidates": 1, "detector__caption": "per_class"}
    by_clip = make(**alone, detector__candidate_threshold=1.0).seed(loaded(image))
    assert len(by_clip.present) <= 1
    assert set(make(**alone).seed(loaded(image)).present) == {GREEN, BLUE}
    assert BLUE in make(**alone, detector__candidate_threshold=0.85).seed(loaded(image)).present
    assert set(make(**alone, detector__candidate_threshold=0.95).seed(loaded(image)).present) <= set(by_clip.present)


def test_the_detector_runs_no_more_often_than_needed(make):
    """All classes at once for candidates; again only if fewer are candidates; once if CLIP decides."""
    blue = picture((BLUE, 0.9, 5, 5, 45, 40))
    for settings, image, captions in (
        ({"clip__max_candidates": 1}, blue, 2),  # one class of CLIP's and one of the detector's, of three
        ({"clip__max_candidates": 2, "detector__candidate_threshold": 0.0}, MANY, 1),
        ({}, TWO, 1),  # every class is a candidate of CLIP's
        ({"clip__max_candidates": 1, "detector__candidate_threshold": 1.0}, TWO, 1),
    ):
        detector = ColourDetector()
        make(detector, **settings).seed(loaded(image))
        assert len(detector.captions) == captions, settings
    detector = ColourDetector()
    seed = make(detector, clip__decision="classifier", detector__rescue_threshold=1.0).seed(loaded(blue))
    assert len(detector.captions[0]) == len(seed.present) < 3  # not run for all classes


@pytest.mark.parametrize(("score", "kept"), [(0.25, True), (0.21, True), (0.19, False)])
def test_label_free_keeps_the_best_box_where_none_survives(make, score, kept):
    """Detector score >= 0.20; nothing is above the box threshold of 0.30."""
    image = picture((RED, score, 5, 5, 45, 40), (GREEN, score - 0.01, 50, 30, 95, 75))
    seed = make(detector__caption="per_class").seed(loaded(image))
    check(seed, (80, 100))
    assert len(seed.present) == int(kept)
    assert [p for _, p, _ in found(seed)].count("dropped") == len(found(seed)) - int(kept)
    assert ("kept the best one" in seed.notes[0]) == kept
    assert (seed.labels == 255).all() != kept


def test_label_free_rejects_boxes_of_the_wrong_class(make):
    """Here CLIP is never sure enough, except of the box that is kept as the best one."""
    strict = {"verify__accept_threshold": 1.0, "verify__trust_threshold": 1.0}
    image = picture(*((c, 0.9 - 0.01 * i, 5 + 30 * i, 5, 30 + 30 * i, 75) for i, c in enumerate((RED, GREEN, BLUE))))
    seed = make(**strict, detector__caption="per_class").seed(loaded(image))
    reasons = [d["reason"] for d in seed.evidence["detections"]]
    assert "rejected" in reasons
    kept = {d["class"] for d in seed.evidence["detections"] if d["reason"] != "rejected"}
    assert {CLASSES.names[c] for c in seed.present} == kept or "kept the best one" in seed.notes[0]


def test_label_free_gives_boxes_the_class_that_clip_is_sure_of(make, clip):
    """Thresholds that make CLIP sure of whatever is its best class."""
    box = np.array([[5, 5, 45, 40]], np.float32)
    views = to_numpy(clip.encode_views(TWO, crop_boxes(box, (80, 100), 0.10, square=False)))
    text = text_features(clip, [["red"], ["green"], ["blue"], ["sky"], ["sea"]], TEMPLATES)
    probs = probabilities(views, text, 20.0)[0]
    sure = {
        "verify__relabel": True,
        "verify__relabel_threshold": 0.0,
        "verify__relabel_below": 1.0,
        "verify__trust_threshold": 1.0,
        "clip__logit_scale": 20.0,
        "detector__caption": "per_class",
    }
    seed = make(**sure).seed(loaded(TWO))
    d = next(d for d in seed.evidence["detections"] if d["box"] == box[0].tolist())
    assert d["class"] == CLASSES.names[probs[:3].argmax()]
    assert d["class"] != "red"  # these weights disagree with the detector, or nothing would be tested
    assert d["crop_probability"] == pytest.approx(probs[:3].max(), abs=1e-4)
    assert CLASSES.names.index(d["class"]) in seed.present


def test_label_free_needs_a_higher_score(make):
    """s' >= 0.30 paints where labels are given, 0.35 where they are not."""
    image = picture((RED, 0.33, 5, 5, 45, 40))
    for labels, pool in (((RED,), "confident"), (None, "ambiguous")):
        seed = make(verify__enabled=False, detector__caption="per_class").seed(loaded(image, labels))
        assert found(seed) == [("red", pool, "")]


def test_a_doubtful_box_round_everything_is_dropped_only_without_labels(make):
    """Covering > 0.95 with a score < 0.40, alone."""
    image = picture((RED, 0.38, 0, 0, 98, 80))
    for labels, why in (((RED,), ""), (None, "too_large")):
        seed = make(detector__caption="per_class").seed(loaded(image, labels))
        assert [d["reason"] for d in seed.evidence["detections"]] == [why]


def test_the_fallback_may_go_below_the_low_floor(make):
    """Its own threshold decides, not the low pool's."""
    image = picture((RED, 0.25, 5, 5, 45, 40))
    seed = make(detector__caption="per_class", detector__ambiguous_threshold=0.28).seed(loaded(image))
    assert seed.present == (RED,)


def test_classifier_alone_decides_as_with_given_labels(make):
    detector = ColourDetector()
    seed = make(detector, clip__decision="classifier").seed(loaded(TWO))
    scores = np.array(seed.evidence["clip"])
    above = np.flatnonzero(scores > scores.min() + 0.5 * (scores.max() - scores.min()))
    assert seed.present == tuple(above.tolist())
    assert detector.captions[0] == [[CLASSES.names[c]] for c in above]


ORACLE = Boxes(np.array([[5, 5, 45, 40], [40, 30, 95, 75], [-5, -5, -1, -1]], np.float32), np.array([RED, BLUE, RED]))


def test_given_boxes_are_taken_as_they_are(make):
    """Neither detector nor CLIP is run, and equal scores are not contested."""
    detector = ColourDetector()
    assert not make().needs_boxes
    assert make(mode="boxes_given").needs_boxes
    seed = make(detector, mode="boxes_given").seed(loaded(TWO, (GREEN,), ORACLE))
    check(seed, (80, 100))
    assert detector.captions == []
    assert seed.present == (RED, BLUE)
    assert sorted(found(seed)) == [
        ("blue", "confident", ""),
        ("red", "confident", ""),
        ("red", "dropped", "too_small"),
    ]
    assert not (seed.labels == 255).any()


def test_of_two_classes_with_one_mask_one_goes_to_the_low_pool(make):
    """Of equal scores the later class goes."""
    twins = Boxes(np.array([[5, 5, 45, 40], [5, 5, 45, 40]], np.float32), np.array([BLUE, GREEN]))
    seed = make(mode="boxes_given").seed(loaded(TWO, None, twins))
    assert found(seed) == [("green", "confident", ""), ("blue", "ambiguous", "duplicate_mask")]


def test_given_boxes_must_be_there(make):
    with pytest.raises(ImageError, match=r"^x: no ground-truth boxes"):
        make(mode="boxes_given").seed(loaded(TWO, (RED,), name="x"))
    none = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    seed = make(mode="boxes_given").seed(loaded(TWO, (RED,), none))
    assert (seed.labels == 0).all()


@pytest.mark.parametrize(
    "settings", [{}, {"fusion__order": "area_score", "ignore__boundary": 2}, {"fusion__per_pixel": True}]
)
@pytest.mark.parametrize("labels", [None, (RED, GREEN, BLUE), (GREEN,)])
def test_seeds_depend_on_nothing_but_their_image(make, labels, settings):
    """The same bytes again, in any company, and with the queries in another order."""
    alone = make(**settings).seed(loaded(MANY, labels))
    check(alone, (80, 100))
    seeder = make(ColourDetector(order=-1), **settings)
    seeder.seed(loaded(TWO))
    seeder.seed(loaded(TWO, (RED,)))
    for seed in (seeder.seed(loaded(MANY, labels)) for _ in range(2)):
        assert seed.labels.tobytes() == alone.labels.tobytes()
        assert seed.confidence.tobytes() == alone.confidence.tobytes()
        assert (seed.present, seed.scores, seed.notes) == (alone.present, alone.scores, alone.notes)
        assert seed.evidence == alone.evidence


def test_the_order_policy_paints_without_255(make):
    seed = make(fusion__order="detector").seed(loaded(MANY, (RED, GREEN, BLUE)))
    check(seed, (80, 100))
    assert not (seed.labels == 255).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (3, 5)])
@pytest.mark.parametrize("mode", ["label_free", "label_given", "boxes_given"])
def test_tiny_images_get_a_seed(make, shape, mode):
    image = np.full((*shape, 3), (200, 0, 0), np.uint8)
    box = Boxes(np.array([[0, 0, shape[1], shape[0]]], np.float32), np.array([RED]))
    for side in (0, 4):
        seed = make(mode=mode, box__min_side=side).seed(loaded(image, (RED,), box))
        check(seed, shape)


def test_thresholds_of_single_classes(make):
    classes = replace(CLASSES, thresholds={"ignore.confident_threshold": {"green": 0.95}})
    seed = make(classes=classes, verify__enabled=False).seed(loaded(TWO, (RED, GREEN)))
    assert found(seed) == [("red", "confident", ""), ("green", "ambiguous", "")]
    with pytest.raises(WsssError, match=r"nms\.iou_threshold"):
        make(classes=replace(CLASSES, thresholds={"nms.iou_threshold": {"red": 0.1}}))
