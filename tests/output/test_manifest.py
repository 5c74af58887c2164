"""The manifest survives kills, and several files of it read as one."""

from __future__ import annotations

import gc
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wsss_seed.io.stamp import Stamp
from wsss_seed.output.manifest import (
    MOST_OPEN,
    Appender,
    Manifest,
    Record,
    compact,
    manifest_files,
    part_file,
    read_outlines,
    read_records,
)

FULL = Record(
    id="a/ü 1",
    status="ok",
    present=("cat", "dog"),
    scores={"cat": 0.9},
    size=(5, 4),
    pixels={"background": 15, "cat": 5},
    ignore=0.25,
    seconds=0.5,
    notes=("all ignore",),
    evidence={"boxes": [[1, 2, 3, 4]]},
    mask=Stamp(5, 7, "00"),
    image=Stamp(50, 70, "01"),
    settings="f",
    finished=12.5,
)


def append(path, *records):
    path.parent.mkdir(exist_ok=True)
    appender = Appender(path)
    for record in records:
        appender.append(record)
    appender.close()
    appender.close()


def test_records_come_back(tmp_path):
    append(tmp_path / "manifest.jsonl", FULL, Record("b", "failed", error="no image"))
    assert Manifest(tmp_path) == {FULL.id: FULL, "b": Record("b", "failed", error="no image")}


def test_a_line_is_on_disk_at_once(tmp_path):
    appender = Appender(tmp_path / "manifest.jsonl")
    appender.append(FULL)
    assert Manifest(tmp_path) == {FULL.id: FULL}
    appender.close()


@pytest.mark.parametrize("cut", [1, 2, 20, 300])
def test_a_torn_last_line_is_ignored_and_cut_off(tmp_path, cut):
    path = tmp_path / "manifest.jsonl"
    append(path, Record("a", "ok"), FULL)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[:-cut])
    # Of a line that lacks but its end the record is known; it is cut off all the same and the image done again.
    assert Manifest(tmp_path).keys() == ({"a", FULL.id} if cut == 1 else {"a"})
    append(path, Record("c", "ok"))
    assert path.read_bytes()[:first] == whole[:first]
    assert Manifest(tmp_path).keys() == {"a", "c"}
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_lines_that_are_no_records_are_ignored(tmp_path):
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(
        b'\n{"id": "a"\n[1]\n7\nnull\n\xff\xfe\n{"status": "ok"}\n{"id": "b", "status": "ok", "size": 3}\n'
    )
    append(path, Record("c", "ok"))
    assert Manifest(tmp_path).keys() == {"c"}


@pytest.mark.parametrize(
    "values",
    [
        {"id": "../../photos/a"},
        {"id": "/home/u/photos/a"},
        {"id": ""},
        {"id": "a\nb"},
        {"id": 7},
        {"status": "odd"},
        {"status": None},
        {"present": "cat"},
        {"present": [1]},
        {"scores": {"cat": "high"}},
        {"size": [1]},
        {"size": [1, -1]},
        {"size": [1, 2.5]},
        {"pixels": {"cat": -1}},
        {"pixels": [1]},
        {"ignore": "x"},
        {"error": ["x"]},
        {"notes": "x"},
        {"mask": "00"},
        {"mask": {"bytes": 1}},
        {"image": [1, 2, "00"]},
        {"settings": 1},
        {"finished": "now"},
        {"finished": True},
    ],
    ids=str,
)
def test_a_line_of_wrong_values_costs_that_line(tmp_path, values):
    path = tmp_path / "manifest.jsonl"
    line = json.dumps({"id": "a", "status": "ok", **values})
    path.write_text(f'{line}\n{{"id": "b", "status": "failed"}}\n')
    assert Manifest(tmp_path) == {"b": Record("b", "failed")}


@pytest.mark.parametrize("evidence", ["3", '{"a": 1e999}'])
def test_damaged_evidence_costs_the_evidence_only(tmp_path, evidence):
    (tmp_path / "manifest.jsonl").write_text(f'{{"id": "a", "status": "ok", "evidence": {evidence}, "ignore": 0.5}}\n')
    with Manifest(tmp_path) as manifest:
        assert manifest == {"a": Record("a", "ok", ignore=0.5)}
        assert [outline.id for outline in manifest.outlines()] == ["a"]


@pytest.mark.parametrize(
    "odd",
    ['"finished": 1e999', '"finished": NaN', f'"pixels": {{"a": 1{"0" * 5000}}}', f'"evidence": {{"a": {"[" * 50000}'],
    ids=["infinite", "nan", "digits", "nesting"],
)
def test_a_line_that_json_readers_choke_on_costs_that_line(tmp_path, odd):
    (tmp_path / "manifest.jsonl").write_text(f'{{"id": "a", "status": "ok", {odd}}}\n{{"id": "b", "status": "ok"}}\n')
    assert Manifest(tmp_path) == {"b": Record("b", "ok")}


def test_bytes_that_are_no_text_cost_the_line_or_the_evidence(tmp_path):
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(
        b'{"id": "a", "status": "ok", "settings": "\xff\xfe"}\n'
        b'{"id": "b", "status": "ok", "evidence": {"mode": "\xff\xfe"}}\n'
        b'{"id": "c", "status": "ok"}\n'
    )
    assert Manifest(tmp_path) == {"b": Record("b", "ok"), "c": Record("c", "ok")}
    assert [outline.id for outline in read_outlines([path])] == ["b", "c"]
    assert [record.id for record in read_records([path])] == ["b", "c"]


def test_a_link_is_not_followed_when_appending(tmp_path):
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "manifest.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        Appender(tmp_path / "manifest.jsonl")
    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_the_last_line_is_found_from_the_end(tmp_path):
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(b"x" * 200_000)  # longer than what is read at once
    Appender(path).close()
    assert path.read_bytes() == b""
    whole = b"y" * 70_000 + b"\n"
    path.write_bytes(whole * 2 + b"x" * 200_000)
    Appender(path).close()
    assert path.read_bytes() == whole * 2


def test_an_open_manifest_survives_its_replacement(tmp_path):
    append(tmp_path / "manifest.jsonl", FULL)
    with Manifest(tmp_path) as manifest:
        compact(tmp_path, [])
        assert manifest[FULL.id] == FULL
    assert not Manifest(tmp_path)


def test_a_file_that_cannot_be_opened_is_the_only_error(tmp_path, monkeypatch):
    """Nothing follows when the object that was not made whole is collected."""
    (tmp_path / "manifest.jsonl").write_bytes(b"")
    (tmp_path / part_file("0a")).mkdir(parents=True)
    ignored = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    with pytest.raises(IsADirectoryError):
        Manifest(tmp_path)
    monkeypatch.setattr("wsss_seed.output.manifest.manifest_files", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Manifest(tmp_path)
    gc.collect()
    assert not ignored


def test_unknown_fields_of_a_later_version_are_ignored(tmp_path):
    (tmp_path / "manifest.jsonl").write_text('{"id": "a", "status": "ok", "colour": "red"}\n')
    assert Manifest(tmp_path) == {"a": Record("a", "ok")}


def test_the_later_record_holds_whichever_file_it_is_in(tmp_path):
    old, new = Record("a", "ok", finished=1.0), Record("a", "failed", finished=2.0)
    append(tmp_path / "manifest.jsonl", new)
    append(tmp_path / part_file("0a"), old)
    append(tmp_path / part_file("0b"), Record("b", "ok"))
    assert Manifest(tmp_path) == {"a": new, "b": Record("b", "ok")}


def test_more_files_than_a_process_may_have_open(tmp_path):
    files = MOST_OPEN + 50
    for i in range(files):
        append(tmp_path / part_file(f"{i:04}"), Record(str(i), "ok"), Record("same", "failed", finished=i % 120))
    with open(tmp_path / part_file("0110"), "ab") as torn:
        torn.write(b'{"id": "torn", "sta')
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    with Manifest(tmp_path) as manifest:
        if before:
            assert len(os.listdir("/proc/self/fd")) == before + MOST_OPEN + 1
        compact(tmp_path, [])  # what was read stays readable
        assert manifest.keys() == {"same", *map(str, range(files))}
        assert manifest["same"].finished == 119
        assert all(manifest[str(i)].id == str(i) for i in range(files))


def test_lines_come_in_the_given_order_and_then_by_id(tmp_path):
    append(tmp_path / "manifest.jsonl", *(Record(id, "ok", finished=1.0) for id in "dbca"), Record("b", "failed"))
    with Manifest(tmp_path) as manifest:
        found = [(line, outline.id, ordered) for line, outline, ordered in manifest.lines(["x", "c", "b", "c"])]
        assert [(id, ordered) for _, id, ordered in found] == [("c", True), ("b", True), ("a", False), ("d", False)]
        assert [line for line, _, _ in found] == [manifest[id].to_line() for id in "cbad"]


def test_compacting_makes_one_file(tmp_path):
    append(tmp_path / "manifest.jsonl", Record("a", "ok", finished=1.0))
    append(tmp_path / part_file("0a"), FULL)
    records = Manifest(tmp_path)
    compact(tmp_path, [line for line, _, _ in records.lines([FULL.id])])
    assert [path.name for path in manifest_files(tmp_path)] == ["manifest.jsonl"]
    assert list(Manifest(tmp_path)) == [FULL.id, "a"]


def test_lines_of_threads_do_not_mix(tmp_path):
    appender = Appender(tmp_path / "manifest.jsonl")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(appender.append, [Record(str(i), "failed", error="x" * i) for i in range(500)]))
    appender.close()
    records = Manifest(tmp_path)
    assert {int(name): len(record.error) for name, record in records.items()} == {i: i for i in range(500)}
