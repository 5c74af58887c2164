"""The table of classes in a real browser: details of a class, and classes that compete."""

from pathlib import Path

import numpy as np
import pytest

from tests.output.odd_run import NAMES, write_run
from tests.output.report.seen import address, shown
from tests.output.report.test_figures import evidence_of
from wsss_seed.data.base import Sample
from wsss_seed.data.classes import load_class_set
from wsss_seed.output.report import report
from wsss_seed.output.report.evidence import Box, Evidence
from wsss_seed.output.run_folder import RunFolder
from wsss_seed.types import Seed


@pytest.fixture(scope="module")
def rivals(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rivals")
    run = write_run(folder / "run", folder / "photos")
    return report(run, folder / "rivals.html", evidence_of=evidence_of).out


@pytest.fixture(scope="module")
def classes150(tmp_path_factory) -> Path:
    """150 classes, of which only every third has pixels; those before them have boxes that were dropped."""
    folder = tmp_path_factory.mktemp("classes")
    names = [f"class number {i}" for i in range(150)]
    known = load_class_set(", ".join(names))
    with RunFolder(folder / "run", known, {"a": 1}) as run:
        for i in range(0, 150, 3):
            labels = np.full((4, 6), i + 1, np.uint8)
            seed = Seed(labels, np.full((4, 6), 0.5, np.float32), (), {}, {}, ())
            run.save(Sample(f"{i:03}"), np.zeros((4, 6, 3), np.uint8), seed, 0.0)
        run.finalize([f"{i:03}" for i in range(0, 150, 3)])

    def evidence_of(record):
        name = names[int(record.id) + 2]
        return Evidence((Box(name, (0.0, 0.0, 2.0, 2.0), 0.1, None, 0.1, "dropped", "why", "too small"),))

    return report(folder / "run", evidence_of=evidence_of).out


def test_a_row_opens_the_details_of_its_class(visit, rivals):
    page = visit(rivals)
    page.get_by_role("button", name=f"details of {NAMES[1]}").click()
    detail = page.locator("tr.detail")
    text = detail.inner_text()
    assert "2 boxes: 1 painted, 0 ambiguous, 1 dropped" in text
    assert "CLIP sees another class in it" in text
    assert "mean confidence" in text
    assert address(page) == {"detail": "2"}
    assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
    page.get_by_role("button", name="pixels, %").click()  # sorted, the details stay with their class
    above = page.locator("tr.detail").evaluate("row => row.previousElementSibling.querySelector('th').dataset.class")
    assert above == NAMES[1]
    page.locator("#class-table tbody tr", has_text=NAMES[2]).locator("td").first.click()  # anywhere in a row
    assert page.locator("tr.detail").count() == 1
    assert "score <b>too</b> low" in page.locator("tr.detail").inner_text()
    page.get_by_role("button", name=f"details of {NAMES[2]}").press("Enter")
    assert page.locator("tr.detail").count() == 0


def test_details_without_boxes_have_none(visit, pages):
    page = visit(pages["plain"], address="#detail=1")
    assert "box" not in page.locator("tr.detail").inner_text()
    images = page.locator("tr.detail button.class")
    number = images.inner_text().split()[0]
    images.click()
    assert page.inner_text("#status").endswith(f"{number} images")


def test_rivals_lead_to_their_images(visit, rivals):
    page = visit(rivals, address="#detail=1")
    page.locator("tr.detail button[data-pair]").click()
    assert sorted(shown(page)) == ["ring", "rings"]
    assert address(page) == {"detail": "1", "pair": "1-2"}
    assert page.inner_text("#chosen-text") == f"{NAMES[0]} and {NAMES[1]} compete"
    line = page.locator("#gallery .missed").first.inner_text()
    assert line.startswith(f"compete for the same place: {NAMES[0]} and {NAMES[1]} (IoU ")
    page.select_option("#order", "pairs")
    assert shown(page) == ["rings", "ring"]
    page.fill("#name", "rings")
    assert shown(page) == ["rings"]
    page.fill("#name", "none")
    assert f"{NAMES[0]} and {NAMES[1]} compete, name with “none”" in page.inner_text("#nothing")
    page.fill("#name", "")
    page.click("#chosen-clear")
    assert len(shown(page)) == 8
    page.locator("#rivals button").click()  # the list of all pairs
    assert sorted(shown(page)) == ["ring", "rings"]


def test_150_classes_are_found_and_folded(visit, classes150):
    page = visit(classes150)
    assert page.locator("#class-table").evaluate("t => t.parentElement.clientHeight") < 600
    assert page.inner_text("summary:has-text('without pixels')") == "50 classes without pixels or boxes"
    page.fill("#class-name", "NUMBER 14")
    seen = page.locator("#class-table tbody tr:visible th").all_inner_texts()
    assert [text.strip() for text in seen] == [f"class number {i}" for i in (14, 140, 141, 143, 144, 146, 147, 149)]
    page.get_by_role("button", name="details of class number 143").click()
    text = page.locator("tr.detail").inner_text()
    assert "No mask has pixels of it." in text
    assert "1 box: 0 painted, 0 ambiguous, 1 dropped" in text
    assert "too small" in text
    page.fill("#class-name", "")
    assert page.locator("#class-table tbody tr:visible").count() == 1 + 100 + 1
