"""Thumbnails and figures of one image."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.output.odd_run import NAMES, PALETTE, label_maps
from tests.output.report.page import Page
from wsss_seed.errors import ImageError
from wsss_seed.output.finished import open_run
from wsss_seed.output.report import report
from wsss_seed.output.report.card import Card, make_card
from wsss_seed.output.report.evidence import Box, Evidence, no_evidence


def test_pictures_are_small_and_show_the_masks(run, tmp_path):
    big = np.zeros((400, 800), np.uint8)
    big[100:300, 200:600] = 2
    big[:, 700:] = 255
    Image.fromarray(big).save(run / "SegmentationClass" / "void.png")
    Image.fromarray(big).save(run / "Confidence" / "void.png")
    Image.fromarray(np.full((400, 800, 3), 90, np.uint8)).save(run / "JPEGImages" / "void.jpg", "PNG")
    cards = {card["id"]: card for card in Page(report(run).out).data["cards"]}

    def picture(name: str, kind: str) -> Image.Image:
        head, _, data = cards[name]["pictures"][kind].partition(",")
        assert re.fullmatch(r"data:image/(png|webp);base64", head)
        return Image.open(io.BytesIO(base64.b64decode(data)))

    assert picture("void", "mask").size == picture("void", "image").size == (176, 88)
    shown = np.asarray(picture("void", "mask").convert("RGBA"))
    assert tuple(shown[44, 88]) == (*PALETTE[2], 255)
    assert tuple(shown[44, 170]) == (*PALETTE[255], 255)
    assert shown[5, 5, 3] == 0
    for name, labels in label_maps().items():
        if name != "void":
            assert picture(name, "mask").size == labels.shape[::-1]
            np.testing.assert_array_equal(np.asarray(picture(name, "mask").convert("RGBA"))[..., 3] == 0, labels == 0)


def card_of(run: Path, name: str, truth_of=None, evidence_of=no_evidence) -> Card:
    finished = open_run(run)
    record = next(record for record in finished.records if record.id == name)
    return make_card(finished, record, truth_of, evidence_of, 512)


def test_figures_of_an_image(run):
    labels = label_maps()["touching"]
    confidence = np.asarray(Image.open(run / "Confidence" / "touching.png")) / 255
    card = card_of(run, "touching")
    assert card.size == (60, 40)
    assert card.ignore == pytest.approx((labels == 255).mean())
    assert card.uncertainty == pytest.approx(np.where(labels == 255, 1, 1 - confidence).mean(), abs=1e-6)
    assert card.labels == (1, 2)
    assert (card.iou, card.joint, card.trouble) == (None, None, "")
    assert card.pixels.sum() == labels.size
    assert card.pixels[255] == (labels == 255).sum()
    doubt = np.where(labels == 255, 1, 1 - confidence)
    assert card.doubt[:3] == pytest.approx([doubt[labels == label].sum() for label in range(3)], rel=1e-5)
    assert (card.boxes, card.missed, card.doubted) == ((), (), card.uncertainty)


def test_iou_counts_ignored_pixels_as_background_and_leaves_void_out(run):
    labels = label_maps()["touching"]
    truth = labels.copy()
    truth[15:25, 25:35] = 0  # where the mask is 255
    truth[:, :5] = 255
    card = card_of(run, "touching", lambda _: truth)
    assert card.ious == {0: 1.0, 1: 1.0, 2: 1.0}
    assert card.iou == 1.0
    truth[:20, 5:] = 2  # all that the mask has as 1, and a part of its 255
    card = card_of(run, "touching", lambda _: truth)
    assert card.ious[1] == 0.0
    assert 0 < card.ious[2] < 1
    assert {"truth", "errors"} <= card.pictures.keys()
    small = card.without_counts()
    assert (small.pixels.size, small.doubt.size, small.joint) == (0, 0, None)
    assert (small.summary(), small.detail()) == (card.summary(), card.detail())


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (np.zeros((2, 3), np.uint8), "ground truth of 3 x 2 but 60 x 40 pixels in the mask"),
        (np.full((40, 60), 9, np.uint8), "ground truth has the value 9, but there are 5 classes"),
    ],
)
def test_ground_truth_that_does_not_fit_is_a_remark_on_the_card(run, truth, message):
    card = card_of(run, "ring", lambda _: truth)
    assert card.trouble == f"ring: {message}"
    assert card.iou is None
    assert "truth" not in card.pictures


def test_evidence_is_on_the_card(run):
    box = Box("cat", (1.0, 2.0, 30.0, 39.123456), 0.61234, None, 0.5, "dropped", "too small")
    evidence = Evidence((box,), {NAMES[2]: 0.4, NAMES[3]: 0.9}, "a part is damaged")
    card = card_of(run, "touching", evidence_of=lambda record: evidence)
    assert [m.label for m in card.missed] == [4, 3]
    assert card.doubted == pytest.approx(1.3)
    assert card.notes == ("<i>touching</i>", "a part is damaged")
    json = card.summary() | card.detail()
    assert json["missed"] == [[4, "clip", 0.9], [3, "clip", 0.4]]
    assert json["boxes"][0] | {"why": ""} == {
        "cls": "cat",
        "box": [1.0, 2.0, 30.0, 39.12],
        "score": 0.612,
        "crop": None,
        "final": 0.5,
        "role": "dropped",
        "why": "",
    }


def test_ground_truth_decides_what_is_missed(run):
    truth = label_maps()["touching"].copy()
    truth[:4] = 3
    evidence = Evidence(clip={NAMES[3]: 0.9})
    card = card_of(run, "touching", lambda _: truth, lambda record: evidence)
    assert [(m.label, m.source, m.score) for m in card.missed] == [(3, "truth", 1.0)]


@pytest.mark.parametrize("folder", ["SegmentationClass", "Confidence"])
def test_maps_of_another_size_than_the_image_are_an_error(run, folder):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(run / folder / "ring.png")
    with pytest.raises(ImageError, match="4 x 4 but 60 x 40 pixels in the image"):
        card_of(run, "ring")
