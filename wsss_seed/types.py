"""The interface of backends: their input, their output and the seeder protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from .data.base import Boxes, Sample
from .data.classes import ClassSet
from .data.orientation import turn, turn_boxes
from .io.overlay import overlay
from .io.png import write_mask


@dataclass(frozen=True)
class LoadedSample:
    """A sample with its upright image, uint8 (H, W, 3) RGB; ``boxes`` (upright too) are loaded only for seeders that
    need them."""

    sample: Sample
    image: np.ndarray
    boxes: Boxes | None = None


@dataclass(frozen=True, eq=False)
class Instance:
    """One object in the label map.

    Attributes:
        class_id: foreground index of its class, 0..K-1.
        score: score in 0..1.
        xyxy: box x0 y0 x1 y1 in pixels.
        size: height and width of the image in pixels.
        offset: column and row of the upper left pixel of the window.
        window: bool (h, w), the mask within a window of the image, which saves memory on large images.
    """

    class_id: int
    score: float
    xyxy: tuple[float, float, float, float]
    size: tuple[int, int]
    offset: tuple[int, int]
    window: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """The mask on the whole image, bool (H, W)."""
        mask = np.zeros(self.size, bool)
        (x, y), (h, w) = self.offset, self.window.shape
        mask[y : y + h, x : x + w] = self.window
        return mask

    def turned(self, exif: int) -> Instance:
        """The object on the turned image; see ``data.orientation.turn``."""
        (x, y), (h, w) = self.offset, self.window.shape
        corners = turn_boxes(np.array([[x, y, x + w, y + h]]), exif, self.size)
        x0, y0, x1, y1 = turn_boxes(np.array([self.xyxy]), exif, self.size)[0].tolist()
        return replace(
            self,
            xyxy=(x0, y0, x1, y1),
            size=self.size[::-1] if exif >= 5 else self.size,
            offset=(int(corners[0, 0]), int(corners[0, 1])),
            window=turn(self.window, exif),
        )


@dataclass(frozen=True, eq=False)
class Seed:
    """The result for one image.

    ``image`` and ``class_set``, which ``names``, ``save`` and ``plot`` need, are set by the seeders of
    ``wsss_seed.load``; backends leave them out.

    Attributes:
        labels: uint8 (H, W) label map; 0 background, 1..K foreground, 255 ignore label.
        confidence: float32 (H, W) in 0..1.
        present: foreground indices of the classes taken to be in the image, ascending; the label map may lack some.
        scores: foreground index -> score, for each class considered.
        evidence: intermediate results that explain the seed, as JSON values; ``detections``, if there are any, is a
            list of mappings with a ``box``, x0 y0 x1 y1 in pixels.
        notes: remarks for the user, e.g. why every pixel is ignored.
        instances: the objects in the label map, if the backend finds objects.
        image: uint8 (H, W, 3) RGB.
        class_set: the class set.
        path: path of the image file, if the image was read from a file.
    """

    labels: np.ndarray
    confidence: np.ndarray
    present: tuple[int, ...]
    scores: Mapping[int, float] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    instances: tuple[Instance, ...] = ()
    image: np.ndarray | None = field(default=None, repr=False)
    class_set: ClassSet | None = field(default=None, repr=False)
    path: Path | None = None

    def turned(self, exif: int) -> Seed:
        """The seed of the turned image; see ``data.orientation.turn``."""
        if exif == 1:
            return self
        evidence = dict(self.evidence)
        if "detections" in evidence:
            shape = (self.labels.shape[0], self.labels.shape[1])
            evidence["detections"] = [
                {**found, "box": [round(x, 2) for x in turn_boxes(np.array([found["box"]]), exif, shape)[0].tolist()]}
                for found in evidence["detections"]
            ]
        return replace(
            self,
            labels=turn(self.labels, exif),
            confidence=turn(self.confidence, exif),
            evidence=evidence,
            instances=tuple(instance.turned(exif) for instance in self.instances),
            image=None if self.image is None else turn(self.image, exif),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes in ``present``."""
        names = self._classes().names
        return tuple(names[c] for c in self.present)

    def save(self, path: str | Path) -> None:
        """Write the label map as an index PNG, with the palette of the class set. Raises OSError."""
        write_mask(Path(path), self.labels, self._classes().palette)

    def plot(self, opacity: float = 0.5) -> Image.Image:
        """The label map blended over the image; ignored pixels are white. Raises ValueError without ``image``."""
        if self.image is None:
            raise ValueError("this seed does not have its image")
        return overlay(self.image, self.labels, self._classes().palette, opacity)

    def _repr_png_(self) -> bytes | None:
        """The plot, for display in notebooks."""
        if self.image is None or self.class_set is None:
            return None
        buffer = BytesIO()
        self.plot().save(buffer, format="PNG")
        return buffer.getvalue()

    def _classes(self) -> ClassSet:
        if self.class_set is None:
            raise ValueError("this seed does not have its class set")
        return self.class_set


class Seeder(Protocol):
    """Turns images into seeds, each independently of the others."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The effective settings, dotted key -> JSON value."""
        ...

    @property
    def needs_boxes(self) -> bool:
        """Whether ``LoadedSample.boxes`` must be given."""
        ...

    def seed(self, loaded: LoadedSample) -> Seed:
        """Seed one upright image. Raises ImageError if it cannot be seeded."""
        ...
