"""Long sequences in little memory: what an item needs is held as bytes and numbers, and the item is built on access.

A Python string takes 50 bytes more than its characters, a ``Path`` several hundred, and a dict of a million ids 150 MB.
"""

from __future__ import annotations

from abc import abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from operator import eq
from typing import TypeVar, overload

import numpy as np

T = TypeVar("T", covariant=True)


class Lazy(Sequence[T]):
    """A sequence whose items are built on access by ``at``; a slice is a view."""

    @abstractmethod
    def at(self, i: int) -> T:
        """The item at a position from 0."""

    @overload
    def __getitem__(self, i: int) -> T: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[T]: ...
    def __getitem__(self, i: int | slice) -> T | Sequence[T]:
        if isinstance(i, slice):
            rows = range(len(self))[i]
            return self if rows == range(len(self)) else Rows(self, rows)
        if 0 <= i < len(self):
            return self.at(i)
        return self.at(range(len(self))[i])  # refuses positions that are out of range, and counts from the end

    def __iter__(self) -> Iterator[T]:
        return map(self.at, range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Whether another sequence, such as a list, has equal items."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]


class Rows(Lazy[T]):
    """Some items of another sequence, at the given positions."""

    def __init__(self, items: Sequence[T], positions: Sequence[int]) -> None:
        self.items, self.positions = items, positions

    def __len__(self) -> int:
        return len(self.positions)

    def at(self, i: int) -> T:
        return self.items[self.positions[i]]


class Mapped(Lazy[T]):
    """What a function returns for each position below ``length``."""

    def __init__(self, length: int, function: Callable[[int], T]) -> None:
        self.length, self.function = length, function

    def __len__(self) -> int:
        return self.length

    def at(self, i: int) -> T:
        return self.function(i)


class Texts(Lazy[str]):
    """Texts in one block of bytes, 8 bytes of offset each. File names that are not UTF-8 are supported."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes, self._ends = bytearray(), array("q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add a text at the end."""
        self._bytes += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def at(self, i: int) -> str:
        return self._bytes[self._ends[i] : self._ends[i + 1]].decode("utf-8", "surrogatepass")


class Index:
    """Finds texts in a sequence by hash: 12 bytes each, from the first search that needs them.

    Python's hashes differ between processes: not to be pickled.

    Args:
        texts: the texts; may repeat, but not change.
        key: texts with equal keys are taken for the same.
    """

    def __init__(self, texts: Sequence[str], key: Callable[[str], str] = str) -> None:
        self._texts, self._key, self._expected = texts, key, 0

    @cached_property
    def _sorted(self) -> tuple[array[int], array[int]]:
        """Hashes, ascending, and the positions of their texts."""
        hashes = np.fromiter(map(hash, map(self._key, self._texts)), np.int64, len(self._texts))
        order = np.argsort(hashes, kind="stable").astype(np.int32)
        found, positions = array("q"), array("i")
        found.frombytes(hashes[order].tobytes())
        positions.frombytes(order.tobytes())
        return found, positions

    @property
    def _hashes(self) -> array[int]:
        return self._sorted[0]

    @property
    def _positions(self) -> array[int]:
        return self._sorted[1]

    def position(self, text: str) -> int:
        """A position of a text, -1 without one. Where texts are searched in their order, hashes are not needed."""
        place = self._expected
        if place >= len(self._texts) or self._texts[place] != text:
            place = next(iter(self.find(text)), -1)
        self._expected = place + 1
        return place

    def find(self, text: str) -> list[int]:
        """The positions, ascending, of texts with the key of ``text``."""
        key = self._key(text)
        place, found = bisect_left(self._hashes, code := hash(key)), []
        while place < len(self._hashes) and self._hashes[place] == code:
            position = self._positions[place]
            if self._key(self._texts[position]) == key:
                found.append(position)
            place += 1
        return found

    def repeated(self) -> list[list[int]]:
        """The positions, ascending, of each key that occurs more than once; in the order of their first positions."""
        hashes = np.frombuffer(self._hashes, np.int64)
        groups: dict[str, list[int]] = {}
        for place in np.flatnonzero(hashes[1:] == hashes[:-1]).tolist():
            for position in self._positions[place : place + 2]:
                alike = groups.setdefault(self._key(self._texts[position]), [])
                if position not in alike[-1:]:
                    alike.append(position)
        return sorted(alike for alike in groups.values() if len(alike) > 1)
