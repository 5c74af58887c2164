"""The requests of the page, over HTTP."""

import io
import json
import re
import shutil
from importlib import resources

import numpy as np
import pytest
from PIL import Image

import wsss_seed as ws
from tests.output.odd_run import NAMES, label_maps, write_run
from tests.review.running import SHAPE, Client, packed, pets, serving
from wsss_seed.data.corrections import CorrectionLog, Corrections, read_log
from wsss_seed.data.images import read_labels
from wsss_seed.review import server as server_module
from wsss_seed.review.server import PAGE_FILES


@pytest.fixture
def run(tmp_path):
    return pets(tmp_path / "run")


@pytest.fixture
def client(run):
    with serving(run, by="anna") as server:
        yield Client(server.address)


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    """For requests that change nothing."""
    with serving(pets(tmp_path_factory.mktemp("steady") / "run")) as server:
        yield Client(server.address)


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A run with hostile names."""
    folder = tmp_path_factory.mktemp("odd")
    with serving(write_run(folder / "run", folder / "photos")) as server:
        yield Client(server.address)


def corrected(client, id="a"):
    labels = client.get("/labels", id=id, mask="own").map.copy()
    labels[20:25, 25:30] = 2
    return labels


def test_the_files_of_the_page_and_no_others(client):
    for name, kind in PAGE_FILES.items():
        got = client.get(f"/page/{name}")
        assert (got.status, got.headers["content-type"]) == (200, kind)
    for path in (
        "/page/../server.py",
        "/page/..%2fserver.py",
        "/page/%2e%2e/guard.py",
        "/page/x.js",
        "/page//etc/passwd",
    ):
        assert client.ask("GET", path).status == 404
    for text in (client.get(f"/page/{name}").body.decode() for name in PAGE_FILES):
        assert "innerHTML" not in text
        assert "http://" not in text.replace("http://www.w3.org", "")
        assert "https://" not in text


def test_the_run_and_its_list(client):
    about = client.get("/api/run").json
    assert (about["names"], about["by"], about["other"]) == (["background", "cat", "dog"], "anna", None)
    assert len(about["colours"]) == 256
    found = client.post("/api/list", {}).json
    assert found["ids"] == ["c", "a", "b"]  # by the lowest score, then by id
    assert found["counts"] == {
        "all": 3, "open": 3, "reviewed": 0, "accepted": 0, "rejected": 0, "corrected": 0, "outdated": 0, "failed": 0,
    }  # fmt: skip
    cards = client.post("/api/cards", {"ids": ["b", "none", "a"]}).json["cards"]
    assert [card["id"] for card in cards] == ["b", "a"]
    assert [round(card["doubt"], 2) for card in cards] == [0.2, 0.2]


def test_maps_arrive_exactly(client, run):
    own = read_labels(run / "SegmentationClass/a.png")
    got = client.get("/labels", id="a", mask="own")
    assert np.array_equal(got.map, own)
    assert got.headers["x-digest"] == client.get("/api/image", id="a").json["base"]
    assert np.array_equal(client.get("/confidence", id="a").map, np.full(SHAPE, 128, np.uint8))


def test_a_correction_is_kept_beside_the_mask_of_the_run(client, run):
    before = (run / "SegmentationClass/a.png").read_bytes()
    labels = corrected(client)
    got = client.post("/api/decide", client.decision("a", "accepted", labels, what="brush dog", by="berta"))
    assert got.status == 200
    assert (got.json["verdict"], got.json["revision"], got.json["by"]) == ("accepted", 1, "berta")
    assert np.array_equal(client.get("/labels", id="a", mask=got.json["mask"]).map, labels)
    assert (run / "SegmentationClass/a.png").read_bytes() == before
    assert np.array_equal(read_labels(Corrections(run).mask("a", run / "SegmentationClass/a.png")), labels)
    (written,) = read_log(run)
    assert (written.what, written.by, written.verdict) == ("brush dog", "berta", "accepted")


def test_every_label_travels_exactly(tmp_path):
    """All values that a label map may have, in no order that compression would like."""
    run = pets(tmp_path / "run", ids=("a",), shape=(301, 199))
    with serving(run) as server:
        client = Client(server.address)
        labels = np.random.default_rng(3).choice(np.array([0, 1, 2, 255], np.uint8), (301, 199))
        detail = client.post("/api/decide", client.decision("a", labels=labels)).json
        assert np.array_equal(client.get("/labels", id="a", mask=detail["mask"]).map, labels)


def test_the_second_of_two_windows_is_asked(client, run):
    mine = client.decision("a", "accepted", corrected(client))
    theirs = client.decision("a", "rejected", by="berta", what="too dark")
    assert client.post("/api/decide", theirs).status == 200
    got = client.post("/api/decide", mine)
    assert got.status == 409
    assert got.json["theirs"]["by"] == "berta"
    assert "too dark" in got.json["error"]
    assert [decision.verdict for decision in read_log(run)] == ["rejected"]
    again = mine | {"revision": client.get("/api/image", id="a").json["revision"]}  # knowingly
    assert client.post("/api/decide", again).status == 200
    assert [decision.verdict for decision in read_log(run)] == ["rejected", "accepted"]


def test_other_windows_learn_of_decisions(client, run):
    since = client.post("/api/list", {}).json["decisions"]
    nothing = {"decisions": since, "ids": [], "counts": None, "grown": False}
    assert client.get("/api/changes", since=since).json == nothing
    with CorrectionLog(run, ("background", "cat", "dog"), [(0, 0, 0)] * 256, "another process") as log:
        log.decide("b", revision=0, verdict="rejected", what="blurred")
    counts = client.post("/api/list", {}).json["counts"]
    assert counts["rejected"] == 1
    news = {"decisions": since + 1, "ids": ["b"], "counts": counts, "grown": False}
    assert client.get("/api/changes", since=since).json == news
    assert client.get("/api/changes", since="no number").json["ids"] == ["b"]
    assert client.post("/api/list", {"state": "rejected"}).json["ids"] == ["b"]


def test_a_mask_that_another_program_changed_is_not_overwritten(client, run):
    decision = client.decision("a", "accepted")
    assert client.post("/api/decide", decision).status == 200
    stale = client.decision("a", "accepted", corrected(client))
    path = run / "SegmentationClass/a.png"
    image = Image.open(path)
    pixels = np.array(image)
    pixels[3, 3] = 2
    changed = Image.fromarray(pixels)
    changed.putpalette(image.getpalette())
    changed.save(path)
    detail = client.get("/api/image", id="a").json
    assert detail["outdated"]
    assert detail["edited"]
    assert client.post("/api/list", {"state": "outdated"}).json["ids"] == ["a"]
    got = client.post("/api/decide", stale)
    assert got.status == 409
    assert "changed by another program" in got.json["error"]
    assert client.get("/labels", id="a", mask="own").map[3, 3] == 2
    assert client.post("/api/decide", client.decision("a", "accepted")).status == 200
    assert not client.get("/api/image", id="a").json["outdated"]


def test_every_earlier_state_can_be_restored(client):
    first = corrected(client)
    detail = client.post("/api/decide", client.decision("a", labels=first)).json
    mask = detail["mask"]
    client.post("/api/decide", client.decision("a", labels=np.zeros_like(first)))
    client.post("/api/decide", client.decision("a", mask=None))
    assert client.get("/api/image", id="a").json["mask"] is None
    back = client.post("/api/decide", client.decision("a", mask=mask)).json
    assert back["mask"] == mask
    assert [entry["revision"] for entry in back["history"]] == [1, 2, 3, 4]
    other = client.post("/api/decide", client.decision("b", mask=mask))
    assert other.status == 400
    assert "has no such mask" in other.json["error"]
    assert client.get("/labels", id="b", mask=mask).status == 400


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"labels": "!", "size": [40, 30]}, "inflated"),
        ({"labels": packed(np.zeros((30, 39), np.uint8)), "size": [40, 30]}, "not one of 40 x 30"),
        ({"labels": packed(np.zeros((30, 41), np.uint8)), "size": [40, 30]}, "not one of 40 x 30"),
        ({"labels": packed(np.zeros((40, 30), np.uint8)), "size": [30, 40]}, "30 x 40 pixels, but the mask"),
        ({"labels": packed(np.full((30, 40), 3, np.uint8)), "size": [40, 30]}, "the value 3, but"),
        ({"labels": packed(np.zeros((30, 40), np.uint8))}, "without its size"),
        ({"labels": packed(np.zeros(1, np.uint8)), "size": [10**6, 10**6]}, "too many pixels"),
        ({"mask": "ab" * 32}, "has no such mask"),
        ({"mask": "../../etc/passwd"}, "has no such mask"),
        ({"verdict": "perhaps"}, "not a request of the page"),
        ({"revision": -1}, "not a request of the page"),
        ({"what": "x" * 1001}, "not a request of the page"),
        ({"id": "../a"}, "has no image"),
        ({"id": "d"}, "has no image"),
        ({"base": "0" * 64}, "changed by another program"),
    ],
)  # fmt: skip
def test_what_the_page_does_not_send_is_refused(steady, changed, text):
    got = steady.post("/api/decide", steady.decision("a", "accepted") | changed)
    assert got.status in (400, 409)
    assert text in got.json["error"]
    assert "\n" not in got.json["error"]
    assert steady.get("/api/image", id="a").json["history"] == []


def test_a_bomb_is_not_inflated(steady):
    bomb = packed(np.zeros((2**14, 2**13), np.uint8))
    decision = steady.decision("a") | {"size": [40, 30], "labels": bomb}
    assert "not one of 40 x 30" in steady.post("/api/decide", decision).json["error"]


def test_a_body_that_is_too_large_is_not_read(steady, monkeypatch):
    monkeypatch.setattr(server_module, "LARGEST_BODY", 1000)
    assert steady.ask("POST", "/api/list", b" " * 1001).status == 413
    assert steady.ask("POST", "/api/list", b"{}" + b" " * 900).status == 200


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b'{"order": "x"}', b'{"label": 256}', b"\xff", b"[" * 100_000])
def test_bodies_that_are_no_requests(steady, body):
    got = steady.ask("POST", "/api/list", body)
    assert got.status == 400
    assert "not a request of the page" in got.json["error"]


@pytest.mark.parametrize("id", ["../../etc/passwd", "/etc/passwd", "..", "", "a\0", "A", "a/../a", "C:\\x", "%2e%2e/a"])
@pytest.mark.parametrize("path", ["/api/image", "/thumbnail", "/photo", "/labels", "/confidence"])
def test_ids_come_from_the_manifest_only(steady, path, id):
    got = steady.get(path, id=id)
    assert got.status == 400
    assert "has no image" in got.json["error"]


def test_hostile_names_are_only_data(odd):
    ids = odd.post("/api/list", {}).json["ids"]
    assert set(label_maps()) < set(ids)
    assert odd.get("/api/run").json["names"] == ["background", *NAMES]
    assert odd.get("/api/run").json["notes"][0][0].startswith("<i>")
    for id in label_maps():
        assert odd.get("/thumbnail", id=id).status == 200
        assert np.array_equal(odd.get("/labels", id=id, mask="own").map, label_maps()[id])
    (failed,) = odd.post("/api/list", {"state": "failed"}).json["ids"]
    assert odd.get("/api/image", id=failed).json["error"] == "not an image <script>alert(3)</script>"
    got = odd.post("/api/decide", {"id": failed, "revision": 0, "base": "x", "verdict": "accepted", "what": ""})
    assert (got.status, "failed" in got.json["error"]) == (400, True)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"label": 3}, {"rings", "images/test/x__y", 'noise <img src=x onerror=alert(4)> "q" &amp;'}),
        ({"name": "RING"}, {"ring", "rings"}),
        ({"note": "<i>void</i>"}, {"void"}),
        ({"label": 1, "name": "ouch"}, {"touching"}),
        ({"state": "reviewed"}, set()),
    ],
)
def test_filters(odd, query, wanted):
    assert set(odd.post("/api/list", query).json["ids"]) == wanted


def test_orders(odd):
    by_ignore = odd.post("/api/list", {"order": "ignore"}).json["ids"]
    assert by_ignore[0] == "void"
    ids = odd.post("/api/list", {"order": "id"}).json["ids"]
    assert ids == sorted(ids)
    assert odd.post("/api/list", {"order": "run"}).json["ids"][: len(label_maps())] == list(label_maps())


def test_files_that_cannot_be_read_are_explained(client, run):
    (run / "JPEGImages/a.jpg").write_bytes(b"no image")
    (run / "SegmentationClass/b.png").write_bytes(b"")
    (run / "Confidence/c.png").unlink()
    for path, id, text in (
        ("/api/image", "a", "not an image"), ("/thumbnail", "a", "not an image"), ("/photo", "a", "not an image"),
        ("/api/image", "b", "empty file"), ("/labels", "b", "empty file"), ("/thumbnail", "b", "empty file"),
        ("/confidence", "c", "cannot be read"),
    ):  # fmt: skip
        got = client.get(path, id=id)
        assert got.status == 422
        assert text in got.json["error"]
    assert len(client.post("/api/cards", {"ids": ["a", "b", "c"]}).json["cards"]) == 3


def test_a_corrected_mask_that_another_program_changed(client, run):
    mask = client.post("/api/decide", client.decision("a", labels=corrected(client))).json["mask"]
    shutil.copy(run / "SegmentationClass/b.png", run / f"Corrections/Masks/{mask[:2]}/{mask}.png")
    got = client.get("/labels", id="a", mask=mask)
    assert got.status == 422
    assert "was changed by another program" in got.json["error"]


def test_the_page_names_every_file_it_loads():
    texts = [(resources.files("wsss_seed.review") / "page" / name).read_text("utf-8") for name in PAGE_FILES]
    loaded = {name for text in texts for name in re.findall(r'(?:"\./|/page/)([\w.]+)"', text)}
    assert loaded | {"index.html"} == set(PAGE_FILES)


def test_the_other_run(tmp_path):
    run = pets(tmp_path / "run", ids=("a", "b"))
    pets(tmp_path / "other", ids=("a",), shift=7)
    with serving(run, other=tmp_path / "other") as server:
        client = Client(server.address)
        assert client.get("/api/run").json["other"] == "other"
        assert np.array_equal(client.get("/other", id="a").map, read_labels(tmp_path / "other/SegmentationClass/a.png"))
        assert "has no mask of b" in client.get("/other", id="b").json["error"]
        Image.fromarray(np.zeros((5, 6), np.uint8)).save(tmp_path / "other/SegmentationClass/b.png")
        assert "6 x 5 pixels, but the image has 40 x 30" in client.get("/other", id="b").json["error"]


def test_of_a_reviewed_other_run_the_corrected_masks_are_copied(tmp_path):
    run, other = pets(tmp_path / "run", ids=("a", "b")), pets(tmp_path / "other", ids=("a", "b"))
    labels = np.full(read_labels(other / "SegmentationClass/a.png").shape, 2, np.uint8)
    ws.open_run(other).correct("a", labels)
    with serving(run, other=other) as server:
        client = Client(server.address)
        assert np.array_equal(client.get("/other", id="a").map, labels)
        ws.open_run(other).correct("a", verdict="rejected")
        assert np.array_equal(client.get("/other", id="a").map, labels)
        own = read_labels(other / "SegmentationClass/b.png")
        assert np.array_equal(client.get("/other", id="b").map, own)


def test_without_another_run(client):
    assert "--other" in client.get("/other", id="a").json["error"]


def test_without_a_sam_there_is_one_line(client):
    got = client.post("/api/encode", {"id": "a"})
    assert got.status == 400
    assert got.json["error"] == "the run names no SAM; start the review with --sam NAME to segment by clicks"


def test_a_sam_that_is_not_here_is_not_downloaded(run, monkeypatch):
    monkeypatch.setenv("WSSS_SEED_HOME", str(run / "nowhere"))
    with serving(run, sam="vit_b") as server:
        client = Client(server.address)
        assert client.get("/api/run").json["sam"] == "vit_b"
        got = client.post("/api/segment", {"id": "a", "points": [[1, 1]], "positive": [True]})
        assert got.json["error"] == "SAM vit_b is not on this machine; wsss-seed models pull vit_b downloads it"


def test_sam_proposes_masks(run):
    with serving(run, sam="tiny", device="cpu") as server:
        client = Client(server.address)
        assert client.post("/api/encode", {"id": "a"}).json == {"encoded": True}
        assert client.post("/api/encode", {"id": "a"}).json == {"encoded": False}
        got = client.post("/api/segment", {"id": "a", "points": [[30.5, 10]], "positive": [True]}).json
        assert len(got["masks"]) == 3
        assert [mask["score"] for mask in got["masks"]] == sorted((m["score"] for m in got["masks"]), reverse=True)
        assert all(sum(mask["runs"]) == SHAPE[0] * SHAPE[1] for mask in got["masks"])
        assert len(client.post("/api/segment", {"id": "a", "box": [25, 5, 35, 15]}).json["masks"]) == 1
        for wrong in ({}, {"points": [[1, 1]]}, {"points": [[1, 1]], "positive": []}, {"box": [1, 2, 3]}):
            assert client.post("/api/segment", {"id": "a", **wrong}).status == 400


def test_new_images_of_a_run_that_is_being_written(client, run):
    text = (run / "manifest.jsonl").read_text("utf-8").splitlines()[0]
    record = json.loads(text) | {"id": "new"}
    for folder, suffix in (("SegmentationClass", "png"), ("Confidence", "png"), ("JPEGImages", "jpg")):
        (run / folder / f"new.{suffix}").write_bytes((run / folder / f"a.{suffix}").read_bytes())
    (run / ".work").mkdir(exist_ok=True)
    (run / ".work/0000.jsonl").write_text(json.dumps(record) + '\n{"id": "half', "utf-8")
    assert client.get("/api/changes", since=0).json["grown"]
    assert client.get("/api/image", id="new").status == 400
    assert "new" in client.post("/api/list", {}).json["ids"]
    assert not client.get("/api/changes", since=0).json["grown"]
    assert client.get("/api/image", id="new").status == 200


def test_the_photograph_is_shown_upright_as_its_mask(client, run):
    version = client.get("/api/image", id="a").json["photo"]
    got = client.get("/photo", id="a", v=version)
    assert "immutable" in got.headers["cache-control"]
    assert client.get("/photo", id="a", v="older").headers["cache-control"] == "no-store"
    assert Image.open(io.BytesIO(got.body)).size == SHAPE[::-1]
    assert client.get("/api/image", id="a").headers["cache-control"] == "no-store"
