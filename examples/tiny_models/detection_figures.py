"""Figures of merit of a detector on toyland: AP50, recall, and the class of each object's best box."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torchvision.ops import nms


class Found(NamedTuple):
    """Predictions and ground truth of one image: boxes float (n, 4) xyxy; scores (n,); class_scores (n, C);
    true_boxes (m, 4); true_classes int (m,)."""

    boxes: np.ndarray
    scores: np.ndarray
    class_scores: np.ndarray
    true_boxes: np.ndarray
    true_classes: Sequence[int] | np.ndarray


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of every box of ``a`` with every box of ``b``: (n, m)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(2)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(1), (b[:, 2:] - b[:, :2]).prod(1)
    return both / np.maximum(area_a[:, None] + area_b[None] - both, 1e-9)


def average_precision(found: Sequence[Found], cls: int, iou: float = 0.5, suppress: float = 0.7) -> tuple[float, float]:
    """Area under the interpolated precision-recall curve of one class, and its final recall.

    Per-class NMS at ``suppress``; boxes of all images are ranked by their scores for the class. A box is correct if its
    IoU with an unmatched object of the class is at least ``iou``; it matches the object with the highest IoU.
    """
    ranked, objects = [], 0
    for f in found:
        score = f.class_scores[:, cls]
        keep = nms(torch.from_numpy(f.boxes).float(), torch.from_numpy(score.copy()).float(), suppress).numpy()
        truth = f.true_boxes[np.asarray(f.true_classes) == cls]
        objects += len(truth)
        overlap = overlaps(f.boxes[keep], truth)
        taken: set[int] = set()
        for row, k in enumerate(keep):
            right = False
            if len(truth):
                best = int(overlap[row].argmax())
                right = bool(overlap[row, best] >= iou and best not in taken)
                taken |= {best} if right else set()
            ranked.append((float(score[k]), right))
    ranked.sort(key=lambda r: -r[0])
    hits = np.cumsum([r[1] for r in ranked])
    recall, precision = hits / max(objects, 1), hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0) * precision).sum()), float(recall[-1])


def figures(results: Iterable[Found], classes: int) -> dict[str, float]:
    """AP50 (mean over classes), class-agnostic recall at IoU 0.5, and class accuracy.

    Class accuracy is over all objects: the best box of an object is the highest-scoring box whose IoU with it is at
    least 0.5; objects without one count as wrong.
    """
    found = list(results)
    right = covered = objects = 0
    for f in found:
        overlap = overlaps(f.boxes, f.true_boxes)
        for j, c in enumerate(f.true_classes):
            objects += 1
            on = np.nonzero(overlap[:, j] >= 0.5)[0]
            if len(on):
                covered += 1
                right += int(f.class_scores[on[f.scores[on].argmax()]].argmax() == c)
    ap = [average_precision(found, c)[0] for c in range(classes)]
    return {
        "ap50": float(np.mean(ap)),
        "recall": covered / max(objects, 1),
        "class_accuracy": right / max(objects, 1),
        "objects": objects,
    }


def best_threshold(results: Iterable[Found], suppress: float = 0.7) -> tuple[float, float]:
    """The score threshold of highest F1 for boxes kept by score, with the class of their highest class score."""
    rows, objects = [], 0
    for f in results:
        objects += len(f.true_boxes)
        cls = f.class_scores.argmax(1)
        overlap = overlaps(f.boxes, f.true_boxes)
        taken: set[int] = set()
        kept: list[int] = []
        for k in np.argsort(-f.scores, kind="stable"):
            same = [q for q in kept if cls[q] == cls[k]]
            if same and overlaps(f.boxes[k : k + 1], f.boxes[same]).max() > suppress:
                continue
            kept.append(int(k))
            hits = [j for j in range(len(f.true_boxes)) if overlap[k, j] >= 0.5 and f.true_classes[j] == cls[k]]
            hits = [j for j in hits if j not in taken][:1]
            taken |= set(hits)
            rows.append((float(f.scores[k]), bool(hits)))
    rows.sort(key=lambda r: -r[0])
    hit = np.cumsum([r[1] for r in rows])
    f1 = 2 * hit / (np.arange(1, len(rows) + 1) + objects)
    return rows[int(f1.argmax())][0], float(f1.max())
