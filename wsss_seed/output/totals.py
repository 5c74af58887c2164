"""Totals of a run, summed over the records of its images."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from .manifest import Outline

BACKGROUND = "background"


class Totals:
    """Sums over the records of a run, for ``run.json`` and the summary at the end of a command."""

    def __init__(self) -> None:
        self._ok = self._failed = self._area = 0
        self._background_only = self._ignored_only = 0
        self._seconds = 0.0
        self._present: Counter[str] = Counter()
        self._pixels: Counter[str] = Counter()
        self._painted: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()
        self._shares: defaultdict[str, float] = defaultdict(float)
        self._scores: defaultdict[str, float] = defaultdict(float)
        self._scored: Counter[str] = Counter()

    def add(self, record: Outline) -> None:
        """Count an image."""
        self._seconds += record.seconds
        if record.status != "ok":
            self._failed += 1
            return
        self._ok += 1
        self._present.update(record.present)
        self._pixels.update(record.pixels)
        area = record.size[0] * record.size[1] if record.size is not None else 0
        self._area += area
        painted = [name for name, n in record.pixels.items() if n and name != BACKGROUND]
        if not painted:
            background = record.pixels.get(BACKGROUND, 0)
            self._background_only += background > 0
            self._ignored_only += not background
        for name in painted:
            self._painted[name] += 1
            self._shares[name] += record.pixels[name] / area if area else 0
            score = record.scores.get(name)
            if score is not None:
                self._scores[name] += score
                self._scored[name] += 1
        self._missing.update(name for name in record.labels or () if name not in painted)

    def to_json(self) -> dict[str, Any]:
        """The totals as JSON values.

        ``ok`` and ``failed`` images; ``seconds`` of the seeder; ``images_with_class``, those that a class is considered
        present in; ``images_painted``, those with pixels of it; its ``mean_area``, a share of the image, and its
        ``mean_score`` in these; ``images_missing``, those whose given labels name it but which have no pixels of it;
        all its ``pixels``; the share ``ignore`` of ignored pixels; images that are ``background_only``, and without
        any label, ``ignored_only``.
        """
        pixels = _sorted(self._pixels)
        return {
            "ok": self._ok,
            "failed": self._failed,
            "seconds": round(self._seconds, 3),
            "images_with_class": _sorted(self._present),
            "images_painted": _sorted(self._painted),
            "images_missing": _sorted(self._missing),
            "mean_area": {name: round(self._shares[name] / n, 6) for name, n in _sorted(self._painted).items()},
            "mean_score": {name: round(self._scores[name] / n, 6) for name, n in _sorted(self._scored).items()},
            "pixels": pixels,
            "ignore": round(1 - sum(pixels.values()) / self._area, 6) if self._area else None,
            "background_only": self._background_only,
            "ignored_only": self._ignored_only,
        }


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))
