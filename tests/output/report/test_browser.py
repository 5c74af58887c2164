"""The report in a real browser: what it shows, what its controls do, and that it says nothing on the console."""

import io
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

import wsss_seed as ws
from tests.output.odd_run import NAMES, NOISE, PALETTE, label_maps
from tests.output.report.page import Page
from tests.output.report.seen import address, reaches, settled, shown, until
from wsss_seed.data.base import Sample
from wsss_seed.data.classes import load_class_set
from wsss_seed.output.report import report
from wsss_seed.output.run_folder import RunFolder
from wsss_seed.types import Seed


@pytest.fixture(scope="module")
def boxes(tmp_path_factory) -> Path:
    """The page of a label-free run: some boxes were dropped, some classes may have been missed; boats have phrases."""
    known = ws.load_class_set("toyland")
    phrases = tuple((name, "ship") if name == "boat" else (name,) for name in known.names)
    classes = replace(known, phrases=phrases)
    folder = tmp_path_factory.mktemp("boxes")
    (folder / "images").mkdir()
    world = ws.open_dataset("toyland", split="val", images=30, difficulty="hard")
    for sample in world:
        Image.fromarray(world.image(sample)).save(folder / "images" / f"{sample.id}.png")
    classes = replace(classes, assume_present=False)
    # a folder of images, because the report of a run over toyland shows the ground truth
    data = ws.open_dataset("folder", folder / "images", labels="none", classes=classes)
    out = folder / "seeds"
    ws.generate(data, out=out, models="tiny", device="cpu", progress=False)
    return ws.open_run(out).report().out


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A page of 120 images."""
    folder = tmp_path_factory.mktemp("many")
    cats = load_class_set("cat,")
    with RunFolder(folder / "run", cats, {"a": 1}) as run:
        for i in range(120):
            labels = np.full((4, 6), i % 2, np.uint8)
            seed = Seed(labels, np.full((4, 6), i / 120, np.float32), (), {}, {}, ())
            run.save(Sample(f"{i:03}"), np.zeros((4, 6, 3), np.uint8), seed, 0.0)
        run.finalize([f"{i:03}" for i in range(120)])
    return report(folder / "run").out


def is_open(page) -> bool:
    return page.evaluate("document.getElementById('viewer').open")


def colours(page, selector: str = "#stage") -> np.ndarray:
    """int (H, W, 3), what is seen of an element."""
    picture = Image.open(io.BytesIO(page.locator(selector).screenshot()))
    return np.asarray(picture.convert("RGB")).astype(int)


def near(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """bool (...), whether pixels have a colour."""
    return (abs(pixels - np.array(colour)) <= 3).all(-1)


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


def test_a_search_without_a_match_says_so_and_can_be_cleared(visit, pages):
    page = visit(pages["plain"])
    assert not page.is_visible("#nothing")
    page.select_option("#class", label=NAMES[1])
    page.fill("#name", "no such image")
    assert shown(page) == []
    assert page.inner_text("#status") == "0 images"
    assert f"No image matches: class {NAMES[1]}, name with “no such image”." in page.inner_text("#nothing")
    page.click("#clear")
    assert sorted(shown(page)) == sorted(label_maps())
    assert not page.is_visible("#nothing")
    assert (page.input_value("#class"), page.input_value("#name")) == ("", "")


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


def test_many_images_are_paged(visit, many):
    """120 images: pages of 25 with the rest on the last, and only those in the document."""
    page = visit(many)
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
def test_narrow_windows_need_no_sideways_scrolling(visit, pages, boxes, width):
    for path in (pages["compared"], boxes):
        page = visit(path, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.click("#gallery > li:nth-child(3) figure:first-of-type button")
        settled(page)
        assert page.evaluate("[...document.querySelectorAll('dialog, #stage')].every(e => e.scrollWidth <= innerWidth)")
        assert page.locator("#stage").bounding_box()["width"] > 0.8 * min(width, 700)


def test_the_class_table_fits_into_500_pixels(visit, boxes):
    page = visit(boxes, 500)
    assert page.locator("[data-key=missed]").is_visible()
    assert page.evaluate("(table => table.scrollWidth <= table.clientWidth)(document.querySelector('.scroll'))")


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


def test_a_click_enlarges_and_labels_have_opacity_and_outline(visit, pages):
    page = visit(pages["plain"])
    card = page.locator("#gallery > li", has_text="touching")
    card.locator("figure button").first.click()
    settled(page, "touching")
    assert page.inner_text("#viewer-place").endswith(f" of {len(label_maps())}")
    assert page.evaluate("document.getElementById('photo').naturalWidth") == 60
    assert page.locator("#stage").bounding_box()["width"] > 600
    page.uncheck("#outline")
    page.locator("#viewer-opacity").fill("100")
    opaque = colours(page)
    height, width, _ = opaque.shape
    assert near(opaque[height // 5, width // 5], PALETTE[1])
    assert near(opaque[height * 4 // 5, width // 5], PALETTE[2])
    assert near(opaque[height // 2, width // 2], PALETTE[255])
    assert page.input_value("#opacity") == "100"
    page.locator("#viewer-opacity").fill("0")
    photograph = colours(page)
    assert near(photograph, PALETTE[1]).mean() < 0.01
    page.check("#outline")
    outlined = colours(page)
    drawn = (outlined != photograph).any(-1)
    assert 0.002 < drawn.mean() < 0.1
    assert near(outlined[height // 2 - 8 : height // 2 + 8, width // 8], PALETTE[2]).any()  # between cat and dog


def test_ground_truth_and_errors_are_enlarged(visit, run, tmp_path):
    truth = tmp_path / "truth"
    shutil.copytree(run / "SegmentationClass", truth)
    labels = np.full((40, 60), 1, np.uint8)
    labels[:, 50:] = 255
    Image.fromarray(labels).save(truth / "touching.png")
    page = visit(report(run, tmp_path / "page.html", truth=truth).out)
    card = page.locator("#gallery > li", has_text="touching")
    card.locator("figure button").last.click()
    settled(page, "touching")
    assert page.input_value("#view") == address(page)["view"] == "errors"
    assert page.is_disabled("#outline")
    assert page.is_visible("#viewer-legend")
    page.locator("#viewer-opacity").fill("100")
    seen = colours(page)
    height, width, _ = seen.shape
    assert near(seen[height * 4 // 5, width // 5], (230, 40, 40))  # cat in ground truth, dog in the mask
    assert near(seen[height // 2, width // 2], (250, 200, 40))  # ignored in the mask
    assert near(seen[height // 5, width - 20], (128, 128, 128))  # ignored in ground truth
    grey = seen[height // 5, width // 5]
    assert grey.max() - grey.min() < 5  # right: the darkened photograph
    page.select_option("#view", "truth")
    settled(page)
    page.uncheck("#outline")
    assert not page.is_visible("#viewer-legend")
    seen = colours(page)
    assert near(seen[height * 4 // 5, width // 5], PALETTE[1])
    page.select_option("#view", "confidence")
    assert page.get_attribute("#photo", "src").startswith("data:image/webp")
    assert page.get_attribute("#photo", "alt") == "confidence of touching"


def test_the_enlarged_view_by_keyboard(visit, pages):
    page = visit(pages["plain"])
    page.select_option("#order", "id")
    order = shown(page)
    page.get_by_role("button", name=order[0], exact=True).press("Enter")
    settled(page, order[0])
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#viewer-title") == order[0]
    for name in order[1:3]:
        page.keyboard.press("ArrowRight")
        settled(page, name)
    page.focus("#viewer-opacity")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#viewer-title") == order[2]
    assert page.input_value("#viewer-opacity") == "56"
    page.keyboard.press("Escape")
    until(page, "name => document.activeElement.textContent === name", order[2])
    assert not is_open(page)
    assert address(page) == {"order": "id"}


def test_steps_lead_past_the_page_of_the_gallery(visit, many):
    page = visit(many, address="#order=id&page=2")
    assert shown(page)[-1] == "049"
    page.get_by_role("button", name="049", exact=True).click()
    settled(page, "049")
    page.click("#viewer-next")
    settled(page, "050")
    assert page.inner_text("#viewer-place") == "51 of 120"
    page.click("#viewer-close")
    until(page, "document.activeElement.textContent === '050'")
    assert shown(page)[0] == "050"
    assert address(page) == {"order": "id", "page": "3"}


def test_the_address_has_the_state(visit, pages):
    page = visit(pages["compared"])
    page.select_option("#order", "uncertainty")
    page.select_option("#class", "1")
    page.fill("#name", "ing")
    page.get_by_role("button", name="IoU, %").click()
    wanted = {"order": "uncertainty", "class": "1", "name": "ing", "sort": "-iou"}
    reaches(page, wanted)
    page.get_by_role("button", name="touching", exact=True).click()
    settled(page, "touching")
    reaches(page, wanted | {"open": "touching"})
    seen, url = shown(page), urlsplit(page.url)
    again = visit(pages["compared"], address="#" + url.fragment)
    settled(again, "touching")
    assert shown(again) == seen
    assert (again.input_value("#class"), again.input_value("#name")) == ("1", "ing")
    assert again.locator("[aria-sort=descending]").inner_text().startswith("IoU")
    again.bring_to_front()  # of two pages one has the keyboard
    again.keyboard.press("Escape")  # there is nothing to go back to
    until(again, "!location.hash.includes('open')")
    reaches(again, wanted)

    page.bring_to_front()
    page.go_back()
    until(page, "!document.getElementById('viewer').open")
    reaches(page, wanted)
    page.go_forward()
    settled(page, "touching")
    assert is_open(page)


@pytest.mark.parametrize(
    "address",
    ["#order=x&class=99&page=-3&view=y&show=z", "#page=NaN&sort=]", "#open=none&sort=-none", "#page=99", "#%%%=&&"],
)
def test_an_address_that_makes_no_sense_shows_the_page(visit, pages, address):
    page = visit(pages["plain"], address=address)
    assert sorted(shown(page)) == sorted(label_maps())
    assert not is_open(page)
    page.locator("#gallery .card-head button").first.click()
    settled(page)


def test_a_hostile_image_is_opened_by_its_address(visit, pages):
    page = visit(pages["plain"])
    page.get_by_role("button", name=NOISE, exact=True).click()
    settled(page, NOISE)
    assert address(page)["open"] == NOISE
    settled(visit(pages["plain"], address="#" + urlsplit(page.url).fragment), NOISE)


def test_boxes_have_scores_and_reasons(visit, boxes):
    data = Page(boxes).data
    card = max(
        data["cards"],
        key=lambda card: (
            any(box["cls"] == "boat" for box in card["boxes"]),
            len({box["role"] for box in card["boxes"]}),
            len(card["boxes"]),
        ),
    )
    dropped = [box for box in card["boxes"] if box["role"] == "dropped"]
    assert dropped
    assert len(dropped) < len(card["boxes"])
    page = visit(boxes, address=f"#open={card['id']}")
    settled(page, card["id"])
    labels = [f"{n} {box['cls']} {box['final']:.2f}" for n, box in enumerate(card["boxes"], 1)]
    kept = [text for text, box in zip(labels, card["boxes"], strict=True) if box["role"] != "dropped"]
    assert page.locator(".box:visible").all_inner_texts() == kept[::-1]  # the best on top
    page.check("#dropped")
    assert page.locator(".box:visible").all_inner_texts() == labels[::-1]
    assert page.evaluate("getComputedStyle(document.querySelector('.box.dropped')).borderTopStyle") == "dotted"
    stage = page.locator("#stage").bounding_box()
    x0, y0, x1, y1 = card["boxes"][0]["box"]
    place = page.locator(".box").last.bounding_box()
    scale = stage["width"] / card["size"][0]
    assert place["x"] - stage["x"] == pytest.approx(x0 * scale, abs=1)
    assert place["y"] - stage["y"] == pytest.approx(y0 * scale, abs=1)
    assert place["width"] == pytest.approx((x1 - x0) * scale, abs=2)
    assert place["height"] == pytest.approx((y1 - y0) * scale, abs=2)
    cells = [row.locator("td, th").all_inner_texts() for row in page.locator("#box-rows tr").all()]
    phrased = {"boat": "boat asked as boat, ship"}
    assert [c[1] for c in cells] == [phrased.get(box["cls"], box["cls"]) for box in card["boxes"]]
    assert "boat" in [box["cls"] for box in card["boxes"]]
    assert [c[2] for c in cells] == [f"{box['score']:.3f}" for box in card["boxes"]]
    assert all(c[5].endswith(box["why"]) for c, box in zip(cells, card["boxes"], strict=True))
    page.uncheck("#boxes")
    page.uncheck("#dropped")
    assert page.locator(".box:visible").count() == 0


def test_runs_without_boxes_or_missed_classes_have_no_controls_for_them(visit, pages):
    page = visit(pages["plain"])
    page.locator("#gallery .card-head button").first.click()
    settled(page)
    assert page.locator("#boxes, #dropped, #box-list, #show, #order option[value=missed]").count() == 0


def test_images_that_may_have_missed_a_class(visit, boxes):
    data = Page(boxes).data
    missed = {card["id"]: card["missed"] for card in data["cards"] if card["missed"]}
    assert 0 < len(missed) < len(data["cards"])
    page = visit(boxes)
    page.check("#show")
    assert page.inner_text("#status").endswith(f"{len(missed)} images")
    page.select_option("#order", "missed")
    sums = [sum(score for _, _, score in missed[id]) for id in shown(page)]
    assert sums == sorted(sums, reverse=True)
    first = shown(page)[0]
    names = [data["names"][label] for label, _, _ in missed[first]]
    line = page.locator("#gallery > li .missed").first.inner_text()
    assert line.startswith("perhaps missed:")
    assert all(name in line for name in names)
    cell = page.locator("#class-table button[data-show=missed]").first
    label, number = cell.get_attribute("data-label"), int(cell.inner_text())
    cell.click()
    assert len(shown(page)) == number
    assert set(shown(page)) == {id for id, found in missed.items() if int(label) in [m[0] for m in found]}
    assert address(page) == {"order": "missed", "class": label, "show": "missed"}


def test_the_table_of_classes_is_sorted_by_its_headings(visit, boxes):
    page = visit(boxes)

    def column(key: str) -> list[str]:
        return page.locator(f"#class-table tbody [data-{key}]").evaluate_all("(e, k) => e.map(c => c.dataset[k])", key)

    original = column("class")
    for key, name in (("uncertainty", "uncertainty, %"), ("score", "score"), ("missed", "missed in")):
        heading = page.get_by_role("button", name=name, exact=True)
        heading.click()
        assert page.locator("[aria-sort]").get_attribute("aria-sort") == "descending"
        down = column(key)
        figures = [float(value) for value in down if value]
        assert figures == sorted(figures, reverse=True)
        assert "" not in down[: len(figures)]  # rows without a figure are last
        heading.press("Enter")
        assert page.locator("[aria-sort]").get_attribute("aria-sort") == "ascending"
        assert [float(value) for value in column(key) if value] == figures[::-1]
        assert "" not in column(key)[: len(figures)]
    page.get_by_role("button", name="class", exact=True).click()
    assert column("class") == sorted(original)
    page.get_by_role("button", name="class", exact=True).click()
    page.get_by_role("button", name="class", exact=True).click()
    assert column("class") == original
    assert page.locator("[aria-sort]").count() == 0
