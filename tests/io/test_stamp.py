"""Stamps recognise unchanged files without reading them."""

import hashlib
import os
from pathlib import Path

from wsss_seed.io.stamp import Stamp


def test_a_touched_file_fits_and_a_changed_one_does_not(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(b"content")
    stamp = Stamp.of(path)
    assert stamp == Stamp.of_written(path, hashlib.sha256(b"content").hexdigest())
    os.utime(path, ns=(0, 0))
    assert stamp.fits(path)
    path.write_bytes(b"another")  # of the same length
    assert not stamp.fits(path)
    path.write_bytes(b"longer content")
    assert not stamp.fits(path)


def test_an_unchanged_file_is_not_read(tmp_path: Path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"content")
    stamp = Stamp.of(path)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: 1 / 0)
    assert stamp.fits(path)
