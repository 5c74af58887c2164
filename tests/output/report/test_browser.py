"""The report in a real browser: what it shows, what its controls do, and that it says nothing on the console."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from tests.output.odd_run import CLASSES, NAMES, NOISE, label_maps, write_run
from wsss_seed.data.base import Sample
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.voc import Voc
from wsss_seed.output.report import report
from wsss_seed.output.run_folder import RunFolder
from wsss_seed.types import Seed

SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
)


@pytest.fixture(scope="module")
def browser():
    path = os.environ.get("WSSS_SEED_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium; install one or set WSSS_SEED_CHROMIUM to its path")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=list(SWITCHES))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return write_run(folder / "run", folder / "photos")


@pytest.fixture(scope="module")
def pages(run) -> dict[str, Path]:
    report(run, run.parent / "compared.html", truth=Voc(run, CLASSES))
    return {"plain": report(run, run.parent / "plain.html").out, "compared": run.parent / "compared.html"}


@pytest.fixture
def visit(browser):
    """Open a page; at the end nothing may be on the console and nothing may have been asked of anybody."""
    trouble: list[str] = []
    contexts = []

    def visit(path: Path, width: int = 1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else trouble.append(r.url))
        page.goto(path.as_uri())
        page.wait_for_selector("#gallery > li, #status:not(:empty)")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert trouble == []


def shown(page) -> list[str]:
    return page.locator("#gallery > li .card-head b").all_text_contents()


def test_every_picture_is_drawn(visit, pages):
    for name, path in pages.items():
        page = visit(path)
        assert sorted(shown(page)) == sorted(label_maps())
        page.evaluate("Promise.all([...document.querySelectorAll('#gallery img')].map(image => image.decode()))")
        sizes = page.evaluate(
            "[...document.querySelectorAll('#gallery img')].map(image => [image.naturalWidth, image.clientWidth])"
        )
        layers = 8 if name == "compared" else 5
        assert len(sizes) == layers * len(label_maps())
        assert all(natural > 0 and drawn > 0 for natural, drawn in sizes)


def test_the_error_layer_lies_on_top(visit, run, tmp_path):
    """Filters make a picture a layer of its own, which must not hide the errors."""
    truth = tmp_path / "truth"
    shutil.copytree(run / "SegmentationClass", truth)
    Image.fromarray(np.full((40, 60), 1, np.uint8)).save(truth / "touching.png")
    page = visit(report(run, tmp_path / "page.html", truth=truth).out)
    card = page.locator("#gallery > li", has_text="touching")
    errors = card.locator("figure").last.locator(".stack")
    pixels = np.asarray(Image.open(io.BytesIO(errors.screenshot())).convert("RGB")).astype(int)
    height, width, _ = pixels.shape
    red = pixels[int(height * 0.85), int(width * 0.1)]  # the lower half is cat in ground truth, dog in the mask
    grey = pixels[int(height * 0.2), int(width * 0.1)]
    assert red[0] > red[1] + 80
    assert abs(grey[0] - grey[1]) < 20


def test_order_class_and_name_choose_the_cards(visit, pages):
    page = visit(pages["plain"])
    page.select_option("#order", "id")
    assert shown(page) == sorted(label_maps())
    page.select_option("#order", "ignore")
    assert shown(page)[0] == "void"
    page.select_option("#class", label=NAMES[2])
    expected = sorted(name for name, labels in label_maps().items() if (labels == 3).any())
    assert sorted(shown(page)) == expected
    assert page.inner_text("#status").endswith(f"{len(expected)} images")
    page.fill("#name", "RING")
    assert shown(page) == ["rings"]
    page.select_option("#class", "")
    assert sorted(shown(page)) == ["ring", "rings"]
    page.fill("#name", "no such image")
    assert shown(page) == []
    assert page.inner_text("#status") == "0 images"


def test_a_class_of_the_table_filters_by_keyboard_too(visit, pages):
    page = visit(pages["compared"])
    button = page.get_by_role("button", name=NAMES[3], exact=True)
    button.focus()
    page.keyboard.press("Enter")
    assert page.input_value("#class") == "4"
    assert sorted(shown(page)) == sorted(name for name, labels in label_maps().items() if (labels == 4).any())


def test_hostile_names_are_seen_as_they_are(visit, pages):
    page = visit(pages["plain"])
    assert page.locator("button.class").all_text_contents() == list(NAMES)
    assert page.locator("#class option").all_text_contents() == ["all", *NAMES]
    assert page.locator("main b, main img[src=x]").count() == len(label_maps())  # the names of the cards alone
    assert "<img src=x onerror=alert(2)>" in page.inner_text("main")
    assert NOISE in shown(page)
    assert "<i>ring</i>" in page.locator("#gallery .hint").all_text_contents()


def test_many_images_are_paged(visit, tmp_path_factory):
    """120 images: pages of 25 with the rest on the last, and only those in the document."""
    folder = tmp_path_factory.mktemp("many")
    cats = load_class_set("cat,")
    with RunFolder(folder / "run", cats, {"a": 1}) as run:
        for i in range(120):
            labels = np.full((4, 6), i % 2, np.uint8)
            seed = Seed(labels, np.full((4, 6), i / 120, np.float32), (), {}, {}, ())
            run.save(Sample(f"{i:03}"), np.zeros((4, 6, 3), np.uint8), seed, 0.0)
        run.finalize([f"{i:03}" for i in range(120)])
    page = visit(report(folder / "run").out)
    seen = shown(page)
    assert seen[0] == "000"
    assert len(seen) == 25
    assert page.locator("#previous").is_disabled()
    for _ in range(4):
        page.click("#next")
        seen += shown(page)
    assert page.locator("#next").is_disabled()
    assert page.inner_text("#status") == "101–120 of 120 images"
    assert seen == [f"{i:03}" for i in range(120)]
    page.click("#previous")
    page.select_option("#class", "1")
    assert page.inner_text("#status") == "1–25 of 60 images"


@pytest.mark.parametrize("width", [320, 390, 800])
def test_narrow_windows_need_no_sideways_scrolling(visit, pages, width):
    page = visit(pages["compared"], width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_windows_are_dark(visit, pages):
    dark = visit(pages["plain"], color_scheme="dark").evaluate("getComputedStyle(document.body).backgroundColor")
    light = visit(pages["plain"], color_scheme="light").evaluate("getComputedStyle(document.body).backgroundColor")
    assert light == "rgb(255, 255, 255)"
    assert max(map(int, dark[4:-1].split(","))) < 60


def test_without_javascript_tables_are_there(visit, pages, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["plain"].as_uri())
    assert "needs JavaScript" in page.inner_text("main")
    assert page.locator("button.class").count() == len(NAMES)
    context.close()
