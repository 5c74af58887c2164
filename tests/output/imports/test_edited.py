"""Archives that are damaged, lie about their size, or would write elsewhere."""

import io
import zipfile
from pathlib import Path

import pytest

from wsss_seed.errors import DataError
from wsss_seed.output.imports import edited
from wsss_seed.output.imports.edited import unpacked


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def test_annotations_are_unpacked_and_photographs_are_not(tmp_path):
    source = archive(tmp_path / "a.zip", **{"x/a.json": b"{}", "x/b.PNG": b"1", "c.txt": b"2", "images/d.jpg": b"3"})
    with unpacked(source) as folder:
        found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        assert found == ["c.txt", "x/a.json", "x/b.PNG"]
    assert not folder.exists()


def test_other_files_and_folders_stay_where_they_are(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    for path in (tmp_path, tmp_path / "a.json"):
        with unpacked(path) as place:
            assert place == path


@pytest.mark.parametrize("name", ["../a.json", "/a.json", "x/../../a.json", "..\\a.json", "C:/a.json", "../a.jpg"])
def test_names_that_lead_out_are_refused(tmp_path, name):
    (tmp_path / "deep").mkdir()
    source = archive(tmp_path / "deep" / "a.zip", **{"b.json": b"{}", name: b"{}"})
    with pytest.raises(DataError, match="leads out of the archive"), unpacked(source):
        pass
    assert not list(tmp_path.rglob("a.json"))


def test_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(edited, "MAX_SMALL", 1000)
    source = archive(tmp_path / "a.zip", **{"a.json": b" " * 10**6})
    with pytest.raises(DataError, match="far more than it should be"), unpacked(source):
        pass


def test_a_size_that_is_not_true_is_damage(tmp_path):
    """The header states few bytes, and the data would unpack to many."""
    source = archive(tmp_path / "a.zip", **{"a.json": b" " * 10**6})
    data = source.read_bytes()
    wrong = data.replace((10**6).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert wrong != data
    source.write_bytes(wrong)
    with pytest.raises(DataError, match="damaged zip file"), unpacked(source):
        pass


def test_damaged_archives(tmp_path):
    whole = archive(tmp_path / "a.zip", **{"a.json": b'{"a": 1}' * 100}).read_bytes()
    for number, data in enumerate((whole[: len(whole) // 2], whole[:40] + b"\xff" * 20 + whole[60:], b"PK\x03\x04")):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(data)
        with pytest.raises(DataError, match="damaged zip file"), unpacked(path):
            pass
    with zipfile.ZipFile(tmp_path / "lzma.zip", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("a.json", b'{"a": 1}' * 100)
    data = bytearray((tmp_path / "lzma.zip").read_bytes())
    start = data.index(b"a.json") + len(b"a.json") + 9  # behind the header of LZMA
    data[start : start + 12] = b"\xff" * 12
    (tmp_path / "lzma.zip").write_bytes(data)
    with pytest.raises(DataError, match="damaged zip file"), unpacked(tmp_path / "lzma.zip"):
        pass
    locked = io.BytesIO(whole)
    changed = bytearray(locked.getvalue())
    changed[6] |= 1  # encrypted, says the header
    changed[changed.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(changed)
    with pytest.raises(DataError, match="damaged zip file"), unpacked(tmp_path / "locked.zip"):
        pass


def test_what_is_no_file(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"), unpacked(tmp_path / "nowhere"):
        pass
