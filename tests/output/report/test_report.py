"""The report: its figures, and a page in which hostile names stay text."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.output.odd_run import CLASSES, NAMES, label_maps
from tests.output.report.page import Page
from wsss_seed.data.base import Sample
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.voc import Voc
from wsss_seed.errors import WsssError
from wsss_seed.evaluation.evaluate import evaluate
from wsss_seed.output.report import report
from wsss_seed.output.report.evidence import Evidence
from wsss_seed.output.run_folder import RunFolder
from wsss_seed.types import Seed


def test_more_names_than_a_label_map_has_room_for_are_refused(run):
    (run / "classes.txt").write_text("".join(f"class {i}\n" for i in range(400)))
    with pytest.raises(WsssError, match=r"classes\.txt: 400 names; .* at most 255 in all"):
        report(run)


def test_figures_are_those_of_the_run(run):
    result = report(run)
    page = Page(result.out)
    maps = label_maps()
    assert result.out == run / "report.html"
    assert (result.images, result.shown, result.miou, result.failed) == (len(maps), len(maps), None, ())
    cards = {card["id"]: card for card in page.data["cards"]}
    assert cards.keys() == maps.keys()
    for name, labels in maps.items():
        confidence = np.asarray(Image.open(run / "Confidence" / f"{name}.png")) / 255
        uncertainty = np.where(labels == 255, 1, 1 - confidence).mean()
        assert cards[name]["uncertainty"] == pytest.approx(uncertainty, abs=1e-4)
        assert cards[name]["ignore"] == pytest.approx((labels == 255).mean(), abs=1e-4)
        assert cards[name]["labels"] == [int(v) for v in np.unique(labels) if v != 255]
        assert cards[name]["iou"] is None
        assert set(cards[name]["pictures"]) == {"image", "mask", "confidence"}
    uncertainties = [card["uncertainty"] for card in page.data["cards"]]
    assert uncertainties == sorted(uncertainties, reverse=True)
    assert "1 failed, 1 have not been processed yet" in " ".join(page.texts)


def test_with_ground_truth_the_miou_is_that_of_evaluate(run, truth):
    result = report(run, truth=truth)
    evaluation = evaluate(run, truth, names=("background", *NAMES))
    assert result.miou == pytest.approx(evaluation.miou)
    page = Page(result.out)
    cards = page.data["cards"]
    ious = [-1 if card["iou"] is None else card["iou"] for card in cards]
    assert sorted(v for v in ious if v >= 0) == [v for v in ious if v >= 0]
    for card in cards:
        assert {"truth", "errors"} <= card["pictures"].keys()
        labels = label_maps()[card["id"]]
        wanted = np.array(Image.open(truth / f"{card['id']}.png"))
        counted = np.where(labels == 255, 0, labels)[wanted != 255]
        wanted = wanted[wanted != 255]
        for label in range(5):
            union = ((counted == label) | (wanted == label)).sum()
            if union:
                hits = ((counted == label) & (wanted == label)).sum()
                assert card["ious"][str(label)] == pytest.approx(hits / union, abs=1e-4)
            else:
                assert str(label) not in card["ious"]


def rows(page: Page) -> dict[str, dict[str, str]]:
    """The table of classes: what its cells are sorted by."""
    found: dict[str, dict[str, str]] = {}
    for _, attributes in page.tags:
        if "data-class" in attributes:
            found[attributes["data-class"]] = row = {}
        elif found:
            row |= {k[5:]: v for k, v in attributes.items() if k.startswith("data-") and k not in ("data-label",)}
    return found


def test_classes_have_score_and_uncertainty(run):
    page = Page(report(run).out)
    doubt, area, images = np.zeros(256), np.zeros(256), np.zeros(256)
    for name, labels in label_maps().items():
        confidence = np.asarray(Image.open(run / "Confidence" / f"{name}.png")) / 255
        doubt += np.bincount(labels.ravel(), (1 - confidence).ravel(), minlength=256)
        area += np.bincount(labels.ravel(), minlength=256)
        images += np.bincount(labels.ravel(), minlength=256) > 0
    table = rows(page)
    for label, name in enumerate(("background", *NAMES)):
        assert float(table[name]["uncertainty"]) == pytest.approx(doubt[label] / area[label], rel=1e-4)
        assert float(table[name]["share"]) == pytest.approx(area[label] / area.sum())
        assert table[name]["images"] == str(int(images[label]))
        assert table[name]["score"] == ("0.5" if label else "")


def test_what_may_be_missed_is_counted_and_comes_first(run):
    """Evidence of a class in an image that is otherwise certain puts it before the uncertain ones."""
    certain = [card["id"] for card in Page(report(run).out).data["cards"] if 1 not in card["labels"]][-1]

    def evidence_of(record):
        return Evidence(clip={NAMES[0]: 0.95} if record.id == certain else {})

    page = Page(report(run, evidence_of=evidence_of, limit=3).out)
    assert [card["id"] for card in page.data["cards"]][:2] == ["void", certain]  # void has no confidence at all
    assert page.data["cards"][1]["missed"] == [[1, "clip", 0.95]]
    assert {name: row["missed"] for name, row in rows(page).items()} == {
        "background": "0",
        **dict.fromkeys(NAMES, "0"),
        NAMES[0]: "1",
    }


def test_given_labels_without_pixels_are_missed(tmp_path):
    """As often as the totals of the run say."""
    names = tuple(CLASSES.names)
    with RunFolder(tmp_path / "run", CLASSES, {"a": 1}) as folder:
        for id, labels in label_maps().items():
            seed = Seed(labels, np.ones(labels.shape, np.float32), (), {}, {}, ())
            folder.save(Sample(id, labels=(0, 2)), np.zeros((*labels.shape, 3), np.uint8), seed, 0.0)
        folder.finalize(list(label_maps()))
    counted = json.loads((tmp_path / "run" / "run.json").read_text())["totals"]["images_missing"]
    assert set(counted) == {names[0], names[2]}
    page = Page(report(tmp_path / "run").out)
    assert {name: int(row["missed"]) for name, row in rows(page).items() if row["missed"] != "0"} == counted


def test_perfect_masks_have_no_errors(run):
    result = report(run, truth=Voc(run, CLASSES))
    evaluation = evaluate(run, Voc(run, CLASSES))
    assert result.miou == pytest.approx(evaluation.miou) == 1.0


def test_the_limit_keeps_the_worst_and_figures_are_of_all(run, truth):
    everything = Page(report(run, truth=truth).out).data["cards"]
    miou = report(run, truth=truth).miou
    result = report(run, truth=truth, limit=3)
    assert [c["id"] for c in Page(result.out).data["cards"]] == [c["id"] for c in everything[:3]]
    assert result.shown == 3
    assert result.images == len(label_maps())
    assert result.miou == miou


def test_what_cannot_be_read_or_compared_is_listed(run, truth):
    (run / "SegmentationClass" / "ring.png").write_bytes(b"torn")
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(run / "Confidence" / "rings.png")
    (truth / "specks.png").unlink()
    Image.fromarray(np.full((40, 60), 77, np.uint8)).save(truth / "touching.png")
    result = report(run, truth=truth)
    assert dict(result.failed).keys() == {"ring", "rings", "specks", "touching"}
    assert "77" in dict(result.failed)["touching"]
    assert result.exit_status == 1
    page = Page(result.out)
    cards = {card["id"]: card for card in page.data["cards"]}
    assert not {"ring", "rings"} & cards.keys()
    assert "truth" not in cards["specks"]["pictures"]
    assert cards["specks"]["trouble"]
    assert "rings" in page.texts


def test_what_is_no_use_is_refused(run, tmp_path, monkeypatch):
    with pytest.raises(WsssError, match=r"no run\.json"):
        report(tmp_path)
    with pytest.raises(WsssError, match="other classes"):
        report(run, truth=Voc(run, load_class_set("cat, dog")))
    with pytest.raises(WsssError, match="a folder"):
        report(run, tmp_path)
    for mask in (run / "SegmentationClass").rglob("*.png"):
        mask.write_bytes(b"torn")
    (run / "report.html").write_text("former")
    with pytest.raises(WsssError, match="none of 8 images"):
        report(run)
    assert (run / "report.html").read_text() == "former"
