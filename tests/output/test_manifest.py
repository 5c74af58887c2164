"""The manifest survives kills, and several files of it read as one."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from wsss_seed.output.manifest import Appender, Record, compact, manifest_files, read_manifest, shard_file

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
    sha256="00",
    settings="f",
    finished=12.5,
)


def append(path, *records):
    appender = Appender(path)
    for record in records:
        appender.append(record)
    appender.close()
    appender.close()


def test_records_come_back(tmp_path):
    append(tmp_path / "manifest.jsonl", FULL, Record("b", "failed", error="no image"))
    assert read_manifest(tmp_path) == {FULL.id: FULL, "b": Record("b", "failed", error="no image")}


def test_a_line_is_on_disk_at_once(tmp_path):
    appender = Appender(tmp_path / "manifest.jsonl")
    appender.append(FULL)
    assert read_manifest(tmp_path) == {FULL.id: FULL}
    appender.close()


@pytest.mark.parametrize("cut", [1, 2, 20, 300])
def test_a_torn_last_line_is_ignored_and_cut_off(tmp_path, cut):
    path = tmp_path / "manifest.jsonl"
    append(path, Record("a", "ok"), FULL)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[:-cut])
    # Of a line that lacks but its end the record is known; it is cut off all the same and the image done again.
    assert read_manifest(tmp_path).keys() == ({"a", FULL.id} if cut == 1 else {"a"})
    append(path, Record("c", "ok"))
    assert path.read_bytes()[:first] == whole[:first]
    assert read_manifest(tmp_path).keys() == {"a", "c"}
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_lines_that_are_no_records_are_ignored(tmp_path):
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(
        b'\n{"id": "a"\n[1]\n7\nnull\n\xff\xfe\n{"status": "ok"}\n{"id": "b", "status": "ok", "size": 3}\n'
    )
    append(path, Record("c", "ok"))
    assert read_manifest(tmp_path).keys() == {"c"}


def test_unknown_fields_of_a_later_version_are_ignored(tmp_path):
    (tmp_path / "manifest.jsonl").write_text('{"id": "a", "status": "ok", "colour": "red"}\n')
    assert read_manifest(tmp_path) == {"a": Record("a", "ok")}


def test_the_later_record_holds_whichever_file_it_is_in(tmp_path):
    old, new = Record("a", "ok", finished=1.0), Record("a", "failed", finished=2.0)
    append(tmp_path / "manifest.jsonl", new)
    append(tmp_path / shard_file((0, 2)), old)
    append(tmp_path / shard_file((1, 2)), Record("b", "ok"))
    assert read_manifest(tmp_path) == {"a": new, "b": Record("b", "ok")}


def test_compacting_makes_one_file(tmp_path):
    append(tmp_path / "manifest.jsonl", Record("a", "ok", finished=1.0))
    append(tmp_path / shard_file((0, 2)), FULL)
    records = read_manifest(tmp_path)
    compact(tmp_path, [records[FULL.id], records["a"]])
    assert [path.name for path in manifest_files(tmp_path)] == ["manifest.jsonl"]
    assert list(read_manifest(tmp_path)) == [FULL.id, "a"]


def test_lines_of_threads_do_not_mix(tmp_path):
    appender = Appender(tmp_path / "manifest.jsonl")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(appender.append, [Record(str(i), "failed", error="x" * i) for i in range(500)]))
    appender.close()
    records = read_manifest(tmp_path)
    assert {int(name): len(record.error) for name, record in records.items()} == {i: i for i in range(500)}


def test_names_of_shard_files():
    assert [shard_file(shard) for shard in ((0, 1), (0, 4), (3, 4))] == [
        "manifest.jsonl",
        "manifest.shard-1-of-4.jsonl",
        "manifest.shard-4-of-4.jsonl",
    ]
