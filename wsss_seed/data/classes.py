"""Class sets: names, prompt phrases, background phrases, palette and per-class thresholds, as TOML data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

IGNORE = 255


@dataclass(frozen=True)
class ClassSet:
    """Ordered foreground names with all that is known of them. Index 0 is background, 1..K foreground, 255 ignore.

    Attributes:
        name: ``voc``, ``coco``, ``toyland``, a file's stem, or ``custom``.
        names: K foreground names in label order.
        phrases: for each class its readable spelling first, then synonyms (CLIP classification, detector captions).
        prompts: for each class the one string that prompt learning and CLIP-ES use.
        background: phrases of what is no class.
        palette: 256 RGB colours.
        part_phrases: extra detector phrases by class name that trade precision for a table's definition (off by default).
        thresholds: setting key -> class name -> value, e.g. ``{"gd.box_thr": {"person": 0.25}}``.
        max_candidates: how many classes label-free classification may propose for one image.
    """

    name: str
    names: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    prompts: tuple[str, ...]
    background: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    part_phrases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    max_candidates: int = 6
