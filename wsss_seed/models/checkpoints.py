"""Known checkpoints: names of files with public URLs and hashes, downloaded into the cache."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..io import steps
from ..io.text import parse_toml, read_text
from .cache import facts, home, known_sha256, offline, sha256

_OURS = Path(str(package_files(__package__))) / "checkpoints.toml"
_HUB = "https://huggingface.co"
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class File:
    """One file of a checkpoint.

    Attributes:
        name: file name in the cache folder of its role.
        urls: public URLs of the same contents, in the order in which they are tried.
        size: in bytes; None if unknown.
        sha256: SHA-256 of the contents; None if unknown.
    """

    name: str
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one model; see checkpoints.toml for the fields."""

    role: str
    name: str
    files: tuple[File, ...]
    config: str = ""
    library: str = ""
    licence: str = "unknown"
    data: str = "unknown"
    seen: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Total size in bytes of all files whose size is known."""
        return sum(f.size or 0 for f in self.files)

    def path(self, file: File | None = None) -> Path:
        """Path of a file in the cache; by default of the first file, which the loader reads."""
        return home() / self.role / (file or self.files[0]).name

    def state(self) -> str:
        """``missing`` (at least one file), ``present`` (not verified yet), ``verified``, or ``wrong`` (other hash or
        size). Does not hash large files whose hash is not remembered."""
        paths = [(f, self.path(f)) for f in self.files]
        if not all(p.is_file() for _, p in paths):
            return "missing"
        if any(f.size is not None and p.stat().st_size != f.size for f, p in paths):
            return "wrong"
        known = [(f.sha256, known_sha256(p)) for f, p in paths]
        if any(want and got and want != got for want, got in known):
            return "wrong"
        return "verified" if all(want and got for want, got in known) else "present"


def known_checkpoints() -> list[Checkpoint]:
    """All checkpoints, the user's included, by role and in the order of the files.

    Raises:
        WsssError: the user's file is invalid.
    """
    found = {(c.role, c.name): c for path in (_OURS, home() / "checkpoints.toml") for c in _read(path)}
    return sorted(found.values(), key=lambda c: ("clip", "sam", "detector").index(c.role))


def find_checkpoint(role: str, name: str) -> Checkpoint | None:
    """The checkpoint with a name or alias; the user's take precedence over the bundled list."""
    entries = [c for c in known_checkpoints() if c.role == role]
    return next((c for c in entries if c.name == name), next((c for c in entries if name in c.also), None))


def _read(path: Path) -> Iterator[Checkpoint]:
    if not path.exists():
        return
    for role, entries in parse_toml(read_text(path), str(path)).items():
        try:
            if role not in ("clip", "sam", "detector"):
                raise ValueError(f"[{role}] is none of clip, sam, detector")
            for name, entry in entries.items():
                yield _checkpoint(role, name, dict(entry))
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise CheckpointError(f"{path}: not a list of checkpoints ({error}); correct or remove it") from None


def _checkpoint(role: str, name: str, entry: dict[str, Any]) -> Checkpoint:
    here = f"{role}.{name}"
    parts = tuple(_file(here, File(**f)) for f in entry.pop("files"))
    if not parts:
        raise ValueError(f"{here}: files must name at least one")
    for key, value in entry.items():
        right = isinstance(value, list) and all(isinstance(v, str) for v in value)
        if not (right if key in ("seen", "also") else isinstance(value, str)):
            raise ValueError(f"{here}: {key} must be {'a list of texts' if key in ('seen', 'also') else 'text'}")
    entry |= {key: tuple(entry[key]) for key in ("seen", "also") if key in entry}
    return Checkpoint(role, name, parts, **entry)


def _file(here: str, file: File) -> File:
    """The file, after checking the types of its fields and that its name contains no folder."""
    if not isinstance(file.name, str):
        raise ValueError(f"{here}: name of a file must be text")
    if not isinstance(file.urls, list) or not file.urls or not all(isinstance(url, str) for url in file.urls):
        raise ValueError(f"{here}: urls of a file must be a list of texts")
    if file.name in ("", ".", "..") or not file.name.isprintable() or {*"/\\"} & {*file.name}:
        raise ValueError(f"{here}: names of files must not contain folders")
    if file.size is not None and (type(file.size) is not int or file.size < 0):
        raise ValueError(f"{here}: size must be a number of bytes")
    if file.sha256 is not None and not (isinstance(file.sha256, str) and _SHA256.fullmatch(file.sha256)):
        raise ValueError(f"{here}: sha256 must be 64 hexadecimal digits, in lower case")
    return replace(file, urls=tuple(file.urls))


def addresses(checkpoint: Checkpoint, file: File) -> list[str]:
    """URLs from which a file is downloaded, in order: its public URLs, with ``HF_ENDPOINT`` for the hub, or only the
    one below ``WSSS_SEED_MIRROR``, which has the layout of the cache."""
    mirror, endpoint = os.environ.get("WSSS_SEED_MIRROR"), os.environ.get("HF_ENDPOINT")
    if mirror:
        return [f"{mirror.rstrip('/')}/{checkpoint.role}/{file.name}"]
    hub = endpoint.rstrip("/") if endpoint else _HUB
    return [hub + url.removeprefix(_HUB) if url.startswith(f"{_HUB}/") else url for url in file.urls]


def pull(checkpoint: Checkpoint) -> None:
    """Download missing files of a checkpoint and verify all of them.

    Raises:
        WsssError: offline and missing (the message has path, URL and hash), a failed download, or a different hash.
    """
    for file in checkpoint.files:
        path = checkpoint.path(file)
        if path.is_file():
            continue
        urls = addresses(checkpoint, file)
        forbidden = offline()
        if forbidden:
            raise CheckpointError(
                f"{checkpoint.name}: no file {path}, and offline (--offline or {forbidden} is set); put the file of "
                f"{urls[0]} there{facts(file.size, file.sha256)}, give `{checkpoint.role}` a path, or use `models` tiny"
            )
        from .fetch import fetch

        fetch(urls, path, size=file.size, sha256=file.sha256)
    verify(checkpoint)


def verify(checkpoint: Checkpoint, *, anew: bool = False) -> None:
    """Compare size and hash of the files of a checkpoint with the published ones.

    Args:
        checkpoint: the checkpoint.
        anew: read the files even if their hashes are remembered.

    Raises:
        WsssError: a file is missing or differs.
    """
    for file in checkpoint.files:
        path = checkpoint.path(file)
        if not path.is_file():
            raise CheckpointError(f"{path}: missing; wsss-seed models pull {checkpoint.name}")
        found = path.stat().st_size
        fault = f"{found} bytes instead of {file.size}" if file.size not in (None, found) else None
        if fault is None and file.sha256 is not None:
            if anew or known_sha256(path) is None:
                steps.log.info("verifying %s", path.name)
            digest = sha256(path, anew=anew)
            fault = f"SHA-256 {digest} instead of {file.sha256}" if digest != file.sha256 else None
        if fault:
            raise CheckpointError(
                f"{path}: not the published {checkpoint.name} ({fault}); remove it and run wsss-seed models pull "
                f"{checkpoint.name}, or, if you want this file, keep it elsewhere and give `{checkpoint.role}` its path"
            )
