"""Part of a dataset: its first images, or a random sample of them."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from typing import Protocol, TypeVar

from ..errors import UsageError


class _Named(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Named)


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

    def rank(place: int) -> bytes:
        return hashlib.sha256(f"{seed} {images[place].id}".encode("utf-8", "surrogateescape")).digest()

    return [images[place] for place in sorted(heapq.nsmallest(sample, range(len(images)), key=rank))]


def check_selection(limit: int | None, sample: int | None) -> None:
    """Raise UsageError if both are given."""
    if limit is not None and sample is not None:
        raise UsageError("`limit` takes the first images and `sample` random ones; give one of them")
