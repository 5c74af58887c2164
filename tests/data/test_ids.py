"""Ids become file names in the run folder: they must stay inside it."""

from __future__ import annotations

import pytest

from wsss_seed.data import check_id
from wsss_seed.data.ids import check_ids
from wsss_seed.errors import WsssError


@pytest.mark.parametrize(
    "id", ["a", "2007_000032", "sub/my photo 2", "été/写真", "a..b", "..a", "x.jpg", "-1", "a b/c d"]
)
def test_good_ids(id: str):
    assert check_id(id) == id


@pytest.mark.parametrize(
    "id",
    ["", "/etc/passwd", "../a", "a/../b", "a/..", "./a", "a//b", "a/", "a\\b", "a\0b", "a\nb", "a\x7fb", "C:/a", "c:a",
     "a\udcffb", "a\u2028b", " a", "a ", "a\x85b"],
)  # fmt: skip
def test_bad_ids(id: str):
    with pytest.raises(WsssError) as e:
        check_id(id, "list.txt, line 3")
    assert str(e.value).startswith("list.txt, line 3: image id ")
    assert str(e.value).isascii()  # shown on any terminal
    assert "\n" not in str(e.value)


def test_duplicates_name_both_places():
    with pytest.raises(WsssError, match=r"^line 3: image id 'a' is already given by line 1"):
        check_ids(["a", "b", "a"], lambda i: f"line {i + 1}")
    check_ids(["a", "A", "b"], str)
