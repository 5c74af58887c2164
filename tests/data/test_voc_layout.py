"""How the files of run folders are named."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from wsss_seed.data.voc_layout import check_layout, file_name, id_of, layout_of
from wsss_seed.errors import UsageError

IDS = ["2007_000032", "a/b/c", "été 1", "日本/語", "x" * 250]


def test_a_nested_name_begins_with_the_digest_of_the_id():
    assert file_name("2007_000032", "flat") == "2007_000032"
    # printf 2007_000032 | sha256sum
    assert file_name("2007_000032", "nested") == "68/be/2007_000032"


@pytest.mark.parametrize("id", IDS)
def test_names_lead_back_to_ids(id):
    assert id_of(file_name(id, "flat"), "flat") == id
    assert id_of(file_name(id, "nested"), "nested") == id
    assert id_of(file_name(id, "nested"), "flat") == file_name(id, "nested")


@pytest.mark.parametrize("name", ["", "a", "3f/a2/", "00/00/2007_000032", "2007_000032", "x" * 300])
def test_a_name_of_another_make_is_an_id(name):
    assert id_of(name, "nested") == name


def test_ids_that_begin_alike_are_spread():
    folders = Counter(file_name(f"part-00001/image_{i:08}", "nested")[:5] for i in range(20_000))
    assert max(folders.values()) < 10
    assert len(folders) > 15_000


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ('{"layout": "nested"}', "nested"),
        ('{"layout": "flat"}', "flat"),
        ("{}", "flat"),
        ('{"layout": 7}', "flat"),
        ("[1]", "flat"),
        ("{", "flat"),
        ("[" * 10**5, "flat"),
        (None, "flat"),
    ],
)
def test_a_run_says_its_layout(tmp_path: Path, text, layout):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    assert layout_of(tmp_path) == layout


def test_an_unknown_layout_is_refused():
    assert (check_layout(None), check_layout("nested")) == (None, "nested")
    with pytest.raises(UsageError, match="unknown layout 'deep'; known: flat, nested"):
        check_layout("deep")
