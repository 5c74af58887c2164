"""Two runs compared: the figures, and the page in a browser."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsss_seed as ws
from tests.output.odd_run import CLASSES, NAMES, PALETTE, label_maps, write_run
from tests.output.report.page import Page
from tests.output.report.seen import address, settled, shown, until
from tests.output.report.test_gallery import called
from wsss_seed.data.base import Sample
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.voc import Voc
from wsss_seed.errors import WsssError
from wsss_seed.evaluation.evaluate import evaluate
from wsss_seed.output.report.against import compare
from wsss_seed.output.run_folder import RunFolder
from wsss_seed.types import Seed


def other_maps() -> dict[str, np.ndarray]:
    """The label maps of the second run: three differ, one is missing, one is new."""
    maps = {name: labels.copy() for name, labels in label_maps().items() if name != "specks"}
    maps["ring"][maps["ring"] == 1] = 2  # another class
    maps["touching"][:20, :30] = 255  # undecided
    maps["images/test/x__y"][10:20, 20:50] = 0
    maps["new <b>image</b>"] = np.zeros((5, 5), np.uint8)
    return maps


def write_other(folder: Path, names=CLASSES, **settings) -> Path:
    with RunFolder(folder, names, {"note": "<i>other</i>", **settings}, split="odd list") as run:
        for name, labels in other_maps().items():
            seed = Seed(labels, np.ones(labels.shape, np.float32), (), {}, {}, ())
            run.save(Sample(name), np.zeros((*labels.shape, 3), np.uint8), seed, 0.0)
        run.finalize(list(other_maps()))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("two")
    return write_run(folder / "one", folder / "photos", broken=False), write_other(folder / "<b>two")


@pytest.fixture(scope="module")
def against(runs) -> Path:
    return compare(*runs, runs[0].parent / "against.html", truth=Voc(runs[0], CLASSES)).out


def test_images_are_ordered_by_their_difference(runs, tmp_path):
    result = compare(*runs, tmp_path / "page.html")
    page = Page(result.out)
    cards = {card["id"]: card for card in page.data["cards"]}
    both = label_maps().keys() & other_maps().keys()
    assert cards.keys() == both
    differing, total = 0, 0
    for name in both:
        one, two = label_maps()[name], other_maps()[name]
        assert cards[name]["differs"] == pytest.approx((one != two).mean(), abs=1e-4)
        differing, total = differing + (one != two).sum(), total + one.size
        a, b = (np.where(labels == 255, 0, labels) for labels in (one, two))
        ious = {int(v): ((a == v) & (b == v)).sum() / ((a == v) | (b == v)).sum() for v in np.union1d(a, b)}
        assert {int(k): v for k, v in cards[name]["ious"].items()} == pytest.approx(ious, abs=1e-4)
        assert cards[name]["agreement"] == pytest.approx(np.mean(list(ious.values())), abs=1e-4)
    assert result.differs == pytest.approx(differing / total)
    values = [card["differs"] for card in page.data["cards"]]
    assert values == sorted(values, reverse=True)
    assert (result.images, result.only, result.miou, result.other_miou) == (len(both), (1, 1), None, None)
    assert cards["ring"]["pairs"] == [[1, 2, pytest.approx((label_maps()["ring"] == 1).mean(), abs=1e-4)]]
    assert cards["ring"]["only"] == [[1], [2]]
    assert cards["touching"]["pairs"][0][:2] == [1, 255]
    text = " ".join(page.texts)
    assert "1 image has a mask in A only: specks." in text
    assert "1 image has a mask in B only: new <b>image</b>." in text


def test_classes_have_the_figures_of_both(runs, tmp_path):
    page = Page(compare(*runs, tmp_path / "page.html").out)
    found: dict[str, dict[str, str]] = {}
    for _, attributes in page.tags:
        if "data-class" in attributes:
            found[attributes["data-class"]] = row = {}
        elif found:
            row |= {k[5:]: v for k, v in attributes.items() if k.startswith("data-") and k != "data-label"}
    both = label_maps().keys() & other_maps().keys()
    pixels = sum(label_maps()[name].size for name in both)
    for label, name in enumerate(("background", *NAMES)):
        one, two = ([(maps[image] == label) for image in both] for maps in (label_maps(), other_maps()))
        row = found[name]
        assert (int(row["images"]), int(row["others"])) == tuple(sum(m.any() for m in maps) for maps in (one, two))
        assert int(row["first"]) == sum(bool(a.any() and not b.any()) for a, b in zip(one, two, strict=True))
        assert int(row["second"]) == sum(bool(b.any() and not a.any()) for a, b in zip(one, two, strict=True))
        assert float(row["share"]) == pytest.approx(sum(m.sum() for m in one) / pixels)
        assert float(row["othershare"]) == pytest.approx(sum(m.sum() for m in two) / pixels)


def test_with_ground_truth_the_change_is_that_of_two_evaluations(runs, tmp_path):
    common = sorted(label_maps().keys() & other_maps().keys())
    truth = tmp_path / "truth"
    for name in common:
        path = truth / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        labels = np.roll(label_maps()[name], 1, 1)
        labels[:1] = 255
        Image.fromarray(labels).save(path)
    result = compare(*runs, tmp_path / "page.html", truth=truth)
    names = ("background", *NAMES)
    scores = [evaluate(run, truth, names=names, ids=common).miou for run in runs]
    assert (result.miou, result.other_miou) == pytest.approx(tuple(scores))
    cards = {card["id"]: card for card in Page(result.out).data["cards"]}
    assert cards["ring"]["change"] == pytest.approx(cards["ring"]["iou"] - cards["ring"]["other"], abs=1e-4)
    assert cards["ring"]["change"] > 0.2
    assert cards["rings"]["change"] == 0


def test_the_same_masks_do_not_differ(runs, tmp_path):
    copy = shutil.copytree(runs[0], tmp_path / "copy", symlinks=True)
    result = compare(runs[0], copy, tmp_path / "page.html")
    page = Page(result.out)
    assert result.differs == 0
    assert all(card["differs"] == 0 and card["agreement"] == 1 and not card["pairs"] for card in page.data["cards"])
    assert "Both runs have the same settings." in page.texts
    assert "pair-table" not in [attributes.get("id") for _, attributes in page.tags]


def test_what_cannot_be_compared_is_refused(runs, tmp_path):
    one, _ = runs
    other = write_other(tmp_path / "classes", load_class_set("cat, dog, cow, owl"))
    with pytest.raises(WsssError, match=r"classes: has other classes \(cat, dog, cow, owl\) than"):
        compare(one, other)
    upright = write_other(tmp_path / "upright", orientation="upright")
    with pytest.raises(WsssError, match=r"match the upright images, those of .* the stored ones"):
        compare(one, upright)
    with RunFolder(tmp_path / "apart", CLASSES, {"a": 1}) as run:
        seed = Seed(np.zeros((2, 2), np.uint8), np.ones((2, 2), np.float32), (), {}, {}, ())
        run.save(Sample("elsewhere"), np.zeros((2, 2, 3), np.uint8), seed, 0.0)
        run.finalize(["elsewhere"])
    with pytest.raises(WsssError, match=r"has no image in common with .* \(elsewhere there, ring here\)"):
        compare(one, tmp_path / "apart")
    with pytest.raises(WsssError, match="is the same run"):
        compare(one, one)
    with pytest.raises(WsssError, match=r"no run\.json"):
        compare(one, tmp_path)
    assert not list(one.glob("report*"))


def test_masks_of_another_size_are_listed(runs, tmp_path):
    copy = shutil.copytree(runs[1], tmp_path / "copy", symlinks=True)
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(copy / "SegmentationClass" / "ring.png")
    result = compare(runs[0], copy, tmp_path / "page.html")
    [(name, why)] = result.failed
    assert name == "ring"
    assert why.endswith("ring.png: 3 x 2 but 60 x 40 pixels in the image; make the mask again")
    assert result.exit_status == 1
    for mask in (copy / "SegmentationClass").rglob("*.png"):
        Image.fromarray(np.zeros((2, 4), np.uint8)).save(mask)
    with pytest.raises(WsssError, match="none of 7 images can be shown"):
        compare(runs[0], copy, tmp_path / "none.html")


def test_labels_without_a_class_are_shown_by_their_number(runs, tmp_path):
    other = shutil.copytree(runs[1], tmp_path / "other")
    labels = other_maps()["ring"]
    labels[:8] = 77  # by another program
    Image.fromarray(labels).save(other / "SegmentationClass" / "ring.png")
    result = compare(runs[0], other, tmp_path / "page.html")
    assert not result.failed
    assert [0, 77] in Page(result.out).data["pairs"]
    assert "label 77</td>" in result.out.read_text("utf-8")


def test_from_python_and_as_a_folder(runs, tmp_path):
    run, other = (ws.open_run(path) for path in runs)
    result = run.report(tmp_path / "page.html", against=other)
    assert json.loads(json.dumps(result.to_json()))["only"] == [1, 1]
    site = run.report(folder=tmp_path / "site", against=runs[1], limit=2)
    assert site.shown == 2
    assert [card["id"] for card in called(tmp_path / "site/index/0.js")[1]] == [
        card["id"] for card in Page(result.out).data["cards"][:2]
    ]
    copy = shutil.copytree(runs[0], tmp_path / "copy", symlinks=True)
    assert run.report(against=copy).out == runs[0] / "report-against-copy.html"
    (runs[0] / "report-against-copy.html").unlink()


def test_the_page_shows_both_masks_and_the_difference(visit, against):
    page = visit(against)
    first = page.locator("#gallery > li").first
    assert shown(page)[0] == "ring"
    assert first.locator("figcaption").all_inner_texts() == ["image", "A", "B", "difference", "ground truth"]
    page.get_by_role("button", name="ring", exact=True).click()
    settled(page, "ring")
    assert page.locator(".panel:visible figcaption").all_inner_texts() == ["A", "B", "difference"]
    boxes = [page.locator(".panel .stage").nth(i).bounding_box() for i in range(3)]
    assert len({round(box["y"]) for box in boxes}) == 1
    assert boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]
    page.uncheck("#outline")
    page.locator("#viewer-opacity").fill("100")

    def middle_of_the_ring(panel: int) -> tuple[int, ...]:
        canvas = page.locator(".panel canvas").nth(panel)
        return tuple(
            canvas.evaluate("c => [...c.getContext('2d').getImageData(c.width * .2, c.height / 2, 1, 1).data]")
        )

    assert middle_of_the_ring(0)[:3] == PALETTE[1]
    assert middle_of_the_ring(1)[:3] == PALETTE[2]
    assert middle_of_the_ring(2)[:3] == (230, 40, 40)
    page.select_option("#view", "othererrors")
    until(page, "document.querySelectorAll('.panel:not([hidden])').length === 1")
    settled(page, "ring")
    assert address(page) == {"open": "ring", "view": "othererrors"}


def test_classes_and_confusion_lead_to_their_images(visit, against):
    page = visit(against)
    page.locator("#class-table button[data-show=first]").first.click()
    assert shown(page) == ["ring"]
    assert page.inner_text("#chosen-text") == "only in A"
    page.click("#chosen-clear")
    page.select_option("#class", "")
    page.get_by_role("button", name=f"1 image with {NAMES[0]} in A and ignored in B").click()
    assert shown(page) == ["touching"]
    assert page.inner_text("#chosen-text") == f"{NAMES[0]} in A, ignored in B"
    page.click("#chosen-clear")
    for order, first in (("agreement", "ring"), ("gain", "ring"), ("differs", "ring"), ("id", "empty")):
        page.select_option("#order", order)
        assert shown(page)[0] == first
    rows = page.locator("#settings ~ .scroll tbody tr").all_inner_texts()
    assert any("<i>other</i>" in row and "</script><b>bold</b>" in row for row in rows)


@pytest.mark.parametrize("width", [360, 800])
def test_narrow_windows_need_no_sideways_scrolling(visit, against, width):
    page = visit(against, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#gallery .card-head button").first.click()
    settled(page)
    assert page.evaluate("[...document.querySelectorAll('dialog, .stage')].every(e => e.scrollWidth <= innerWidth)")
