"""Settings of dino-sam: every key with its default, checked overrides, values of single classes."""

import json

from wsss_seed.config import flatten, override
from wsss_seed.seeding.dino_sam import Settings

DEFAULTS = {
    "mode": "auto",
    "clip.logit_scale": 0.0,
    "clip.grids": [2, 3],
    "clip.local_weight": 0.5,
    "clip.global_threshold": 0.10,
    "clip.local_threshold": 0.25,
    "detector.caption": "joint",
    "detector.box_threshold": 0.30,
    "detector.ambiguous_threshold": 0.20,
    "detector.rescue_threshold": 0.10,
    "detector.fallback_threshold": 0.20,
    "detector.phrase_score": "span_mean_max",
    "nms.iou_threshold": 0.70,
    "nms.cross_class_iou_threshold": 0.90,
    "box.min_side": 4,
    "box.min_area": 0.0002,
    "box.max_area": 0.95,
    "box.large_threshold": 0.40,
    "box.max_detections": 100,
    "verify.enabled": True,
    "verify.context": 0.10,
    "verify.min_side": 32,
    "verify.accept_threshold": 0.20,
    "verify.relabel_threshold": 0.60,
    "verify.relabel_below": 0.10,
    "verify.crop": "tight",
    "verify.trust_threshold": 0.50,
    "verify.accept_top_k": 2,
    "verify.relabel": False,
    "verify.weight": 0.15,
    "verify.weight_label_given": 0.0,
    "mask.output": "single",
    "mask.box_expand": 0.05,
    "mask.min_region_area": 100,
    "mask.min_box_coverage": 0.05,
    "mask.pred_iou_thresh": 0.50,
    "fusion.order": "area",
    "fusion.iou_threshold": 0.80,
    "fusion.per_pixel": False,
    "ignore.confident_threshold": 0.30,
    "ignore.confident_threshold_label_free": 0.35,
    "ignore.ambiguous_threshold": 0.20,
    "ignore.contest_margin": 0.05,
    "ignore.boundary": 0,
}


def test_every_setting_has_its_default():
    flat = flatten(Settings())
    assert {k: flat[k] for k in DEFAULTS} == DEFAULTS
    assert len(flat["clip.templates"]) == 8


def test_flat_settings_are_json_and_come_back():
    changed = override(
        Settings(),
        {
            "detector.box_threshold": 0.4,
            "clip.grids": [2],
            "mode": "label_free",
            "fusion.per_pixel": True,
            "mask.output": "best",
            "clip.templates": ["a {}"],
        },
    )
    flat = json.loads(json.dumps(flatten(changed)))
    assert override(Settings(), flat) == changed
    assert changed != Settings()
    assert changed.detector.box_threshold == 0.4
    assert changed.clip.grids == (2,)
    assert Settings().detector.box_threshold == 0.30
