"""Downloads from a real server on loopback: whatever happens, a file is whole under its name or not there."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.models.loopback import Server, serving
from wsss_seed.errors import WsssError
from wsss_seed.io import steps
from wsss_seed.models import fetch as module
from wsss_seed.models.fetch import fetch

DATA = np.random.default_rng(0).bytes(3_000_000)
HASH = hashlib.sha256(DATA).hexdigest()
ANOTHER = np.random.default_rng(1).bytes(3_000_000)

# What a process of its own does, with the limit of file size as its first argument (0: none).
CHILD = """
import resource, sys
from pathlib import Path
from wsss_seed.models.fetch import fetch
limit, url, path, size, digest = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
fetch([url], Path(path), size=int(size), sha256=digest)
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("WSSS_SEED_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "sleep", lambda _: None)  # between tries
    with serving() as server:
        server.files["/model.pth"] = DATA
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sam" / "model.pth"


def get(server: Server, path: Path, data: bytes = DATA, urls: Sequence[str] = ("/model.pth",), **kwargs: object) -> str:
    """Fetch and give what was logged meanwhile."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    steps.log.addHandler(handler)
    steps.log.setLevel(logging.INFO)
    try:
        size, digest = len(data), hashlib.sha256(data).hexdigest()
        fetch([server.url(where) for where in urls], path, **{"size": size, "sha256": digest, **kwargs})
    finally:
        steps.log.removeHandler(handler)
        steps.log.setLevel(logging.NOTSET)
    return said.getvalue()


def child(server: Server, path: Path, limit: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(limit), server.url("/model.pth"), str(path), str(len(DATA)), HASH]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def part(path: Path) -> Path:
    return path.with_name("model.pth.part")


def left(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir() if not p.name.endswith(".lock"))


def test_a_file_arrives_whole_and_once(server: Server, path: Path):
    said = get(server, path)
    assert path.read_bytes() == DATA
    assert left(path) == ["model.pth"]
    assert (
        said == f"downloading model.pth of 3 MB from 127.0.0.1:{server.server_address[1]}\n"
    )  # no bar without a terminal
    assert get(server, path) == ""
    assert len(server.asked) == 1


def test_a_terminal_sees_a_bar(server: Server, path: Path):
    said = io.StringIO()
    steps.show_bars_on(Console(file=said, force_terminal=True, width=100))
    try:
        get(server, path)
        steps.show_bars_on(Console(file=said, force_terminal=True, width=100, quiet=True))
        before = said.getvalue()
        get(server, path.with_name("other.pth"))
    finally:
        steps.show_bars_on(None)
    assert "3.0/3.0 MB" in before
    assert said.getvalue() == before


def test_elsewhere_a_long_download_is_a_line_now_and_then(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_FIRST_LINE", 0.05)
    server.pause = 0.01
    first, *between = get(server, path).splitlines()
    assert first.startswith("downloading model.pth of 3 MB from 127.0.0.1")
    assert 1 <= len(between) <= 5
    assert all(re.fullmatch(r"model\.pth: \d MB of 3 MB, \d+\.\d MB/s, \d+ s left", line) for line in between)


def test_a_broken_connection_is_taken_up_again(server: Server, path: Path):
    server.cut = 1_000_000
    get(server, path)
    assert path.read_bytes() == DATA
    assert [wanted for _, wanted in server.asked] == [None, "bytes=1000000-", "bytes=2000000-"]
    assert server.sent == len(DATA)


def test_a_killed_download_is_taken_up_again(server: Server, path: Path):
    server.pause = 0.05
    process = child(server, path)
    wait_for(lambda: part(path).exists() and part(path).stat().st_size > 500_000)
    process.kill()
    process.communicate()
    assert not path.exists()
    server.pause, before = 0.0, part(path).stat().st_size
    said = get(server, path)
    assert path.read_bytes() == DATA
    assert server.asked[-1] == ("/model.pth", f"bytes={before}-")
    assert f"of which {before / 1e6:.0f} MB are here" in said


def test_a_server_that_cannot_resume_sends_all_again(server: Server, path: Path):
    path.parent.mkdir()
    part(path).write_bytes(DATA[:1_000_000])
    server.ranges = False
    get(server, path)
    assert path.read_bytes() == DATA
    assert server.sent == len(DATA)


def test_the_beginning_of_another_file_is_given_up(server: Server, path: Path):
    path.parent.mkdir()
    part(path).write_bytes(ANOTHER[:1_000_000])
    said = get(server, path)
    assert "starting over" in said
    assert path.read_bytes() == DATA
    assert [wanted for _, wanted in server.asked] == ["bytes=1000000-", None]


@pytest.mark.parametrize("rest", [DATA, ANOTHER, DATA + b"more"], ids=["whole", "wrong", "long"])
def test_a_part_of_full_length_is_verified(server: Server, path: Path, rest: bytes):
    path.parent.mkdir()
    part(path).write_bytes(rest)
    get(server, path)
    assert path.read_bytes() == DATA
    assert server.sent == (0 if rest == DATA else len(DATA))


def test_a_part_is_not_trusted_where_no_hash_would_tell(server: Server, path: Path):
    path.parent.mkdir()
    part(path).write_bytes(ANOTHER[:1_000_000])
    get(server, path, sha256=None)
    assert path.read_bytes() == DATA


def test_a_part_longer_than_the_file_of_unknown_size(server: Server, path: Path):
    path.parent.mkdir()
    part(path).write_bytes(DATA + b"more")
    get(server, path, size=None)
    assert path.read_bytes() == DATA


def test_another_file_of_the_same_length_is_refused(server: Server, path: Path):
    server.files["/model.pth"] = ANOTHER
    with pytest.raises(WsssError, match=rf"not the published file \(SHA-256 .* instead of {HASH}\)"):
        get(server, path)
    assert left(path) == []


def test_another_length_is_refused_before_it_is_loaded(server: Server, path: Path):
    server.files["/model.pth"], server.pause = DATA * 20, 0.01
    with pytest.raises(WsssError, match="60000000 bytes instead of 3000000"):
        get(server, path)
    assert server.sent < 10 * len(DATA)  # what the system had taken from the server before the client was gone
    assert not path.exists()


def test_a_file_without_end_is_given_up_at_the_published_size(server: Server, path: Path):
    """A server that does not say how much it sends could otherwise fill the disk."""
    server.files["/model.pth"], server.silent, server.pause = DATA * 20, True, 0.01
    with pytest.raises(WsssError, match=r"not the published file \(more than 3000000 bytes\)"):
        get(server, path)
    assert server.sent < 10 * len(DATA)
    assert left(path) == []


@pytest.mark.parametrize("known", [{}, {"sha256": None}, {"size": None}, {"size": None, "sha256": None}])
def test_a_server_that_does_not_say_how_much_it_sends(server: Server, path: Path, known: dict[str, None]):
    server.silent = True
    get(server, path, **known)
    assert path.read_bytes() == DATA


def test_a_download_of_unknown_size_leaves_room_on_the_disk(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
):
    server.silent = True
    monkeypatch.setattr(module, "_RESERVE", 10**18)
    with pytest.raises(WsssError, match=r"cannot be written \(its size is unknown.*free some space"):
        get(server, path, size=None)
    assert not path.exists()
    get(server, path)  # whose size is published


def test_an_announced_size_beyond_the_disk_is_refused_before_it_is_loaded(server: Server, path: Path):
    server.lie = 10**18
    with pytest.raises(WsssError, match=r"bytes remain to be downloaded, \d+ are free\); free some space"):
        get(server, path, size=None)
    assert part(path).exists() is False


@pytest.mark.parametrize("name", ["model.pth.part", "model.pth", ".model.pth.lock"])
@pytest.mark.parametrize("there", [True, False], ids=["file", "dangling"])
def test_a_planted_link_is_not_written_through(server: Server, path: Path, tmp_path: Path, name: str, there: bool):
    path.parent.mkdir()
    elsewhere = tmp_path / "precious"
    if there:
        elsewhere.write_bytes(DATA[:1000])
    (path.parent / name).symlink_to(elsewhere)
    if name == ".model.pth.lock":
        with pytest.raises(WsssError, match="cannot be written"):
            get(server, path)
    else:
        get(server, path)
        assert path.read_bytes() == (DATA[:1000] if there and name == "model.pth" else DATA)
    assert elsewhere.exists() == there
    assert not there or elsewhere.read_bytes() == DATA[:1000]


def test_a_part_that_is_another_files_second_name_is_not_written_to(server: Server, path: Path, tmp_path: Path):
    path.parent.mkdir()
    (tmp_path / "precious").write_bytes(DATA[:1000])
    part(path).hardlink_to(tmp_path / "precious")
    get(server, path)
    assert path.read_bytes() == DATA
    assert (tmp_path / "precious").read_bytes() == DATA[:1000]


def test_a_remembered_hash_is_not_written_through_a_link(server: Server, path: Path, tmp_path: Path):
    large = DATA * 6
    server.files["/model.pth"] = large
    get(server, path, large)
    records = sorted((tmp_path / "home" / "hashes").glob("*.json"))
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for record in records:
        record.unlink()
        record.symlink_to(precious)
    path.unlink()
    get(server, path, large)
    assert precious.read_text() == "mine"
    assert records
    assert not any(record.is_symlink() for record in records)


def test_a_truncated_file_is_an_error_that_can_be_gone_on_from(server: Server, path: Path):
    server.files["/model.pth"], server.lie = DATA[:2_000_000], 1_000_000
    with pytest.raises(WsssError, match=r"failed at 2000000 bytes of 3 MB \(.*\); run the same command again"):
        get(server, path)
    assert left(path) == ["model.pth.part"]
    server.files["/model.pth"], server.lie, server.sent = DATA, 0, 0
    get(server, path)
    assert path.read_bytes() == DATA
    assert server.sent == 1_000_000


def test_missing(server: Server, path: Path):
    server.files.clear()
    with pytest.raises(WsssError, match=r"/model\.pth: the server answered 404 Not Found"):
        get(server, path)
    assert left(path) == []
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again(server: Server, path: Path):
    server.status = [503, 429]
    get(server, path)
    assert path.read_bytes() == DATA
    server.status = [500, 500, 500]
    with pytest.raises(WsssError, match="the server answered 500"):
        get(server, path.with_name("other.pth"))


def test_nobody_answers(server: Server, path: Path):
    with serving() as gone:
        url = gone.url("/model.pth")
    with pytest.raises(WsssError, match=r"cannot be reached \(.*refused\)"):
        fetch([url], path)


def test_an_address_that_does_not_answer_is_asked_once(server: Server, path: Path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/model.pth"
        with pytest.raises(WsssError, match=r"cannot be reached \(timed out\)"):
            fetch([url], path, timeout=0.2)
        silent.settimeout(0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_redirects_are_followed_also_when_resuming(server: Server, path: Path):
    server.moved["/model.pth"] = server.url("/elsewhere")
    server.files["/elsewhere"] = DATA
    server.cut = 2_000_000
    get(server, path)
    assert path.read_bytes() == DATA
    assert server.asked[-1] == ("/elsewhere", "bytes=2000000-")


def test_a_slow_server_is_waited_for_but_not_a_silent_one(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "_TRIES", 1)
    server.pause = 0.01
    get(server, path, timeout=5)
    assert path.read_bytes() == DATA
    server.pause = 30
    with pytest.raises(WsssError, match=r"failed at 65536 bytes.*timed out"):
        get(server, path.with_name("other.pth"), timeout=0.5)


def test_two_processes_fetch_a_file_once(server: Server, path: Path):
    server.pause = 0.02
    processes = [child(server, path) for _ in range(2)]
    said = [p.communicate(timeout=120)[1] for p in processes]
    assert [p.returncode for p in processes] == [0, 0], said
    assert path.read_bytes() == DATA
    assert server.sent == len(DATA)
    assert len(server.asked) == 1


def test_a_full_disk_costs_no_byte_that_is_there(server: Server, path: Path):
    """The limit of a process for the size of files answers as a full disk does."""
    process = child(server, path, limit=2_000_000)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert "CheckpointError" in said
    assert "cannot be written (File too large); free some space" in said
    assert part(path).stat().st_size == 2_000_000
    server.sent = 0
    get(server, path)
    assert path.read_bytes() == DATA
    assert server.sent == 1_000_000


def test_too_little_room_is_seen_beforehand(server: Server, path: Path):
    with pytest.raises(WsssError, match=r"bytes remain to be downloaded, \d+ are free\); free some space"):
        get(server, path, size=10**18)
    assert server.asked == []


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path):
    (tmp_path / "sam").write_text("a file")
    with pytest.raises(WsssError, match="WSSS_SEED_HOME"):
        get(server, tmp_path / "sam" / "model.pth")


def test_an_address_that_is_none(path: Path):
    with pytest.raises(WsssError, match="not a valid URL"):
        fetch(["nowhere/model.pth"], path)


def test_a_mounted_folder_is_a_source_too(server: Server, path: Path, tmp_path: Path):
    (tmp_path / "source.pth").write_bytes(DATA)
    fetch([(tmp_path / "source.pth").as_uri()], path, sha256=HASH)
    assert path.read_bytes() == DATA


# Several addresses --------------------------------------------------------------------------------------------------


def test_the_next_address_is_tried_where_one_fails(server: Server, path: Path):
    """A missing file, a file of another length, and one with another hash."""
    server.files["/short.pth"], server.files["/other.pth"] = DATA[:-1], ANOTHER
    said = get(server, path, urls=["/gone.pth", "/short.pth", "/other.pth", "/model.pth", "/spare.pth"])
    assert f"{server.url('/gone.pth')}: the server answered 404 Not Found; trying the next address\n" in said
    assert path.read_bytes() == DATA
    assert [where for where, _ in server.asked] == ["/gone.pth", "/short.pth", "/other.pth", "/model.pth"]
    assert left(path) == ["model.pth"]


def test_a_server_that_refuses_the_connection_is_passed_over(server: Server, path: Path):
    with serving() as gone:
        url = gone.url("/model.pth")
    fetch([url, server.url("/model.pth")], path, sha256=HASH)
    assert path.read_bytes() == DATA


def test_the_next_address_resumes_what_another_began(server: Server, path: Path):
    server.files["/half.pth"], server.lie = DATA[:2_000_000], 0
    server.silent = True  # it ends early without having announced a length
    server.moved["/model.pth"] = server.url("/elsewhere")
    server.files["/elsewhere"] = DATA
    get(server, path, urls=["/half.pth", "/model.pth"])
    assert path.read_bytes() == DATA
    assert server.asked[-1] == ("/elsewhere", "bytes=2000000-")


def test_an_error_names_what_is_wrong_with_every_address(server: Server, path: Path):
    server.files["/model.pth"] = ANOTHER
    with pytest.raises(WsssError) as caught:
        get(server, path, urls=["/gone.pth", "/model.pth"])
    message = str(caught.value)
    assert f"{server.url('/gone.pth')}: the server answered 404 Not Found; " in message
    assert f"{server.url('/model.pth')}: not the published file (SHA-256 " in message
    size, digest = len(DATA), hashlib.sha256(DATA).hexdigest()
    assert f"put the file at {path} ({size} bytes, SHA-256 {digest}), or set WSSS_SEED_MIRROR to" in message
    assert "\n" not in message


def test_a_full_disk_is_no_reason_for_another_address(server: Server, path: Path):
    with pytest.raises(WsssError, match="free some space"):
        get(server, path, urls=["/model.pth", "/spare.pth"], size=10**18)
    assert server.asked == []
