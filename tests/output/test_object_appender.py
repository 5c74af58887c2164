"""Records on object storage: when they are written, and into which files."""

from __future__ import annotations

import pytest

from wsss_seed.io.source import Source
from wsss_seed.output import object_appender
from wsss_seed.output.manifest import Manifest, Record, manifest_files, part_files
from wsss_seed.output.object_appender import ObjectAppender

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def folder():
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield Source("memory://run")
    system.store.clear()


def names(folder: Source) -> list[str]:
    return [path.name for path in manifest_files(folder)]


def test_records_are_written_when_it_is_time_and_at_the_end(folder, monkeypatch):
    appender = ObjectAppender(folder, "0f")
    assert (folder / ".work/0f.jsonl").read_bytes() == b""  # others see that the worker has begun
    appender.append(Record("a", "ok"))
    assert (folder / ".work/0f.jsonl").read_bytes() == b""
    appender.flush()
    assert [record.id for record in map(Record.from_line, (folder / ".work/0f.jsonl").read_bytes().splitlines())] == [
        "a"
    ]
    monkeypatch.setattr(object_appender, "SECONDS", 0.0)
    appender.append(Record("b", "ok"))
    with Manifest(folder) as manifest:
        assert [*manifest] == ["a", "b"]
    monkeypatch.undo()
    appender.append(Record("c", "failed", error="damaged"))
    appender.close()
    with Manifest(folder) as manifest:
        assert [*manifest] == ["a", "b", "c"]
        assert manifest["c"].error == "damaged"


def test_long_files_are_followed_by_another(folder, monkeypatch):
    monkeypatch.setattr(object_appender, "BYTES", 300)
    appender = ObjectAppender(folder, "0f")
    other = ObjectAppender(folder, "0f2")
    for number in range(6):
        appender.append(Record(f"image{number}", "ok"))
        appender.flush()
    other.append(Record("image0", "failed", finished=1.0))
    other.close()
    assert len(names(folder)) > 3
    assert {path.name.partition(".")[0] for path in part_files(folder, ["0f"])} == {"0f"}
    assert len(part_files(folder, ["0f"])) == len(names(folder)) - 1
    with Manifest(folder) as manifest:
        assert sorted(manifest) == [f"image{number}" for number in range(6)]
        assert manifest["image0"].status == "failed"


def test_what_could_not_be_written_is_written_later(folder, monkeypatch):
    appender = ObjectAppender(folder, "0f")
    appender.append(Record("a", "ok"))

    def refuse(self: Source, data: bytes) -> None:
        raise OSError("no connection")

    with monkeypatch.context() as broken:
        broken.setattr(Source, "write_bytes", refuse)
        with pytest.raises(OSError, match="no connection"):
            appender.flush()
    appender.flush()
    with Manifest(folder) as manifest:
        assert [*manifest] == ["a"]
