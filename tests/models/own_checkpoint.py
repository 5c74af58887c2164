"""A checkpoint of the user's own, served by this machine, and the command line with a cache of its own."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.models.loopback import Server, serving

DATA = np.random.default_rng(0).bytes(20 * 2**20)  # long enough for its hash to be remembered
HASH = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        server.files["/mine.pth"] = DATA
        yield server


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("WSSS_SEED_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "WSSS_SEED_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WSSS_SEED_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def mine(home: Path, server: Server) -> Path:
    """An entry of the user's own, sam.mine, and where its file shall lie."""
    entry = f"""
    [sam.mine]
    also = ["my-sam"]
    seen = ["voc"]
    [[sam.mine.files]]
    name = "mine.pth"
    urls = ["{server.url("/mine.pth")}"]
    size = {len(DATA)}
    sha256 = "{HASH}"
    """
    (home / "checkpoints.toml").write_text(entry)
    return home / "sam" / "mine.pth"


@pytest.fixture
def networked(program: Callable[..., subprocess.CompletedProcess[str]], home: Path):
    """The command line with this cache, and with the network."""

    def call(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
        return program(*args, env={"WSSS_SEED_HOME": str(home), "HF_HUB_OFFLINE": "0", "no_proxy": "127.0.0.1", **env})

    return call
