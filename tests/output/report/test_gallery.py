"""The images of a report as files in a folder."""

import json
import re
import shutil
import tracemalloc
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.output.odd_run import CLASSES, content, label_maps, write_run
from tests.output.report.page import Page
from tests.output.report.seen import address, settled, shown, until
from wsss_seed.data.base import Sample
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.voc import Voc
from wsss_seed.errors import WsssError
from wsss_seed.output.report import report
from wsss_seed.output.report.gallery import CHUNK, INDEXED, in_files
from wsss_seed.output.report.pictures import Enlarged, Picture
from wsss_seed.output.run_folder import RunFolder
from wsss_seed.types import Seed


def called(path: Path) -> tuple[str, object]:
    """The name and the content that a script hands over."""
    [(name, value)] = re.findall(r'^wsssSeed\((".*?"), (.*)\);\n$', path.read_text("utf-8"), re.S)
    return json.loads(name), json.loads(value)


@pytest.fixture(scope="module")
def folder(page_run) -> Path:
    out = page_run.parent / "folder with & <b>name</b>"
    report(page_run, folder=out, truth=Voc(page_run, CLASSES))
    return out


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """130 images, the least certain first; every tenth has the second class."""
    place = tmp_path_factory.mktemp("many")
    known = load_class_set("cat, dog")
    with RunFolder(place / "run", known, {"a": 1}) as run:
        for i in range(130):
            labels = np.full((4, 6), 1 + (i % 10 == 0), np.uint8)
            seed = Seed(labels, np.full((4, 6), i / 130, np.float32), (), {}, {}, ())
            run.save(Sample(f"{i:03}"), np.full((4, 6, 3), i, np.uint8), seed, 0.0)
        run.finalize([f"{i:03}" for i in range(130)])
    result = report(place / "run", folder=place / "site")
    assert (result.images, result.shown) == (130, 130)
    return place / "site"


def test_the_files_have_what_the_page_in_one_file_has(page_run, folder, pages):
    whole = Page(pages["compared"]).data["cards"]
    assert Page(folder / "index.html").data["cards"] == []
    name, summaries = called(folder / "index/0.js")
    assert name == "index/0"
    _, details = called(folder / "cards/0.js")
    assert len(summaries) == len(details) == len(whole)
    for card, summary, detail in zip(whole, summaries, details, strict=True):
        both = summary | detail
        assert {key: value for key, value in both.items() if key not in ("pictures", "large")} == {
            key: value for key, value in card.items() if key != "pictures"
        }
        for picture in detail["pictures"].values():
            Image.open(folder / picture).verify()
        name, large = called(folder / f"{detail['large']}.js")
        assert name == detail["large"]
        assert large.keys() == {"size", "mask", "truth", "photo"}
        Image.open(folder / large["photo"]).verify()


def test_nothing_outside_the_folder_is_named(folder):
    page = Page(folder / "index.html")
    [policy] = [a["content"] for tag, a in page.tags if a.get("http-equiv")]
    assert policy.startswith("default-src 'none'; ")
    assert "img-src 'self' file: data:; script-src 'self' file: 'sha256-" in policy
    for path in folder.rglob("*"):
        if path.suffix in (".html", ".js"):
            assert not re.search(r"https?://", path.read_text("utf-8")), path
    assert "<b>dog</b>" not in (folder / "index.html").read_text("utf-8")
    hostile = {path.name for path in folder.rglob("*")}
    assert all(re.fullmatch(r"[a-z0-9.]+", name) for name in hostile), hostile


def test_the_same_run_gives_the_same_files(page_run, folder, tmp_path):
    again = report(page_run, folder=tmp_path / "again", truth=Voc(page_run, CLASSES))
    assert content(tmp_path / "again") == content(folder)
    marker = (folder / "export.json").stat().st_size
    assert again.bytes == sum(map(len, content(folder).values())) - marker


def test_a_report_is_replaced_and_nothing_else(page_run, tmp_path):
    site = tmp_path / "site"
    report(page_run, folder=site)
    first = content(site)
    report(page_run, folder=site, limit=2)
    assert len(called(site / "index/0.js")[1]) == 2
    assert len([name for name in content(site) if name.endswith("large.js")]) == 2
    report(page_run, folder=site)
    assert content(site) == first
    (site / "mine.txt").write_text("mine")
    with pytest.raises(WsssError, match=r"holds what no export wrote \(mine\.txt\)"):
        report(page_run, folder=site)
    (site / "mine.txt").unlink()
    (site / "export.json").write_text('{"format": "coco", "content": ["index.html"]}')
    with pytest.raises(WsssError, match="an export that is no report"):
        report(page_run, folder=site)
    assert content(site).keys() == first.keys()
    with pytest.raises(WsssError, match="lies in the run folder"):
        report(page_run, folder=page_run / "site")
    with pytest.raises(WsssError, match="give one of them"):
        report(page_run, tmp_path / "a.html", folder=tmp_path / "b")
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("mine")
    with pytest.raises(WsssError, match="not empty and not an export"):
        report(page_run, folder=other)


def test_a_report_that_fails_leaves_the_former_one(tmp_path):
    run = write_run(tmp_path / "run", tmp_path / "photos")
    report(run, folder=tmp_path / "site")
    first = content(tmp_path / "site")
    for mask in (run / "SegmentationClass").rglob("*.png"):
        mask.write_bytes(b"torn")
    with pytest.raises(WsssError, match="none of 8 images"):
        report(run, folder=tmp_path / "site")
    assert content(tmp_path / "site") == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "run", "site"]


def test_hostile_names_are_seen_as_they_are(visit, folder, pages):
    page = visit(folder / "index.html")
    whole = visit(pages["compared"])
    assert shown(page) == shown(whole)
    assert page.locator("#gallery").inner_text() == whole.locator("#gallery").inner_text()
    assert sorted(shown(page)) == sorted(label_maps())
    page.evaluate("Promise.all([...document.querySelectorAll('#gallery img')].map(image => image.decode()))")


def test_only_what_is_looked_at_is_loaded(visit, many):
    asked: list[str] = []
    page = visit(many / "index.html", address="#order=uncertainty")
    page.on("request", lambda request: asked.append(request.url))
    assert page.inner_text("#status") == "1–25 of 130 images"
    assert shown(page) == [f"{i:03}" for i in range(25)]
    page.click("#next")
    until(page, "document.querySelector('#gallery b').textContent === '025'")
    scripts = [url.rpartition("/")[2] for url in asked if url.endswith(".js")]
    assert scripts == ["1.js"]
    page.click("#previous")
    assert shown(page)[0] == "000"  # at once, because it is known
    page.select_option("#class", label="dog")
    until(page, "!document.getElementById('gallery').ariaBusy")
    assert shown(page) == [f"{i:03}" for i in range(0, 130, 10)]
    assert page.inner_text("#status") == "1–13 of 13 images"
    page.fill("#name", "05")
    assert shown(page) == ["050"]


def test_the_enlarged_view_is_loaded(visit, many, folder):
    page = visit(many / "index.html", address="#open=077")
    settled(page, "077")
    assert page.inner_text("#viewer-place") == "78 of 130"
    assert page.evaluate("document.getElementById('photo').naturalWidth") == 6
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    settled(page, "079")
    page.keyboard.press("Escape")
    until(page, "document.querySelector('#gallery b')?.textContent === '075'")
    assert address(page) == {"page": "4"}
    page = visit(folder / "index.html", address="#open=touching&view=errors")
    settled(page, "touching")
    assert page.input_value("#view") == "errors"


def test_it_works_from_a_server_too(browser, folder):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    said: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"http://127.0.0.1:{server.server_port}/#open=touching")
        settled(page, "touching")
        assert page.evaluate("document.getElementById('photo').naturalWidth") == 60
        page.close()
        server.shutdown()
    assert said == []


@pytest.mark.parametrize("content", [None, b"", b'wsssSeed("cards/1", [{"size'])
def test_a_missing_or_truncated_file_is_named(browser, many, tmp_path, content):
    site = tmp_path / "site"
    shutil.copytree(many, site)
    (site / "cards" / "1.js").unlink()
    if content is not None:
        (site / "cards" / "1.js").write_bytes(content)
    page = browser.new_page()
    page.goto((site / "index.html").as_uri() + "#page=2")
    page.wait_for_selector("#trouble:not([hidden])")
    assert page.inner_text("#trouble") == "cards/1.js cannot be loaded: this page needs all files of its folder."
    page.click("#previous")
    until(page, "document.querySelectorAll('#gallery > li').length === 25")
    assert page.is_hidden("#trouble")
    page.close()
    assert CHUNK == 25


@dataclass(frozen=True)
class Filler:
    """An image with 60 kB of pictures and 5 kB of boxes."""

    number: int

    @property
    def key(self) -> tuple[int]:
        return (-self.number,)

    @property
    def pictures(self) -> dict[str, Picture]:
        return {"image": Picture("webp", bytes([self.number % 256]) * 30_000)}

    @property
    def enlarged(self) -> Enlarged:
        return Enlarged(Picture("webp", b"photo"), {"size": (1, 1), "mask": "m" * 30_000})

    def summary(self) -> dict[str, Any]:
        return {"id": f"{self.number:06}", "missed": [], "pairs": []}

    def detail(self) -> dict[str, Any]:
        return {"boxes": [{"why": "w" * 100}] * 50}


def test_memory_does_not_grow_with_the_pictures(tmp_path):
    """2,000 images have 130 MB; in memory are their keys and one part of the index."""
    tracemalloc.start()
    try:
        gallery = in_files(map(Filler, range(2000)), 1500, tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10e6
    assert (gallery.shown, gallery.with_boxes, gallery.with_pairs, gallery.parts) == (1500, 1500, 0, 1)
    assert called(tmp_path / "index/0.js")[1][0]["id"] == "001999"
    assert len(list(tmp_path.glob("images/*/*/large.js"))) == 1500
    assert len(list((tmp_path / "cards").iterdir())) == 60


def test_many_images_have_several_parts_of_the_index(tmp_path):
    class Small(Filler):
        pictures = {}  # noqa: RUF012
        enlarged = Enlarged(Picture("webp", b""), {})

    gallery = in_files(map(Small, range(INDEXED + 1)), None, tmp_path)
    assert gallery.parts == 2
    assert [len(called(tmp_path / f"index/{i}.js")[1]) for i in range(2)] == [INDEXED, 1]
    assert called(tmp_path / "index/1.js")[1][0]["id"] == "000000"
