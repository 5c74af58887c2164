"""Files that have no path of their own: the members of a tar, and what lies behind a URL that fsspec reads and writes.

Credentials are fsspec's business (environment, configuration files, or the URL itself). They are never shown: a
``Source`` is written without user, password and query, in errors as well.

Files are read and written whole, from and to memory; there is no cache on disk. Object storage has no folders: those
above a file need not be created, and a prefix without files does not exist. A write is atomic there.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..errors import one_line
from .extras import install_command, missing_modules

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # a single letter is a drive of Windows
_URL_AT_THE_END = re.compile(_URL.pattern + ".*", re.IGNORECASE | re.DOTALL)
_IN_TEXT = re.compile(r"[a-z][a-z0-9+.-]+://[^\s'\"<>]*", re.IGNORECASE)

# What libraries of clouds raise that is no OSError, by name, because they need not be installed.
_NO_CREDENTIALS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "RefreshError",
)
# Codes of S3 with which it refuses every request, not only one for this file.
_BAD_CREDENTIALS = {
    "ExpiredToken",
    "TokenRefreshRequired",
    "InvalidToken",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
}
_CONNECTION = ("EndpointConnectionError", "HTTPClientError", "ClientConnectionError", "TimeoutError")
_MODULES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}


def is_url(text: str) -> bool:
    """Whether a text is a URL rather than a path."""
    return _URL.match(text) is not None


def recorded(arguments: Iterable[str]) -> str:
    """A command line for the record: its URLs have lost what may be credentials."""
    return shlex.join(_URL_AT_THE_END.sub(lambda match: _plain(match[0]), argument) for argument in arguments)


def redacted(text: str) -> str:
    """A text whose URLs have lost user, password, query and fragment, which may be credentials."""
    return _IN_TEXT.sub(lambda match: _plain(match[0]), text)


def _plain(url: str) -> str:
    scheme, rest = url.split("://", 1)
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


class CredentialsError(PermissionError):
    """Credentials are missing, wrong or expired, so that no file can be read or written."""


class Status(NamedTuple):
    """What is known of a file behind a URL, under the names of ``os.stat_result``."""

    st_size: int
    """In bytes."""
    st_mtime_ns: int
    """When it was written, by the clock of the storage, in nanoseconds since 1970; 0 if it does not say."""

    @property
    def st_mtime(self) -> float:
        """The same in seconds."""
        return self.st_mtime_ns / 1e9


@dataclass(frozen=True, slots=True, repr=False)
class Source:
    """A file or folder behind a URL, or a member of a tar; it is used like a ``Path``, as far as it goes.

    Attributes:
        place: URL, or the path of a local tar.
        member: name of the member of the tar; empty for a file of its own.
        start: where the content of the member begins, in bytes.
        size: its length in bytes; None for a file of its own.
    """

    place: str
    member: str = ""
    start: int = 0
    size: int | None = None

    def __str__(self) -> str:
        shown = _plain(self.place) if is_url(self.place) else self.place
        return f"{shown}/{self.member}" if self.member else shown

    __repr__ = __str__

    @property
    def name(self) -> str:
        """The last part of its path."""
        return str(self).rstrip("/").rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The suffix of its name, with the dot."""
        return os.path.splitext(self.name)[1]

    @property
    def stem(self) -> str:
        """Its name without suffix."""
        return os.path.splitext(self.name)[0]

    @property
    def parent(self) -> Source:
        """The folder it is in."""
        return Source(self.place.rstrip("/").rpartition("/")[0])

    def __truediv__(self, name: str) -> Source:
        return Source(f"{self.place.rstrip('/')}/{name}")

    def resolve(self) -> Source:
        """Itself; a path would become absolute."""
        return self

    absolute = resolve

    def contains(self, other: Source) -> bool:
        """Whether another file lies below this folder."""
        return other.place.startswith(f"{self.place.rstrip('/')}/")

    def read_bytes(self) -> bytes:
        """The content. Raises OSError."""
        end = None if self.size is None else self.start + self.size
        if not is_url(self.place):
            with open(self.place, "rb") as file:
                file.seek(self.start)
                return file.read(-1 if self.size is None else self.size)
        with _errors(self.place):
            system, path = _file_system(self.place)
            content: bytes = system.cat_file(path, start=self.start or None, end=end)
            return content

    def open(self, mode: str = "rb") -> IO[bytes]:
        """A stream of a file of its own. Raises OSError."""
        if not is_url(self.place):
            return open(self.place, "rb")
        with _errors(self.place):
            system, path = _file_system(self.place)
            stream: IO[bytes] = system.open(path, mode)
            return stream

    def exists(self) -> bool:
        """Whether there is such a file or folder. Raises OSError if that cannot be found out."""
        return self._kind() is not None

    def is_file(self) -> bool:
        """Whether it is a file. Raises OSError if that cannot be found out."""
        return self._kind() == "file"

    def is_dir(self) -> bool:
        """Whether it is a folder, or on object storage a prefix. Raises OSError if that cannot be found out."""
        return self._kind() == "directory"

    def _kind(self) -> str | None:
        try:
            with _errors(self.place):
                system, path = _file_system(self.place)
                return str(system.info(path)["type"])
        except FileNotFoundError:
            return None

    def stat(self) -> Status:
        """Size and time of a file. Raises OSError, FileNotFoundError for a folder, too."""
        with _errors(self.place):
            system, path = _file_system(self.place)
            info = system.info(path)
            if info["type"] == "directory":
                raise FileNotFoundError
            written = next((info[key] for key in ("LastModified", "mtime", "updated", "created") if info.get(key)), 0)
        if isinstance(written, str):
            with suppress(ValueError):
                written = datetime.fromisoformat(written)
        if isinstance(written, datetime):
            written = written.timestamp()
        return Status(int(info["size"]), int(written * 1e9) if isinstance(written, int | float) else 0)

    def is_symlink(self) -> bool:
        """False: object storage has no links."""
        return False

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: folders come with their files."""

    def rmdir(self) -> None:
        """Do nothing: folders go with their files."""

    def write_bytes(self, data: bytes) -> None:
        """Write the file, whole. Raises OSError."""
        with _errors(self.place):
            system, path = _file_system(self.place)
            system.pipe_file(path, data)

    def create(self, data: bytes) -> bool:
        """Write the file unless it exists: of several processes one succeeds, the others get False. Raises OSError.

        By conditional writes: ``If-None-Match`` of S3, preconditions of Google's and Azure's storage.
        """
        try:
            with _errors(self.place):
                system, path = _file_system(self.place)
                system.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        return True

    def touch(self) -> None:
        """Create the file, empty, unless it exists. Raises OSError."""
        self.create(b"")

    def upload(self, file: Path) -> None:
        """Write the file from one on disk, in parts if it is large. Raises OSError."""
        with _errors(self.place):
            system, path = _file_system(self.place)
            system.put_file(str(file), path)

    def download(self, file: IO[bytes]) -> None:
        """Append the content to an open file. Raises OSError."""
        with self.open() as stream, _errors(self.place):
            shutil.copyfileobj(stream, file, 2**22)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file. Raises OSError."""
        try:
            with _errors(self.place):
                system, path = _file_system(self.place)
                system.rm_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def files(self) -> Iterator[str]:
        """The files below a folder, relative to it, in no particular order. Raises OSError."""
        with suppress(FileNotFoundError), _errors(self.place):
            system, path = _file_system(self.place)
            own = path.strip("/") + "/"
            yield from (str(name).strip("/").removeprefix(own) for name in system.find(path))

    def remove_tree(self) -> None:
        """Remove all files below a folder, if there are any. Raises OSError."""
        with suppress(FileNotFoundError), _errors(self.place):
            system, path = _file_system(self.place)
            system.rm(path, recursive=True)

    def iterdir(self) -> Iterator[Source]:
        """What a folder contains; nothing if there is none, which is the same on object storage. Raises OSError."""
        with suppress(FileNotFoundError):
            yield from (self / name for name, _ in self.list())

    def list(self) -> Iterator[tuple[str, bool]]:
        """Names in a folder, and whether they are folders. Raises OSError."""
        with _errors(self.place):
            system, path = _file_system(self.place)
            entries = system.ls(path, detail=True)
            own = path.rstrip("/")
        for entry in entries:
            full = str(entry["name"]).rstrip("/")
            if full.strip("/") != own.strip("/"):  # S3 has objects that stand for the folder itself
                yield full.rpartition("/")[2], entry["type"] == "directory"


Location = Path | Source
"""Where a file or folder is."""

SomeLocation = TypeVar("SomeLocation", bound=Location)


def location(text: str | Path) -> Location:
    """A path, or the source behind a URL; ``file://`` is a path."""
    if isinstance(text, Path) or not is_url(text):
        return Path(text)
    return Path(url2pathname(urlsplit(text).path)) if text[:7].lower() == "file://" else Source(text)


def _file_system(url: str) -> tuple[Any, str]:
    if missing_modules("remote")[:1] == ["fsspec"]:
        raise OSError(f"URLs need fsspec; {install_command('remote')}")
    import fsspec

    scheme = url.partition("://")[0].lower()
    # s3fs asks for the size before it reads, so as to read large files in parts: one request per image is enough.
    options = {"max_concurrency": 1} if scheme in ("s3", "s3a") else {}
    try:
        # Listings of a million files would stay in memory.
        system, path = fsspec.core.url_to_fs(url, use_listings_cache=False, **options)
    except ImportError:
        module = _MODULES.get(scheme, "")
        how = install_command("remote") if module == "s3fs" else f"pip install {module or 'its file system'}"
        raise OSError(f"{scheme}:// URLs need {module or 'a library that is not installed'}; {how}") from None
    except ValueError as error:
        raise OSError(f"not a URL that fsspec reads ({redacted(one_line(error))})") from None
    return system, path


@contextmanager
def _errors(url: str) -> Iterator[None]:
    """Whatever file systems raise, as an OSError with one line that names the remedy and no credentials."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "no such file, folder or bucket") from None
    except FileExistsError:
        raise
    except PermissionError as error:
        answer: Any = getattr(error.__cause__, "response", None) or {}
        every = answer.get("Error", {}).get("Code") in _BAD_CREDENTIALS
        kind = CredentialsError if every else PermissionError
        raise kind(f"access denied: {_said(error, url)}; check or renew the credentials") from None
    except MemoryError:
        raise
    except Exception as error:
        said = _said(error, url)
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if not kinds.isdisjoint(_NO_CREDENTIALS):
            raise CredentialsError(f"no credentials: {said}; set those of its file system") from None
        if said == "Bad Request":  # S3 says no more of expired credentials where it only looks for a file
            raise CredentialsError("access denied: bad request; check or renew the credentials") from None
        if not kinds.isdisjoint(_CONNECTION) or isinstance(error, ConnectionError):
            raise ConnectionError(f"no connection: {said}; check the network and the endpoint") from None
        raise OSError(said) from None


def _said(error: Exception, url: str) -> str:
    """The message of an error on one line, without what ``redacted`` takes from the URL."""
    said = redacted(" ".join(str(getattr(error, "strerror", None) or error).split()))
    rest = url.split("://", 1)[-1]
    host, *query = re.split(r"[?#]", rest, maxsplit=1)
    for secret in (*query, *host.partition("/")[0].rpartition("@")[:1]):
        said = said.replace(secret, "***") if secret else said
    return said[:200].rstrip(".: ") or type(error).__name__
