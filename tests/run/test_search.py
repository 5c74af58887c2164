"""The search finds what is there, and nothing in noise."""

from __future__ import annotations

import numpy as np
import pytest

from wsss_seed.run.search import Remembered, folds, gain, held_out, search

N = 40
START = {"a": 1, "b": 1, "c": 1}
GRID = {("a",): [(0,), (1,), (2,), (3,)], ("b",): [(0,), (1,), (2,)], ("c",): [(0,), (1,), (2,)]}


def figure(counts: np.ndarray) -> np.ndarray:
    return counts[..., 0] / counts.sum(-1)


def hits(shares: np.ndarray) -> np.ndarray:
    right = (1000 * shares.clip(0, 1)).astype(np.int64)
    return np.stack([right, 1000 - right], 1)


def measure(noise: float, seed: int = 0):
    """a = 3 is better than 1 by 0.2 and b = 2 by 0.1, but only together with a = 3; c is noise."""
    error = np.random.default_rng(seed).normal(size=(4, 3, 3, N))

    def of(settings):
        a, b, c = (settings[key] for key in "abc")
        right = 0.5 + 0.1 * (a - 1) + (0.1 * (b - 1) if a == 3 else 0)
        return hits(right + noise * error[a, b, c])

    return Remembered(of)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_there_is_found(seed):
    found = search(START, GRID, measure(0.05, seed), figure, np.arange(N))
    assert found["a"] == 3
    assert found["b"] == 2


def test_settings_that_only_gain_together():
    def of(settings):
        return hits(np.full(N, 0.7 if settings["a"] == settings["b"] == 2 else 0.5 - 0.1 * (settings["a"] == 2)))

    single = {("a",): [(1,), (2,)], ("b",): [(1,), (2,)]}
    assert search({"a": 1, "b": 1}, single, of, figure, np.arange(N)) == {}
    both = {**single, ("a", "b"): [(1, 2), (2, 1), (2, 2)]}
    assert search({"a": 1, "b": 1}, both, of, figure, np.arange(N)) == {"a": 2, "b": 2}


def test_noise_is_no_gain():
    """Of values that do nothing, one is the best on any images; on others it gains nothing."""
    grid = {("a",): [(i,) for i in range(20)]}

    def one(seed: int) -> bool:
        dice = np.random.default_rng(seed)
        table = hits(0.5 + 0.1 * dice.normal(size=(20, N)).ravel()).reshape(20, N, 2)

        def of(settings):
            return table[settings["a"]]

        def choose(rows):
            return {"a": 0, **search({"a": 0}, grid, of, figure, rows)}

        return gain(of({"a": 0}), held_out(choose, of, N, 5), figure).certain

    assert sum(map(one, range(20))) <= 5


def test_a_true_gain_is_certain_on_unseen_images():
    tried = measure(0.05)
    unseen = held_out(lambda rows: {**START, **search(START, GRID, tried, figure, rows)}, tried, N, 5)
    found = gain(tried(START), unseen, figure)
    assert found.certain
    assert found.value == pytest.approx(0.3, abs=0.05)
    assert 0 < found.spread < 0.05
    assert len(tried) <= 4 * 3 * 3


def test_the_spread_is_the_standard_error_of_a_mean():
    """Where the figure is a mean over the images, the jackknife gives the textbook formula."""
    shares = np.random.default_rng(1).uniform(0, 0.4, N)
    before, after = hits(np.full(N, 0.3)), hits(0.3 + shares)
    found = gain(before, after, figure)
    rises = (after - before)[:, 0] / 1000
    assert found.value == pytest.approx(rises.mean())
    assert found.spread == pytest.approx(rises.std(ddof=1) / np.sqrt(N))


def test_no_change_is_no_gain():
    same = hits(np.full(N, 0.5))
    assert not gain(same, same, figure).certain


def test_every_image_is_judged_on_once():
    parts = list(folds(23, 5))
    assert sorted(np.concatenate([judged for _, judged in parts]).tolist()) == list(range(23))
    for chosen, judged in parts:
        assert len(judged) in (4, 5)
        assert sorted([*chosen, *judged]) == list(range(23))
    assert [j.tolist() for _, j in folds(23, 5)] == [j.tolist() for _, j in parts]


def test_the_same_settings_are_measured_once():
    calls = []
    tried = Remembered(lambda settings: calls.append(settings) or np.zeros((1, 2)))
    for settings in ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, {"a": 2, "b": [2]}):
        tried(settings)
    assert len(calls) == len(tried) == 2
