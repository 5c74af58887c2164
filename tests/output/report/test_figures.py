"""What the report says of each class."""

import pytest

from tests.output.odd_run import CLASSES, NAMES, label_maps
from tests.output.report.page import Page
from wsss_seed.output.report import report
from wsss_seed.output.report.evidence import Box, Evidence


def box(cls: str, x: float, final: float, role: str = "confident", reason: str = "") -> Box:
    return Box(cls, (x, 5.0, x + 20.0, 25.0), final, None, final, role, f"why {cls}", reason)


def evidence_of(record):
    """Boxes of two classes compete in two images; one class has only boxes that were dropped."""
    cat, dog, hostile, _ = NAMES
    dropped = box(hostile, 30, 0.1, "dropped", "score <b>too</b> low")
    if record.id == "ring":
        return Evidence((box(cat, 5, 0.5), box(dog, 6, 0.4, "dropped", "CLIP sees another class in it"), dropped))
    if record.id == "rings":
        return Evidence((box(dog, 5, 0.5), box(cat, 5, 0.5, "ambiguous", "score not high enough"), dropped))
    return Evidence()


def test_boxes_are_counted_by_what_became_of_them(run):
    data = Page(report(run, evidence_of=evidence_of).out).data
    details = data["details"]
    assert details["1"]["boxes"] == {"confident": 1, "ambiguous": 1, "dropped": 0}
    assert details["2"]["boxes"] == {"confident": 1, "ambiguous": 0, "dropped": 1}
    assert details["2"]["reasons"] == [["CLIP sees another class in it", 1]]
    assert details["3"]["reasons"] == [["score <b>too</b> low", 2]]
    assert details["4"]["boxes"] == {"confident": 0, "ambiguous": 0, "dropped": 0}
    assert details["1"]["rivals"] == [[2, 2]]
    assert details["2"]["rivals"] == [[1, 2]]
    assert data["pairs"] == [[1, 2]]
    pairs = {card["id"]: card["pairs"] for card in data["cards"] if card["pairs"]}
    assert pairs.keys() == {"ring", "rings"}
    assert pairs["rings"][0][:4] == [1, 2, 1.0, 1.0]


def test_area_is_the_share_of_the_images_with_the_class(run):
    details = Page(report(run).out).data["details"]
    for label in range(1, len(CLASSES.names) + 1):
        shares = [(labels == label).mean() for labels in label_maps().values() if (labels == label).any()]
        found = details[str(label)]
        assert found["images"] == len(shares)
        assert found["mean_share"] == pytest.approx(sum(shares) / len(shares))
        assert found["largest_share"] == pytest.approx(max(shares))


def test_a_class_with_boxes_but_no_pixels_keeps_its_row(run):
    names = run / "classes.txt"
    names.write_text(names.read_text("utf-8") + "unicorn\ngriffin\n", "utf-8")

    def boxes(record):
        return Evidence((box("unicorn", 5, 0.2, "dropped", "too small"),) if record.id == "ring" else ())

    page = Page(report(run, evidence_of=boxes).out)
    assert page.data["details"]["5"]["reasons"] == [["too small", 1]]
    assert page.data["details"]["5"]["mean_share"] is None
    assert "6" not in page.data["details"]
    assert "1 class without pixels or boxes" in page.texts
