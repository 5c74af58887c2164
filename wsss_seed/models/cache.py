"""The download cache, remembered file hashes, and offline mode."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from ..io.files import write_json

# Hashes of smaller files are not remembered: computing them takes no longer than looking them up.
_REMEMBERED = 16 * 2**20
_OFFLINE = ("WSSS_SEED_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_OFFLINE")


def home() -> Path:
    """The folder of downloaded checkpoints: ``WSSS_SEED_HOME``, else the platform's cache folder."""
    return Path(os.environ.get("WSSS_SEED_HOME") or user_cache_path("wsss-seed")).expanduser()


def offline() -> str | None:
    """Name of the environment variable that forbids network access (``--offline`` sets one); None if none does."""
    return next((n for n in _OFFLINE if os.environ.get(n, "").strip().lower() in ("1", "true", "yes", "on")), None)


def stay_offline() -> None:
    """Forbid network access in this process and its children, also to huggingface_hub."""
    if offline() is None:
        os.environ["WSSS_SEED_OFFLINE"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:  # it has already read the environment
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


def sha256(path: Path, *, anew: bool = False) -> str:
    """SHA-256 of a file in hexadecimal. That of a large file is remembered until its size or modification time changes.

    Args:
        path: the file.
        anew: read it even if its hash is remembered.

    Raises:
        OSError: it cannot be read.
    """
    known = None if anew else known_sha256(path)
    if known:
        return known
    before = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if before.st_size >= _REMEMBERED:
        with suppress(OSError):  # without a writable cache it is hashed again next time
            write_json(_record(path), {**_state(path, before), "sha256": digest})
    return digest


def known_sha256(path: Path) -> str | None:
    """SHA-256 of a file if it is small or its hash is remembered, else None."""
    now = path.stat()
    if now.st_size < _REMEMBERED:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        record = json.loads(_record(path).read_text("utf-8"))
        digest = record.pop("sha256")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return digest if record == _state(path, now) else None


def _record(path: Path) -> Path:
    return home() / "hashes" / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}.json"


def _state(path: Path, stat: os.stat_result) -> dict[str, object]:
    return {"path": str(path.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def facts(size: int | None, sha256: str | None) -> str:
    """Size and hash of a file in parentheses, for a message, as far as they are known."""
    known = [f"{size} bytes"] if size is not None else []
    known += [f"SHA-256 {sha256}"] if sha256 else []
    return f" ({', '.join(known)})" if known else ""
