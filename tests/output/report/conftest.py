"""Ground truth for the odd run, its pages, and a browser."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser import chromium
from tests.output.odd_run import CLASSES, label_maps, write_run
from wsss_seed.data.voc import Voc
from wsss_seed.output.report import report


@pytest.fixture
def truth(run, tmp_path) -> Path:
    """Ground truth a little beside the masks."""
    for name, labels in label_maps().items():
        path = tmp_path / "truth" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        labels = np.roll(labels, 2, 1)
        labels[:1] = 255
        labels[1, :] = 2
        Image.fromarray(labels).save(path)
    return tmp_path / "truth"


@pytest.fixture(scope="package")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def page_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return write_run(folder / "run", folder / "photos")


@pytest.fixture(scope="package")
def pages(page_run) -> dict[str, Path]:
    report(page_run, page_run.parent / "compared.html", truth=Voc(page_run, CLASSES))
    return {
        "plain": report(page_run, page_run.parent / "plain.html").out,
        "compared": page_run.parent / "compared.html",
    }


@pytest.fixture
def visit(browser):
    """Open a page; at the end nothing may be on the console and nothing may have been asked of anybody."""
    trouble: list[str] = []
    contexts = []

    def visit(path: Path, width: int = 1280, address: str = "", **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else trouble.append(r.url))
        page.goto(path.as_uri() + address)
        page.wait_for_selector("#gallery > li, #status:not(:empty)")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert trouble == []
