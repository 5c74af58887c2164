"""Choosing settings on a few images without being fooled by them: coordinate search with a stopping rule, and
cross-validation of the whole choice.

A setting is changed only if the figure rises by more than two standard errors of that rise over the images (paired, by
the jackknife). One standard error, as in Breiman et al., Classification and Regression Trees, 1984, section 3.4.3, is
too little here, where the best of several values of many settings is taken: on 50 images of toyland, what it chose lost
0.7 and 1.8 points on unseen ones. What is left is judged on images that the choice has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Settings = Mapping[str, Any]

Measure = Callable[[Settings], np.ndarray]
"""Settings -> counts per image, int64 (N, ...)."""

Grid = Mapping[tuple[str, ...], Sequence[tuple[Any, ...]]]
"""What is tried: settings that change together, often a single one, with the values of each trial."""

Figure = Callable[[np.ndarray], np.ndarray]
"""Counts summed over images, int64 (..., M) with M the axes of the counts of an image -> what is to be as high as
possible, float64 (...)."""

ROUNDS = 3
"""Most passes over all settings."""

STRICT = 2.0
"""Standard errors by which a change of a setting must gain."""

SMALLEST = 1e-4
"""Gains up to this count as none."""


@dataclass(frozen=True)
class Gain:
    """How much a figure rises, and the standard error of that rise."""

    value: float
    spread: float

    @property
    def certain(self) -> bool:
        """Whether it exceeds its spread."""
        return self.value > max(self.spread, SMALLEST)


class Remembered:
    """A measure that measures the same settings once."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._known: dict[frozenset[Any], np.ndarray] = {}

    def __len__(self) -> int:
        """Number of settings that were tried."""
        return len(self._known)

    def __call__(self, settings: Settings) -> np.ndarray:
        key = frozenset((name, tuple(v) if isinstance(v, list) else v) for name, v in settings.items())
        if key not in self._known:
            self._known[key] = self._measure(settings)
        return self._known[key]


def gain(before: np.ndarray, after: np.ndarray, figure: Figure) -> Gain:
    """The gain in a figure of counts per image (N, ...), with its jackknife standard error over the N images."""
    n = len(before)
    totals = before.sum(0), after.sum(0)
    value = figure(totals[1]) - figure(totals[0])
    left_out = figure(totals[1] - after) - figure(totals[0] - before)
    spread = np.sqrt((n - 1) / n * np.nansum((left_out - np.nanmean(left_out)) ** 2))
    return Gain(float(value), float(spread))


def search(start: Settings, grid: Grid, measure: Measure, figure: Figure, rows: np.ndarray) -> dict[str, Any]:
    """Coordinate search: each entry of the grid in turn takes the values with the highest figure, if they gain
    enough. Entries whose change alone gains most, in standard errors, come first, so that chance in one does not hide
    what another does.

    Args:
        start: settings to start from; they have every key of the grid.
        grid: what to try.
        measure: counts per image.
        figure: of their sum.
        rows: the images to choose on, indices.

    Returns:
        The settings that differ from ``start``.
    """

    def best(changes: Settings, keys: tuple[str, ...]) -> tuple[Settings, Gain]:
        now = {**start, **changes}
        trials = [dict(zip(keys, values, strict=True)) for values in grid[keys]]
        counts = [measure({**now, **trial})[rows] for trial in trials]
        chosen = int(np.argmax(figure(np.stack([own.sum(0) for own in counts]))))
        return trials[chosen], gain(measure(now)[rows], counts[chosen], figure)

    alone = {keys: best({}, keys)[1] for keys in grid}
    order = sorted(grid, key=lambda keys: -alone[keys].value / max(alone[keys].spread, SMALLEST))
    changes: dict[str, Any] = {}
    for _ in range(ROUNDS):
        before = dict(changes)
        for keys in order:
            trial, found = best(changes, keys)
            if found.value > max(STRICT * found.spread, SMALLEST):
                changes = {**changes, **trial}
        changes = {key: value for key, value in changes.items() if value != start[key]}
        if changes == before:
            break
    return changes


def folds(n: int, count: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Splits of n images into those to choose on and those to judge on: ``count`` random parts of equal size, each of
    which is judged on once."""
    part = np.random.default_rng(seed).permutation(np.arange(n) % count)
    for i in range(count):
        yield np.flatnonzero(part != i), np.flatnonzero(part == i)


def held_out(choose: Callable[[np.ndarray], Settings], measure: Measure, n: int, count: int) -> np.ndarray:
    """Cross-validation: counts per image (n, ...) under settings that were chosen without it.

    Args:
        choose: images to choose on, indices -> settings.
        measure: counts per image.
        n: number of images.
        count: number of folds.
    """
    found = None
    for chosen_on, judged_on in folds(n, count):
        counts = measure(choose(chosen_on))
        found = np.zeros_like(counts) if found is None else found
        found[judged_on] = counts[judged_on]
    assert found is not None
    return found
