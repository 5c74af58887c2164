"""Hashes of files, remembered by path, size and modification time; offline mode."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tests.models.own_checkpoint import DATA, HASH
from wsss_seed.models import cache


def test_hashes_do_not_need_a_cache_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "home").write_text("not a folder")
    monkeypatch.setenv("WSSS_SEED_HOME", str(tmp_path / "home"))
    (tmp_path / "f").write_bytes(DATA)
    assert cache.sha256(tmp_path / "f") == HASH
    assert cache.known_sha256(tmp_path / "f") is None


def test_a_damaged_memory_is_no_memory(mine: Path, home: Path):
    mine.parent.mkdir()
    mine.write_bytes(DATA)
    cache.sha256(mine)
    [record] = (home / "hashes").iterdir()
    for text in ("", "[]", "{}", '{"sha256": "00"}'):
        record.write_text(text)
        assert cache.known_sha256(mine) is None
        assert cache.sha256(mine) == HASH


def test_a_hash_holds_until_size_or_time_of_the_file_changes(mine: Path, home: Path):
    mine.parent.mkdir()
    mine.write_bytes(DATA)
    assert cache.known_sha256(mine) is None
    assert cache.sha256(mine) == cache.known_sha256(mine) == HASH
    before = mine.stat()
    mine.write_bytes(bytes(len(DATA)))
    os.utime(mine, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.sha256(mine) == HASH  # nothing shows that it has changed
    assert cache.sha256(mine, anew=True) == cache.known_sha256(mine) == hashlib.sha256(bytes(len(DATA))).hexdigest()
    os.utime(mine, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert cache.known_sha256(mine) is None
    moved = mine.rename(mine.with_name("moved.pth"))
    assert cache.known_sha256(moved) is None  # it is remembered by its path


def test_small_files_are_read_each_time(tmp_path: Path, home: Path):
    path = tmp_path / "small"
    path.write_bytes(b"a")
    assert cache.known_sha256(path) == cache.sha256(path) == hashlib.sha256(b"a").hexdigest()
    assert not (home / "hashes").exists()


@pytest.mark.parametrize("name", ["WSSS_SEED_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_OFFLINE"])
def test_any_of_three_variables_forbids_the_network(home: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    assert cache.offline() is None
    for value, forbids in (("1", True), (" Yes ", True), ("0", False), ("", False)):
        monkeypatch.setenv(name, value)
        assert cache.offline() == (name if forbids else None)


def test_staying_offline_reaches_huggingface_hub_that_is_loaded_already(home: Path, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    cache.stay_offline()
    assert cache.offline() == "WSSS_SEED_OFFLINE"
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert constants.HF_HUB_OFFLINE
    monkeypatch.setattr(os, "environ", {"HF_HUB_OFFLINE": "1"})
    cache.stay_offline()
    assert cache.offline() == "HF_HUB_OFFLINE"  # the variable that the user has set stays the reason


def test_the_cache_folder_may_be_given_with_a_tilde(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WSSS_SEED_HOME", "~/weights")
    assert cache.home() == Path("~/weights").expanduser()
    monkeypatch.setenv("WSSS_SEED_HOME", "")
    assert cache.home().name == "wsss-seed"
