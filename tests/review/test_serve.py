"""Addresses, ports and the end of a server."""

import http.client
import socket
import threading
from contextlib import suppress

import pytest

from tests.review.running import Client, pets, serving
from wsss_seed.errors import UsageError
from wsss_seed.review import serve
from wsss_seed.review.serve import ReviewServer, open_browser


@pytest.fixture
def run(tmp_path):
    return pets(tmp_path / "run", ids=("a",))


def test_a_port_that_is_taken(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"`port` {port} of 127.0.0.1: cannot be used \(Address already in use\)"):
            ReviewServer(run, port=port)
    with serving(run, port=port) as server:  # free again, at once
        assert Client(server.address).get("/api/run").status == 200
    with serving(run, port=port) as server:
        assert f":{port}/" in server.address


@pytest.mark.parametrize("host", ["999.1.2.3", "203.0.113.7", "a..b", 70 * "a"])
def test_no_address_of_this_machine(run, host):
    with pytest.raises(UsageError, match="`host` is empty"):
        ReviewServer(run, host="")
    with pytest.raises(UsageError, match=host):
        ReviewServer(run, host=host)


def test_ipv6(run):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return  # nothing to test on a machine without
    with serving(run, host="::1") as server:
        assert server.address.startswith("http://[::1]:")
        assert Client(server.address).get("/api/run").status == 200


def test_the_end_does_not_wait_for_a_request(run, monkeypatch, caplog):
    begun, end, cut = threading.Event(), threading.Event(), threading.Event()
    monkeypatch.setattr(serve, "load_sam", lambda name, device: (begun.set(), end.wait(60)))
    with serving(run, sam="tiny") as server:
        client = Client(server.address)

        def ask():
            with suppress(http.client.HTTPException, OSError):
                assert client.post("/api/encode", {"id": "a"}).status == 500
            cut.set()

        asking = threading.Thread(target=ask)
        asking.start()
        assert begun.wait(60)
    assert cut.wait(60)
    end.set()
    asking.join()
    assert caplog.records == []


def test_without_a_screen_no_browser_is_opened(monkeypatch):
    opened = []
    monkeypatch.setattr(serve.webbrowser, "open", lambda address: (opened.append(address), True)[1])
    monkeypatch.setattr(serve.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not open_browser("http://x")
    monkeypatch.setenv("DISPLAY", ":0")
    assert open_browser("http://x")
    assert opened == ["http://x"]
