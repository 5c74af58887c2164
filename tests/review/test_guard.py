"""Who is refused: other hosts, other origins, other users."""

import socket

import pytest

from tests.review.running import Client, pets, serving
from wsss_seed.review.guard import POLICY, host_names, is_loopback


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    run = pets(tmp_path_factory.mktemp("guard") / "run")
    with serving(run) as server:
        yield Client(server.address)


PATHS = ["/", "/page/main.js", "/api/run", "/api/image?id=a", "/thumbnail?id=a", "/labels?id=a&mask=own", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "cookie", [None, "", "wsss-seed-review=x", "{name}=wrong", "{name}=", "{name}={half}", "\u00fc="]
)
def test_nothing_without_the_token(client, path, cookie):
    name = client.cookie.partition("=")[0]
    sent = None if cookie is None else cookie.format(name=name, half=client.token[:-1])
    got = client.ask("GET", path, cookie=None if sent is None else sent.encode("latin-1").decode("latin-1"))
    assert got.status == 403
    assert b"no valid token" in got.body
    assert "set-cookie" not in got.headers


def test_the_address_sets_a_cookie_that_no_script_and_no_other_site_uses(client):
    got = client.ask("GET", f"/?token={client.token}", cookie=None)
    assert got.status == 200
    assert got.headers["set-cookie"] == f"{client.cookie}; Path=/; HttpOnly; SameSite=Strict"
    assert client.ask("GET", f"/?token={client.token}x", cookie=None).status == 403
    assert client.ask("GET", f"/api/run?token={client.token}", cookie=None).status == 403  # only the page's address
    assert client.ask("GET", "/api/run").status == 200


@pytest.mark.parametrize("path", PATHS)
def test_answers_forbid_everything_from_elsewhere(client, path):
    headers = client.ask("GET", path).headers
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers
    assert "unsafe" not in POLICY


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "10.1.2.3:{port}", "", "[::1", "a b", None],
)
def test_a_name_that_dns_was_made_to_give_is_refused(client, host):
    got = client.ask("GET", "/api/run", host=None if host is None else host.format(port=client.port))
    assert got.status in (400, 421)
    assert b"names" not in got.body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:9", "localhost:9000"])
def test_this_machine_is_known_by_its_names_at_any_forwarded_port(client, host):
    assert client.ask("GET", "/api/run", host=host).status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "something"])
@pytest.mark.parametrize("path", PATHS)
def test_requests_of_other_pages_are_refused(client, path, site):
    assert client.ask("GET", path, sec_fetch_site=site).status == 403


def test_a_link_from_elsewhere_opens_the_page_only(client):
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert client.ask("GET", f"/?token={client.token}", cookie=None, **link).status == 200
    assert client.ask("GET", "/api/run", **link).status == 403
    assert client.ask("POST", "/", b"{}", **link).status == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost:{port}", "https://evil.example:{port}"],
)
def test_foreign_origins_change_nothing(client, origin):
    body = b'{"id": "a", "revision": 0, "base": "", "verdict": "rejected", "what": ""}'
    got = client.ask("POST", "/api/decide", body, origin=origin.format(port=client.port))
    assert got.status == 403
    assert b"refused" in got.body
    assert client.get("/api/image", id="a").json["revision"] == 0


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", None])
def test_what_a_form_can_send_is_refused(client, kind):
    assert client.ask("POST", "/api/list", b"{}", content_type=kind).status == 415


def test_a_program_with_the_token_needs_no_origin(client):
    assert client.ask("POST", "/api/list", b"{}", origin=None).status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods(client, method):
    got = client.ask(method, "/api/run")
    assert got.status == 405
    assert "access-control-allow-origin" not in got.headers


def test_two_tokens_differ(tmp_path):
    run = pets(tmp_path / "run", ids=("a",))
    with serving(run) as one, serving(run) as other:
        assert Client(one.address).token != Client(other.address).token
        assert len(Client(one.address).token) >= 32
        stranger = Client(one.address)
        assert stranger.ask("GET", "/", cookie=Client(other.address).cookie).status == 403


def test_names_of_a_host():
    assert host_names("127.0.0.1") == {"localhost", "127.0.0.1", "::1"}
    assert socket.gethostname().lower() in host_names("0.0.0.0")
    assert "box.example" in host_names("BOX.example")
    assert [
        is_loopback(host) for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost", "0.0.0.0", "evil.example")
    ] == [
        *[True] * 4,
        *[False] * 2,
    ]


def test_open_to_other_machines_it_knows_addresses_but_no_foreign_names(tmp_path):
    with serving(pets(tmp_path / "run", ids=("a",)), host="0.0.0.0") as server:
        client = Client(server.address.replace(socket.gethostname(), "127.0.0.1"))
        assert client.ask("GET", "/api/run", host=f"10.1.2.3:{client.port}").status == 200
        assert client.ask("GET", "/api/run", host=f"evil.example:{client.port}").status == 421
        assert client.ask("GET", "/api/run", cookie=None).status == 403
