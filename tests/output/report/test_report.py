"""The report: its figures, and a page in which hostile names stay text."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.output.odd_run import CLASSES, NAMES, PALETTE, label_maps, write_run
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.voc import Voc
from wsss_seed.errors import WsssError
from wsss_seed.evaluation.evaluate import evaluate
from wsss_seed.output.report import report

HOSTILE = "<img src=x onerror=alert(2)>"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", tmp_path / "photos")


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


class Page(HTMLParser):
    """The elements and the text of a page, and the data for its script."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.data = None
        self._inside: str | None = None
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside = "data" if dict(attributes).get("id") == "data" else tag

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, text):
        if self._inside == "data":
            self.data = json.loads(text)
        elif self._inside not in ("script", "style"):
            self.texts.append(text.strip())


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


def test_perfect_masks_have_no_errors(run):
    result = report(run, truth=Voc(run, CLASSES))
    evaluation = evaluate(run, Voc(run, CLASSES))
    assert result.miou == pytest.approx(evaluation.miou) == 1.0


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


def test_hostile_names_stay_text(run, truth):
    page = Page(report(run, truth=truth).out)
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not {"img", "iframe"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    for name in (*NAMES, HOSTILE, "not an image <script>alert(3)</script>", "</script><b>bold</b>"):
        assert name in page.texts
    assert page.data["names"] == ["background", *NAMES]
    text = (run / "report.html").read_text("utf-8")
    assert "alert(1)</script>" not in text.replace("alert(1)&lt;/script&gt;", "")
    assert not re.search(r"https?://", text)


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


def test_the_same_run_gives_the_same_page(run, truth):
    first = report(run, truth=truth).out.read_bytes()
    assert report(run, truth=truth).out.read_bytes() == first


def test_the_command(cli, tmp_path):
    assert cli("generate", "--dataset", "toyland", "--images", 4, "--out", "seeds").returncode == 0
    plain = cli("report", "seeds")
    assert plain.returncode == 0, plain.stderr
    assert "4 images" in plain.stdout
    assert "seeds/report.html" in plain.stdout
    compared = cli(
        "report", "seeds", "--dataset", "toyland", "--images", 4, "--out", "page.html", "--limit", 2, "--json"
    )
    result = json.loads(compared.stdout)
    scores = json.loads(cli("evaluate", "--pred", "seeds", "--dataset", "toyland", "--images", 4, "--json").stdout)
    assert result["miou"] == pytest.approx(scores["miou"])
    assert (result["images"], result["shown"], result["bytes"]) == (4, 2, (tmp_path / "page.html").stat().st_size)
    for arguments, part in (
        (("nowhere",), "nowhere"),
        (("seeds", "--gt", "seeds", "--dataset", "toyland"), "one of them"),
        (("seeds", "--dataset", "toylnd"), "Did you mean 'toyland'?"),
    ):
        wrong = cli("report", *arguments)
        assert wrong.returncode == 2
        assert part in wrong.stderr
        assert "Traceback" not in wrong.stderr
    again = cli("generate", "--dataset", "toyland", "--images", 4, "--out", "seeds", "--json")
    assert json.loads(again.stdout)["skipped"] == 4  # the page in the run folder is in nobody's way
