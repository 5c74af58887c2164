"""What the models have to be asked once, so that other thresholds need no models: the settings under which an image is
seeded a second time, for the answers alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import UsageError
from ...models.outputs import MARGIN, SCORE_FLOOR

_SCORES = ("box_threshold", "ambiguous_threshold", "rescue_threshold", "fallback_threshold", "candidate_threshold")


def check_replayable(settings: Mapping[str, Any]) -> None:
    """Check that seeds under these settings depend on nothing but the model outputs that are kept.

    Args:
        settings: the effective settings, dotted key to value, those of single classes among them.

    Raises:
        UsageError: ground-truth boxes, a threshold below the lowest score that is kept, or masks that may exceed their
            boxes by more than is kept.
    """
    if settings["mode"] == "boxes_given":
        raise UsageError("mode boxes_given needs ground-truth boxes, which are not kept; choose auto or label_free")
    group = _detector_group(settings)
    for key in (f"{group}.{name}" for name in _SCORES):
        lowest = min(value for name, value in settings.items() if name == key or name.startswith(f"{key}."))
        if lowest < SCORE_FLOOR:
            raise UsageError(f"`{key}` {lowest:g}: only scores from {SCORE_FLOOR} on are kept; choose at least that")
    if settings["mask.box_expand"] > MARGIN:
        raise UsageError(
            f"`mask.box_expand` {settings['mask.box_expand']:g}: masks are kept up to {MARGIN} around their boxes; "
            "choose at most that"
        )


def settings_ahead(settings: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Changes of the settings under which an image is seeded again, for the answers of the models: every box whose
    score reaches the lowest of the thresholds is verified and segmented, in each kind of crop and of SAM's outputs.

    Args:
        settings: the effective settings, dotted key to value.

    Returns:
        By mode, ``label_given`` and ``label_free``.
    """
    group = _detector_group(settings)
    lowest = min(settings[f"{group}.{name}"] for name in _SCORES)
    wide = {
        "fusion.order": "detector",
        "nms.iou_threshold": 0.9,
        "nms.cross_class_iou_threshold": 1.0,
        "box.large_threshold": 0.0,
        "box.max_detections": 300,
        "verify.enabled": True,
        "verify.min_side": min(8, settings["verify.min_side"]),
        "verify.accept_threshold": 0.0,
        "verify.trust_threshold": 1.0,
        "ignore.confident_threshold": 0.0,
        "ignore.confident_threshold_label_free": 0.0,
        "ignore.ambiguous_threshold": 0.0,
        f"{group}.ambiguous_threshold": lowest,
        f"{group}.rescue_threshold": lowest,
        f"{group}.fallback_threshold": lowest,
    }
    crops = ("square", "tight") if "verify.crop" in settings else (None,)
    outputs = ("single", "best") if "mask.output" in settings else (None,)
    kinds = [
        {"verify.crop": crops[i % len(crops)], "mask.output": outputs[i % len(outputs)]}
        for i in range(max(len(crops), len(outputs)))
    ]
    confident, none = {f"{group}.box_threshold": lowest}, {f"{group}.box_threshold": 1.0}
    # With given labels, classes without a confident box are asked for alone, and their best box replaces others.
    modes = {"label_given": (confident, none), "label_free": (confident,)}
    return {
        mode: [
            {"mode": mode, **{key: value for key, value in {**wide, **own, **kind}.items() if key in settings}}
            for own in boxes
            for kind in kinds
        ]
        for mode, boxes in modes.items()
    }


def _detector_group(settings: Mapping[str, Any]) -> str:
    """The group of the detector's settings, ``detector`` or ``sam3``."""
    return next(key.removesuffix(".rescue_threshold") for key in settings if key.endswith(".rescue_threshold"))
