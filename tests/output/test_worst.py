"""The choice of images by doubt, class and note."""

import pytest

from tests.output.editors import correct
from tests.output.odd_run import NAMES, NOISE, label_maps
from wsss_seed.data.corrections import CorrectionLog
from wsss_seed.errors import RunFolderError, UsageError
from wsss_seed.output.finished import open_run
from wsss_seed.output.manifest import Outline
from wsss_seed.output.worst import chosen, doubt

CLASSES = ("background", "cat", "dog")


def test_all_images_in_their_order_by_default(run):
    assert chosen(open_run(run)) == list(label_maps())


def test_classes_and_notes(run):
    found = open_run(run)
    with_label = [name for name, labels in label_maps().items() if (labels == 3).any()]
    assert chosen(found, classes=[NAMES[2]]) == with_label
    both = [name for name, labels in label_maps().items() if (labels == 3).any() or (labels == 1).any()]
    assert chosen(found, classes=[NAMES[2], NAMES[0]]) == both
    assert chosen(found, note="<I>RING") == ["ring", "rings"]
    assert chosen(found, note="ring", classes=[NAMES[1]]) == ["rings"]


def test_the_worst_come_first_and_reviewed_ones_last(run):
    ignored = {name: (labels == 255).mean() for name, labels in label_maps().items()}
    order = chosen(open_run(run), worst=8)
    assert order[0] == "void"
    assert order.index("rings") < order.index("touching") < order.index("ring")
    assert sorted(ignored, key=ignored.get, reverse=True)[:4] == order[:4]
    assert chosen(open_run(run), worst=2) == order[:2]
    correct(run, "void", label_maps()["void"] * 0)
    found = open_run(run, corrected=False)
    with CorrectionLog(run, found.names, found.palette) as log:
        log.decide(NOISE, revision=0, verdict="rejected", what="no")
    assert chosen(open_run(run), worst=8) == [*[id for id in order if id not in ("void", NOISE)], "void"]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"pixels": {"cat": 5}, "scores": {"cat": 0.75}, "ignore": 0.125}, 0.375),
        ({"pixels": {"cat": 5, "dog": 5}, "scores": {"cat": 0.9, "dog": 0.4}}, 0.6),
        ({"pixels": {"cat": 5}, "scores": {"cat": 0.9, "dog": 0.1}}, 0.1),  # too low to be missed
        ({"pixels": {"cat": 5}, "scores": {"cat": 0.9, "dog": 0.5}}, 0.6),
        ({"pixels": {"cat": 5}, "scores": {"cat": 0.9}, "labels": ("cat", "dog")}, 1.1),  # a given class is missed
        ({"pixels": {"cat": 5}, "scores": {"cat": 0.9, "dog": 0.1}, "present": ("cat", "dog")}, 0.2),
        ({"pixels": {"background": 5}, "labels": ("cat", "dog")}, 2.0),
        ({"pixels": {"cat": 5}, "scores": {"cat": None}}, 0.0),
        ({"pixels": {"background": 5}}, 0.0),
    ],
)
def test_doubt_is_the_sum_of_three_terms(values, wanted):
    assert doubt(Outline("x", "ok", **values), CLASSES) == pytest.approx(wanted)


def test_what_cannot_be_chosen(run):
    found = open_run(run)
    with pytest.raises(UsageError, match=r"unknown class 'cart'.*Did you mean 'cat'"):
        chosen(found, classes=["cart"])
    with pytest.raises(UsageError, match="at least 1"):
        chosen(found, worst=0)
    with pytest.raises(RunFolderError, match="no finished image is chosen"):
        chosen(found, note="nothing like this")
