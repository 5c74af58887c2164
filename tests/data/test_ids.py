"""Ids become file names in the run folder: they must stay inside it."""

from __future__ import annotations

import pytest

from wsss_seed.data import check_id
from wsss_seed.data.ids import check_ids, escaped, id_fault
from wsss_seed.errors import WsssError


@pytest.mark.parametrize(
    "id",
    [
        "a",
        "2007_000032",
        "sub/my photo 2",
        "été/写真",
        "a..b",
        "..a",
        "x.jpg",
        "-1",
        "a b/c d",
        "a%b~2",
        "icon",
        "con1",
        "com",
        "comic.1",
        "x/confetti",
    ],
)
def test_good_ids(id: str):
    assert check_id(id) == id
    assert id_fault(id) is None


@pytest.mark.parametrize(
    "id",
    ["", "/etc/passwd", "../a", "a/../b", "a/..", "./a", "a//b", "a/", "a\\b", "a\0b", "a\nb", "a\x7fb", "C:/a", "c:a",
     "a\udcffb", "a\u2028b", " a", "a ", "a\x85b"],
)  # fmt: skip
def test_bad_ids(id: str):
    for check in (lambda: check_id(id, "list.txt, line 3"), lambda: check_ids([id], lambda i: "list.txt, line 3")):
        with pytest.raises(WsssError) as e:
            check()
        assert str(e.value).startswith("list.txt, line 3: image id ")
        assert str(e.value).isascii()  # shown on any terminal
        assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "id",
    ["ab:c", "a<b", "a>b", 'a"b', "a|b", "a?b", "a*b", "a.", "a /b", "a./b", "con", "CON.b", "a/nul", "aux/b", "Com1",
     "lpt9.x.y", "prn .a"],
)  # fmt: skip
def test_names_that_windows_does_not_take(id: str):
    assert "Windows" in id_fault(id)
    assert check_id(id) == id  # a list or a run folder that has it can be read
    check_ids([id], str)


def test_duplicates_name_both_places():
    with pytest.raises(WsssError, match=r"^line 3: image id 'a' is already given by line 1"):
        check_ids(["a", "b", "a"], lambda i: f"line {i + 1}")
    check_ids(["a", "A", "b"], str)


@pytest.mark.parametrize("name", ["", "a/b c.jpg", "été/写真.png", "..a"])
def test_a_good_name_is_its_own_escape(name: str):
    assert escaped(name) == name


def test_different_names_have_different_escapes():
    names = [" a", "%20a", "a%", "a%25", "con", "%63on", "\udcff", "%FF", ":" * 120, ":" * 121, "é" * 200]
    ids = [escaped(name) for name in names]
    assert len(set(ids)) == len(names)
    assert all(check_id(id) == id and len(id.encode()) < 252 for id in ids)
