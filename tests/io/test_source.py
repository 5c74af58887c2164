"""Files behind URLs, on file systems of fsspec: in memory, on a real S3 server, and one that refuses."""

from __future__ import annotations

import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.io.object_storage import bucket, s3, s3_server  # noqa: F401
from wsss_seed.io import source
from wsss_seed.io.source import Source, is_url, location, recorded, redacted

fsspec = pytest.importorskip("fsspec")

SECRET = "s3://me:hush@bucket/a b/c.jpg?X-Amz-Signature=hush#hush"


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pipe({"/photos/a.jpg": b"0123456789", "/photos/s/b.jpg": b"b"})
    yield "memory://photos"
    system.store.clear()


def test_urls_and_paths(tmp_path: Path):
    assert [is_url(text) for text in ("s3://b/k", "HTTPS://h", "C:/x", "a/b", "x:y", "://")] == [True, True] + [
        False
    ] * 4
    assert location(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    assert location("a/b") == Path("a/b")
    assert location("gs://b/k") == Source("gs://b/k")


def test_credentials_are_not_shown():
    place = Source(SECRET)
    shown = "s3://bucket/a b/c.jpg"
    assert str(place) == repr(place) == f"{place}" == shown
    assert "hush" not in repr([place]) + recorded(["wsss-seed", "generate", f"--root={SECRET}"])
    assert recorded(["x", "--root", SECRET, "--out", "a b"]) == f"x --root '{shown}' --out 'a b'"
    assert redacted("in ftp://u:p@h/x, https://h?k=1 and a?b@c") == "in ftp://h/x, https://h and a?b@c"
    assert (place.name, place.stem, place.suffix) == ("c.jpg", "c", ".jpg")
    assert pickle.loads(pickle.dumps(place)).place == SECRET


def test_a_folder_in_memory(memory: str):
    folder = Source(memory)
    assert sorted(folder.list()) == [("a.jpg", False), ("s", True)]
    assert [folder.exists(), folder.is_dir(), folder.is_file()] == [True, True, False]
    file = folder / "a.jpg"
    assert [file.exists(), file.is_dir(), file.is_file()] == [True, False, True]
    assert file.read_bytes() == b"0123456789"
    assert Source(file.place, "member", 2, 3).read_bytes() == b"234"
    assert file.parent == folder
    with file.open() as stream:
        assert stream.read(2) == b"01"
    assert not (folder / "none.jpg").exists()
    with pytest.raises(FileNotFoundError, match="no such file, folder or bucket"):
        (folder / "none.jpg").read_bytes()


def test_a_bucket(bucket: str):  # noqa: F811
    folder = Source(f"{bucket}/photos")
    fsspec.filesystem("s3").pipe({f"{folder.place}/a.jpg": b"0123456789", f"{folder.place}/s/b.jpg": b"b"})
    assert sorted(folder.list()) == [("a.jpg", False), ("s", True)]
    assert [folder.is_dir(), (folder / "a.jpg").is_file(), (folder / "none").exists()] == [True, True, False]
    assert (folder / "a.jpg").read_bytes() == b"0123456789"
    assert Source(f"{folder.place}/a.jpg", "member", 2, 3).read_bytes() == b"234"
    with pytest.raises(FileNotFoundError, match="no such file, folder or bucket"):
        list(Source("s3://no-such-bucket/photos").list())


class Refusing(BaseHTTPRequestHandler):
    """An S3 whose tokens have all expired."""

    def do_GET(self) -> None:
        body = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.send_response(400)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.usefixtures("s3")
def test_expired_credentials_and_no_network_are_one_line(monkeypatch: pytest.MonkeyPatch):
    s3fs = pytest.importorskip("s3fs")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(
        PermissionError, match=r"^access denied: The provided token has expired; check or renew the credentials$"
    ):
        Source("s3://bucket/a.jpg").read_bytes()
    with pytest.raises(PermissionError, match=r"^access denied: .*; check or renew the credentials$"):
        Source("s3://bucket/photos").is_dir()
    server.shutdown()
    server.server_close()
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ConnectionError, match=r"^no connection: .*; check the network and the endpoint$"):
        Source("s3://bucket/a.jpg").read_bytes()


@pytest.mark.usefixtures("s3")
def test_errors_do_not_quote_credentials():
    with pytest.raises(OSError, match="Invalid bucket name") as error:
        Source(SECRET).read_bytes()
    assert "hush" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("s3")
def test_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    s3fs = pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(PermissionError, match=r"^no credentials: Unable to locate credentials; set those"):
        Source("s3://bucket/a.jpg").read_bytes()


def test_libraries_that_are_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setattr(source, "install_command", lambda extra: f"pip install [{extra}]")
    with pytest.raises(OSError, match=r"^s3a:// URLs need s3fs; pip install \[remote\]$"):
        Source("s3a://bucket/a.jpg").read_bytes()
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(OSError, match=r"^gs:// URLs need gcsfs; pip install gcsfs$"):
        Source("gs://bucket/a.jpg").read_bytes()
    with pytest.raises(OSError, match=r"^not a URL that fsspec reads \(Protocol not known: nope\)$"):
        Source("nope://bucket/a.jpg").read_bytes()
    monkeypatch.setattr(source, "missing_modules", lambda extra: ["fsspec", "s3fs"])
    with pytest.raises(OSError, match=r"^URLs need fsspec; pip install \[remote\]$"):
        Source("s3://bucket/a.jpg").read_bytes()


@pytest.mark.parametrize("kind", ["memory", "bucket"])
def test_writing(kind: str, request: pytest.FixtureRequest, tmp_path: Path):
    folder = Source(f"{request.getfixturevalue(kind)}/out")
    file = folder / "a b/ä?#%[1].png"
    assert not folder.exists()
    assert [*folder.iterdir()] == []
    folder.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"first")
    assert [file.read_bytes(), file.create(b"second"), file.read_bytes()] == [b"first", False, b"first"]
    before = file.stat()
    assert (before.st_size, before.st_mtime > 1e9) == (5, True)
    file.write_bytes(b"longer")
    assert file.stat().st_size == 6
    assert file.stat().st_mtime_ns >= before.st_mtime_ns
    (folder / "mark").touch()
    assert (folder / "mark").read_bytes() == b""
    local = tmp_path / "local"
    local.write_bytes(b"x" * 1000)
    (folder / "large").upload(local)
    with open(tmp_path / "back", "wb") as back:
        (folder / "large").download(back)
    assert (tmp_path / "back").read_bytes() == local.read_bytes()
    assert sorted(folder.files()) == ["a b/ä?#%[1].png", "large", "mark"]
    assert sorted(path.name for path in folder.iterdir()) == ["a b", "large", "mark"]
    with pytest.raises(FileNotFoundError):
        (folder / "a b").stat()
    (folder / "mark").unlink()
    (folder / "mark").unlink(missing_ok=True)
    folder.rmdir()
    assert sorted(folder.files()) == ["a b/ä?#%[1].png", "large"]
    folder.remove_tree()
    folder.remove_tree()
    assert not folder.exists()


def test_folders_and_files_below_them():
    folder = Source("s3://b/run/")
    assert folder.contains(Source("s3://b/run/x/y.jpg"))
    assert not folder.contains(Source("s3://b/run2/x.jpg"))
    assert folder.absolute() == folder.resolve() == folder
    assert not folder.is_symlink()


def test_of_many_writers_one_creates(bucket: str):  # noqa: F811
    file = Source(f"{bucket}/lease")
    with ThreadPoolExecutor(8) as pool:
        made = [*pool.map(lambda number: file.create(str(number).encode()), range(8))]
    assert made.count(True) == 1
    assert file.read_bytes() == str(made.index(True)).encode()
