"""Part of a dataset: its first images, or a random sample of them."""

from __future__ import annotations

import hashlib
import heapq
from array import array
from collections.abc import Sequence
from typing import TypeVar

from ..errors import UsageError
from .lazy import Rows
from .samples import Named, ids_of

T = TypeVar("T", bound=Named)


def select(images: Sequence[T], limit: int | None = None, sample: int | None = None, seed: int = 0) -> Sequence[T]:
    """The first ``limit`` images, or a random ``sample`` of them, in their order; all of them by default.

    Each image is drawn by a hash of its id and the seed (ours): a larger sample contains every smaller one, and images
    that are added later replace few of those drawn before, so that a run with a sample can be resumed and enlarged.

    Raises:
        UsageError: both are given.
    """
    check_selection(limit, sample)
    if sample is None:
        return images[:limit]

    ids = ids_of(images)

    def rank(place: int) -> bytes:
        return hashlib.sha256(f"{seed} {ids[place]}".encode("utf-8", "surrogateescape")).digest()

    return Rows(images, array("q", sorted(heapq.nsmallest(sample, range(len(images)), key=rank))))


def check_selection(limit: int | None, sample: int | None) -> None:
    """Raise UsageError if both are given."""
    if limit is not None and sample is not None:
        raise UsageError("`limit` takes the first images and `sample` random ones; give one of them")
