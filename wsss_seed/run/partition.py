"""An image cut into regions along the outlines of masks.

Within a region, all pixels lie in the same masks, and so have the same label in every label map that is painted with
these masks. Painting and counting then take time by the number of regions, not of pixels.
"""

from __future__ import annotations

import numpy as np

from ..data.classes import IGNORE


class Partition:
    """The regions of an image, at first a single one, which each mask divides further.

    Args:
        truth: uint8 (H, W), the annotated labels.
        classes: number C of labels, with background; other labels are ignored.

    Attributes:
        masks: bool (M, R), whether a mask contains a region.
        truth: float64 (R, C + 1), pixels of a region with each annotated label, last those that are ignored.
    """

    def __init__(self, truth: np.ndarray, classes: int) -> None:
        self._labels = np.minimum(truth, np.uint8(classes))
        self._region = np.zeros(truth.shape, np.int32)
        self.masks = np.zeros((0, 1), bool)
        self.truth = np.bincount(self._labels.ravel(), minlength=classes + 1)[None].astype(np.float64)

    def __len__(self) -> int:
        """Number of regions."""
        return len(self.truth)

    def add(self, x: int, y: int, mask: np.ndarray) -> None:
        """Divide the regions that lie partly in a mask.

        Args:
            x, y: upper left pixel of its window.
            mask: bool (h, w).
        """
        window = slice(y, y + mask.shape[0]), slice(x, x + mask.shape[1])
        region, labels = self._region[window], self._labels[window][mask]
        inside, columns = region[mask], self.truth.shape[1]
        counts = np.bincount(inside * columns + labels, minlength=self.truth.size).reshape(self.truth.shape)
        contained = counts.any(1)
        divided = np.flatnonzero(contained & (counts != self.truth).any(1))
        new = np.arange(len(self))
        new[divided] = len(self) + np.arange(len(divided))
        region[mask] = new[inside]
        self.truth[divided] -= counts[divided]
        self.truth = np.concatenate([self.truth, counts[divided]])
        contained = np.append(contained & ~np.isin(np.arange(len(new)), divided), np.ones(len(divided), bool))
        self.masks = np.concatenate([np.concatenate([self.masks, self.masks[:, divided]], 1), contained[None]])

    def overlaps(self, rows: list[int]) -> np.ndarray:
        """int64 (n, n), pixels in the intersection of each two of these masks; the diagonal has their areas."""
        masks = self.masks[rows].astype(np.float64)
        shared: np.ndarray = (masks * self.truth.sum(1)) @ masks.T
        return shared.astype(np.int64)

    def confusion(self, labels: np.ndarray) -> np.ndarray:
        """The ``confusion_matrix`` int64 (C, C + 1) of labels uint8 (R,), one of each region."""
        classes = self.truth.shape[1] - 1
        values = np.append(np.arange(classes), IGNORE)
        counts: np.ndarray = self.truth[:, :classes].T @ (labels[:, None] == values).astype(np.float64)
        return counts.astype(np.int64)
