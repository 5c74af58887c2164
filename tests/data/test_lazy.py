"""Sequences that hold bytes and numbers and build their items on access."""

from __future__ import annotations

import pickle

import pytest

from wsss_seed.data.lazy import Index, Lazy, Mapped, Rows, Texts

NAMES = ["b", "", "été 1", "a" * 300, "n\udcffo", "日本/語", "b"]


class Squares(Lazy[int]):
    def __len__(self) -> int:
        return 6

    def at(self, i: int) -> int:
        return i * i


def test_items_and_slices_are_those_of_a_list():
    squares, expected = Squares(), [0, 1, 4, 9, 16, 25]
    assert squares == expected
    assert squares != expected[1:]
    assert squares != [*expected[1:], 0]
    assert squares != 0
    assert list(squares) == expected
    for part in (slice(2), slice(1, None, 2), slice(None, None, -1), slice(-2, None), slice(9, None)):
        assert squares[part] == expected[part]
        assert squares[part][1:] == expected[part][1:]
    assert (squares[-1], squares[-6], list(reversed(squares))) == (25, 0, expected[::-1])
    for i in (6, -7):
        with pytest.raises(IndexError):
            squares[i]


def test_a_slice_builds_nothing():
    class Unbuilt(Squares):
        def at(self, i: int) -> int:
            raise AssertionError

    assert len(Unbuilt()[::2][1:]) == 2


def test_a_slice_of_everything_is_the_sequence():
    squares = Squares()
    assert squares[:] is squares
    assert squares[0::1] is squares
    assert squares[::-1] is not squares


def test_rows_are_the_items_at_positions():
    rows = Rows("abcdef", [4, 0, 4])
    assert rows == ["e", "a", "e"]
    assert rows[1:] == ["a", "e"]


def test_any_text_is_kept():
    texts = Texts(NAMES)
    assert texts == NAMES
    texts.append("more")
    assert texts[-1] == "more"
    assert pickle.loads(pickle.dumps(texts)) == [*NAMES, "more"]
    assert Texts() == []


def test_texts_are_found_by_their_key():
    names = ["a", "b", "A", "c", "B", "a"]
    assert [Index(names).find(name) for name in ("a", "A", "d")] == [[0, 5], [2], []]
    folded = Index(names, str.casefold)
    assert [folded.find(name) for name in ("a", "B", "c", "d")] == [[0, 2, 5], [1, 4], [3], []]
    assert Index([]).find("a") == []


def test_a_text_is_found_whatever_the_order():
    names = ["a", "b", "c", "d", "b"]
    index = Index(names)
    assert [index.position(name) for name in ["a", "b", "c", "x", "d", "a", "c", "b", "b"]] == [
        *(0, 1, 2, -1, 3, 0, 2, 1, 1)
    ]
    assert Index([]).position("a") == -1


def test_a_function_of_positions_is_called_on_access():
    asked: list[int] = []
    items = Mapped(4, lambda i: asked.append(i) or i * 10)  # type: ignore[func-returns-value]
    assert len(items[1:]) == 3
    assert asked == []
    assert items[2] == 20
    assert asked == [2]


def test_repeated_texts_are_grouped():
    assert Index(["x", "b", "a", "c", "b", "a", "a"]).repeated() == [[1, 4], [2, 5, 6]]
    assert Index(["a", "b", "A"]).repeated() == []
    assert Index(["b", "B", "a", "A"], str.casefold).repeated() == [[0, 1], [2, 3]]
    assert Index([]).repeated() == []


def test_equal_hashes_are_not_equal_texts():
    class Unlucky(str):
        def __hash__(self) -> int:
            return 1

    unlucky = Index(["a", "b", "a", "c", "b"], Unlucky)
    assert unlucky.repeated() == [[0, 2], [1, 4]]
    assert unlucky.find("b") == [1, 4]
    assert unlucky.find("d") == []
