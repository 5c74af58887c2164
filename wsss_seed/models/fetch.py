"""Download of one file: resumable, verified, and visible under its name only when complete."""

from __future__ import annotations

import errno
import http.client
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout
from rich.errors import LiveError
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from .. import __version__
from ..errors import CheckpointError, one_line
from ..io import steps
from ..io.files import NO_FOLLOW
from ..io.rate import duration
from .cache import facts
from .cache import sha256 as hash_of

_CHUNK = 2**20
_RESERVE = 2**30  # bytes of the disk left free by a download of unknown size
_TRIES = 3  # consecutive tries without a new byte
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # responses worth another try
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}
_FIRST_LINE = 30.0  # seconds before the first line of a download without a terminal; the next come at twice the time
_BROKEN = (URLError, TimeoutError, ConnectionError, http.client.HTTPException)


def fetch(
    urls: Sequence[str],
    path: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    timeout: float = 30.0,
) -> None:
    """Download a file from the first address that has it.

    Partial downloads are kept as ``<path>.part``. A later call of any process resumes them if the hash is known, which
    verifies that the pieces belong together; a server without support for ranges sends everything again. Processes that
    need the same file wait for the one that downloads it. An existing file is not downloaded again. At most the
    expected number of bytes is received, and nothing is written through a link. Progress is logged, and shown by a
    command line (``io.steps``).

    Args:
        urls: http, https, ftp or file URLs, tried in order until one sends the expected file; redirects are followed,
            proxies are taken from the environment.
        path: destination; its folder is created.
        size: expected size in bytes, if known.
        sha256: expected hash, if known.
        timeout: seconds without data after which a connection counts as broken.

    Raises:
        WsssError: every URL is unreachable, sends a different file or breaks the connection; or a full disk.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            if path.exists():  # another process has downloaded it in the meantime
                return
            part = path.with_name(path.name + ".part")
            faults: list[str] = []
            for url in urls:
                try:
                    _download(url, part, size, sha256, timeout)
                    break
                except CheckpointError as error:
                    faults.append(str(error))
                    if len(faults) < len(urls):
                        _say(f"{error}; trying the next address")
            else:
                raise CheckpointError(
                    f"{'; '.join(faults)}; run the same command again, perhaps on another network or with a newer "
                    f"wsss-seed, put the file at {path}{facts(size, sha256)}, or set WSSS_SEED_MIRROR to the address "
                    "of a copy of the checkpoint folder"
                )
            os.replace(part, path)
            hash_of(path)  # and remember it
    except OSError as error:
        remedy = "free some space" if error.errno in _FULL else "check the folder, or set WSSS_SEED_HOME to another"
        raise CheckpointError(f"{path}: cannot be written ({error.strerror or one_line(error)}); {remedy}") from None


def _download(
    url: str,
    part: Path,
    size: int | None,
    sha256: str | None,
    timeout: float,
) -> None:
    """Complete ``part`` from one address. Raises CheckpointError if it does not send the expected file."""
    if sha256 is None or not _is_own(part):
        part.unlink(missing_ok=True)
    resumed = _size(part) > 0
    while True:
        _room_for(part, size, part)
        _say(f"downloading {part.stem}{_of(size)} from {urlsplit(url).netloc or url}{_after(part)}")
        _receive_all(url, part, size, timeout)
        fault = _fault(part, size, sha256)
        if fault is None:
            return
        part.unlink()
        if not resumed:
            raise CheckpointError(f"{url}: not the published file ({fault})")
        _say(f"{part.stem}: the partial download did not belong to this file; starting over")
        resumed = False


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _say(f"{path.name}: another process is downloading it; waiting")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _receive_all(url: str, part: Path, size: int | None, timeout: float) -> None:
    """Receive until the file is complete, retrying after failures as long as each try makes progress.

    An address that was never reached is not tried again: without a network the error should come soon.
    """
    tries, start = 0, _size(part)
    furthest = start
    with _bar(part, size) as show:
        while True:
            try:
                expected = _receive(url, part, size, timeout, show)
                if expected is None or _size(part) >= expected:
                    return
                reason = "the connection was closed early"
            except HTTPError as error:
                error.close()
                if error.code not in _PASSING:
                    raise CheckpointError(f"{url}: the server answered {error.code} {error.reason}") from None
                reason = f"the server answered {error.code} {error.reason}"
            except _BROKEN as error:
                reason, unreachable = _why(error)
                if unreachable and _size(part) == start:
                    raise CheckpointError(f"{url}: cannot be reached ({reason})") from None
            except ValueError as error:
                raise CheckpointError(f"{url}: not a valid URL ({one_line(error)})") from None
            tries = 1 if _size(part) > furthest else tries + 1
            furthest = max(furthest, _size(part))
            if tries >= _TRIES:
                raise CheckpointError(
                    f"{url}: the download failed at {_size(part)} bytes{_of(size)} ({reason})"
                ) from None
            steps.log.debug("%s: %s; trying again in %d s", url, reason, 2 ** (tries - 1))
            sleep(2 ** (tries - 1))


def _why(error: BaseException) -> tuple[str, bool]:
    """What an error says, and whether it means that there is no network or no such server, or that it is silent."""
    cause = getattr(error, "reason", None)
    if isinstance(cause, Exception):
        return _why(cause)
    silent = isinstance(error, socket.gaierror | TimeoutError | ConnectionRefusedError)
    return one_line(error), silent or (isinstance(error, OSError) and error.errno in _NO_WAY)


def _receive(
    url: str, part: Path, size: int | None, timeout: float, show: Callable[[int, int | None], None]
) -> int | None:
    """Receive once, from the end of ``part`` if the server supports it. Returns the total size if it is known."""
    have = _size(part)
    if size is not None and have >= size:  # complete, or of another file, which its hash will show
        return size
    headers = {"User-Agent": f"wsss-seed/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = urlopen(Request(url, headers=headers), timeout=timeout)
    except HTTPError as error:
        if error.code != 416:
            raise
        error.close()
        if size is None:
            part.unlink()  # it is not a beginning of the file on the server
        raise ConnectionError(f"the server has no more than {have} bytes") from None
    with response:
        if have and not _resumes_at(response, have):
            have = 0
        length = response.headers.get("Content-Length")
        whole = have + int(length) if length and length.isdigit() else None
        if size is not None and whole is not None and whole != size:
            raise CheckpointError(f"{url}: not the published file ({whole} bytes instead of {size})")
        expected = whole if whole is not None else size
        _room_for(part, expected, part)
        with open(part, "ab" if have else "wb", opener=_no_link) as file:
            whole_file = _copy(response, file, expected and expected - have, lambda done: show(have + done, expected))
    if not whole_file:
        part.unlink()
        raise CheckpointError(f"{url}: not the published file (more than {expected} bytes)")
    return expected


def _copy(response: Any, file: IO[bytes], most: int | None, show: Callable[[int], None]) -> bool:
    """Write what is received; return whether it was at most ``most`` bytes, where that is known."""
    done = 0
    while chunk := _read(response):
        done += len(chunk)
        if most is not None and done > most:
            return False
        if most is None and shutil.disk_usage(file.name).free < _RESERVE:
            raise OSError(errno.ENOSPC, f"its size is unknown, and {done} bytes nearly fill the disk")
        file.write(chunk)
        show(done)
    file.flush()
    os.fsync(file.fileno())
    return True


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | NO_FOLLOW, 0o666)


def _is_own(part: Path) -> bool:
    """Whether a partial file can be appended to without writing to another one: it is no link, symbolic or hard."""
    try:
        found = part.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _read(response: Any) -> bytes:
    try:
        result: bytes = response.read1(_CHUNK)
        return result
    except OSError as error:  # of the network, TLS included
        raise ConnectionError(one_line(error)) from None


def _resumes_at(response: Any, position: int) -> bool:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range") or "")
    return response.status == 206 and found is not None and int(found[1]) == position


def _fault(part: Path, size: int | None, sha256: str | None) -> str | None:
    """What is wrong with a downloaded file; None if nothing is."""
    if size is not None and _size(part) != size:
        return f"{_size(part)} bytes instead of {size}"
    if sha256 is not None and (digest := hash_of(part, anew=True)) != sha256:
        return f"SHA-256 {digest} instead of {sha256}"
    return None


def _room_for(path: Path, size: int | None, part: Path) -> None:
    free = shutil.disk_usage(path.parent).free
    if size is not None and size - _size(part) > free:
        raise OSError(errno.ENOSPC, f"{size - _size(part)} bytes remain to be downloaded, {free} are free")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _of(size: int | None) -> str:
    return "" if size is None else f" of {size / 1e6:.0f} MB"


def _after(part: Path) -> str:
    return f", of which {_size(part) / 1e6:.0f} MB are here" if _size(part) else ""


@contextmanager
def _bar(part: Path, size: int | None) -> Iterator[Callable[[int, int | None], None]]:
    """Yields a function that shows the bytes received and their total: as a bar at a terminal, else now and then as a
    line."""
    console = steps.bar_console()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    if console is not None:
        with suppress(LiveError):  # another bar is at work, and older versions of rich show only one
            with Progress(*columns, TimeRemainingColumn(), console=console, redirect_stdout=False) as bar:
                task = bar.add_task(part.stem, total=size, completed=_size(part))
                yield lambda done, whole: bar.update(task, completed=done, total=whole)
            return
    start, before, pause = time.monotonic(), _size(part), _FIRST_LINE

    def show(done: int, whole: int | None) -> None:
        nonlocal pause
        took = time.monotonic() - start
        if took >= pause:
            pause = 2 * took
            rate = (done - before) / took
            left = f", {duration((whole - done) / rate)} left" if whole and rate > 0 else ""
            _say(f"{part.stem}: {done / 1e6:.0f} MB{_of(whole)}, {rate / 1e6:.1f} MB/s{left}")

    yield show


def _say(text: str) -> None:
    steps.log.info("%s", text)
