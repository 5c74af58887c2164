"""Corrections: decisions beside the masks of a run, whoever makes them, and whatever happens to the run meanwhile."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from wsss_seed.data.classes import voc_palette
from wsss_seed.data.corrections import (
    ConflictError,
    CorrectionLog,
    Corrections,
    class_digest,
    mask_name,
    read_log,
    reopen,
)
from wsss_seed.data.images import read_labels
from wsss_seed.errors import DataError, ImageError, RunFolderError, UsageError
from wsss_seed.io.png import write_mask

NAMES = ("background", "cat", "dog")
IDS = ("a", "b", "sub/c")


def labels_of(place: int) -> np.ndarray:
    labels = np.zeros((12, 16), np.uint8)
    labels[2:8, 3 + place : 9] = 1 + place % 2
    return labels


def own(run: Path, id: str) -> Path:
    return run / "SegmentationClass" / f"{id}.png"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The masks of a run, as far as corrections look at it."""
    for place, id in enumerate(IDS):
        write_mask(own(tmp_path, id), labels_of(place), voc_palette())
    (tmp_path / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES))
    return tmp_path


def opened(run: Path, by: str = "ann") -> CorrectionLog:
    return CorrectionLog(run, NAMES, voc_palette(), by)


def corrected(place: int = 0) -> np.ndarray:
    labels = labels_of(place)
    labels[9:, 10:] = 2
    labels[0, 0] = 255
    return labels


def test_a_corrected_mask_is_read_back_and_the_run_is_as_it_was(run):
    before = {path: path.read_bytes() for path in run.rglob("*.png")}
    with opened(run) as log:
        done = log.decide("a", revision=0, verdict="accepted", labels=corrected(), what="brush")
        assert np.array_equal(log.labels("a"), corrected())
        assert np.array_equal(log.labels("b"), labels_of(1))
    found = Corrections(run)
    assert {**found} == {"a": done}
    assert (done.revision, done.verdict, done.what, done.by) == (1, "accepted", "brush", "ann")
    assert np.array_equal(read_labels(found.mask("a", own(run, "a"))), corrected())
    assert found.mask("b", own(run, "b")) == own(run, "b")
    assert (found.reviewed, found.rejected, found.outdated, found.remarks) == ({"a"}, frozenset(), (), ())
    assert {path: path.read_bytes() for path in before} == before
    assert all(hashlib.sha256(p.read_bytes()).hexdigest() == p.stem for p in (run / "Corrections/Masks").rglob("*.png"))


def test_a_folder_without_corrections_has_none_and_gets_none_by_reading(tmp_path):
    found = Corrections(tmp_path)
    assert not found
    assert found.mask("a", tmp_path / "x") == tmp_path / "x"
    reopen(tmp_path, NAMES, voc_palette(), IDS, "why")
    assert not list(tmp_path.iterdir())


def test_rejecting_accepting_and_undoing(run):
    with opened(run) as log:
        first = log.decide("a", revision=0, verdict="rejected", what="rejected")
        assert Corrections(run).rejected == {"a"}
        assert Corrections(run).remarks == ("1 image rejected in review was left out",)
        second = log.decide("a", revision=1, verdict="accepted", labels=corrected(), what="brush")
        assert Corrections(run).rejected == frozenset()
        third = log.decide("a", revision=2, verdict="open", what="undo")
        assert not Corrections(run)
        fourth = log.decide("a", revision=3, verdict="accepted", mask=second.mask, what="redo")
        assert np.array_equal(log.labels("a"), corrected())
        assert log.history("a") == (first, second, third, fourth) == tuple(read_log(run))


def test_labels_that_are_those_of_the_run_need_no_file(run):
    with opened(run) as log:
        assert log.decide("a", revision=0, verdict="accepted", labels=labels_of(0), what="saved").mask is None
    assert not list((run / "Corrections").rglob("*.png"))
    assert Corrections(run).reviewed == {"a"}


def test_a_decision_on_an_older_state_is_refused(run):
    with opened(run) as ann, opened(run, "bob") as bob:
        theirs = bob.decide("a", revision=0, verdict="rejected", what="rejected")
        with pytest.raises(ConflictError, match=r"a: bob has changed it in the meantime \(rejected\)") as error:
            ann.decide("a", revision=0, verdict="accepted", labels=corrected(), what="brush")
        assert error.value.current == theirs == ann.latest("a")
        assert [c.by for c in read_log(run)] == ["bob"]
        ann.decide("a", revision=1, verdict="accepted", what="knowingly")
        bob.refresh()
        assert bob.latest("a").by == "ann"


def test_threads_decide_one_after_the_other(run):
    def attempt(number: int) -> bool:
        try:
            log.decide("a", revision=0, verdict="accepted", what=str(number))
        except ConflictError:
            return False
        return True

    with opened(run) as log, ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(40))) == 1
    assert len(list(read_log(run))) == 1


def decide_often(run: Path, by: str) -> None:
    with opened(run, by) as log:
        for _ in range(20):
            while True:
                log.refresh()
                last = log.latest("b")
                try:
                    log.decide("b", revision=last.revision if last else 0, verdict="accepted", what="x")
                    break
                except ConflictError:
                    pass


def test_processes_lose_no_decision(run):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=decide_often, args=(run, by)) for by in ("ann", "bob", "eve")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert [c.revision for c in read_log(run)] == list(range(1, 61))


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_a_torn_last_line_is_ignored_and_cut_off(run, cut):
    with opened(run) as log:
        log.decide("a", revision=0, verdict="rejected", what="rejected")
        log.decide("b", revision=0, verdict="rejected", what="rejected")
    path = run / "Corrections/log.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[:first] + whole[first : cut if cut < 0 else first + cut])
    assert {*Corrections(run)} == {"a"}
    with opened(run) as log:
        log.decide("b", revision=0, verdict="accepted", what="again")
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["a", "b"]
    assert Corrections(run)["b"].what == "again"


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b'{"id": "a", "revision": 0}',
        b'{"id": "../a", "revision": 1}',
        b'{"id": "a", "revision": 1, "mask": "../../x"}',
        b'{"id": "a", "revision": 1, "verdict": "maybe"}',
        b'{"id": "\xff", "revision": 1}',
        b"[" * 5000,
    ],
)
def test_a_damaged_line_is_named_and_nothing_is_lost(run, line):
    with opened(run) as log:
        log.decide("a", revision=0, verdict="rejected", what="rejected")
    path = run / "Corrections/log.jsonl"
    content = path.read_bytes() + line + b"\n"
    path.write_bytes(content)
    for read in (Corrections, opened):
        with pytest.raises(RunFolderError, match=r"log\.jsonl, line 2: damaged; restore the file"):
            read(run)
    assert path.read_bytes() == content


def test_corrections_of_other_classes_are_refused(run):
    with opened(run) as log:
        log.decide("a", revision=0, verdict="rejected", what="rejected")
    (run / "classes.txt").write_text("background\ncat\nhorse\n")
    with pytest.raises(RunFolderError, match="made for other classes than those of the run; move the folder"):
        Corrections(run)
    assert class_digest(NAMES) != class_digest(("background", "cat", "horse"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((12, 15), np.uint8), "a: 15 x 12 pixels, but the mask of the run has 16 x 12"),
        (np.full((12, 16), 3, np.uint8), "a: the value 3, but the run has 3 classes with the background"),
        (np.zeros((12, 16), np.int64), r"a: a label map is uint8 \(H, W\), not int64 \(12, 16\)"),
    ],
)
def test_label_maps_that_do_not_fit_are_refused(run, labels, message):
    with opened(run) as log, pytest.raises(RunFolderError, match=message):
        log.decide("a", revision=0, verdict="accepted", labels=labels, what="x")
    assert not list(read_log(run))


def test_an_image_without_a_mask_cannot_be_decided_about(run):
    with opened(run) as log:
        with pytest.raises(RunFolderError, match="nowhere: no mask of the run to correct"):
            log.decide("nowhere", revision=0, verdict="rejected", what="x")
        write_mask(run.parent / "outside.png", labels_of(0), voc_palette())
        with pytest.raises(DataError, match=r"image id '\.\./\.\./outside'"):
            log.decide("../../outside", revision=0, verdict="rejected", what="x")
    assert not list(read_log(run))


def test_masks_generated_again_make_verdicts_lapse_and_keep_corrected_masks(run):
    with opened(run) as log:
        log.decide("a", revision=0, verdict="accepted", labels=corrected(), what="brush")
        log.decide("b", revision=0, verdict="rejected", what="rejected")
        log.decide("sub/c", revision=0, verdict="accepted", what="accepted")
    for id in ("a", "b", "sub/c"):
        write_mask(own(run, id), np.ones((12, 16), np.uint8), voc_palette())
    found = Corrections(run)
    assert found.outdated == ("a", "b", "sub/c")
    assert (found.rejected, found.reviewed) == (frozenset(), {"a"})
    assert np.array_equal(read_labels(found.mask("a", own(run, "a"))), corrected())
    assert "3 images, such as a: the mask of the run has changed since the review; review again" in found.remarks


def test_a_replaced_photograph_lets_the_runs_own_mask_hold_again(run):
    with opened(run) as log:
        kept = log.decide("a", revision=0, verdict="accepted", labels=corrected(), what="brush")
    reopen(run, NAMES, voc_palette(), ["a", "b"], "the photograph was replaced")
    assert not Corrections(run)
    assert [(c.id, c.revision, c.what) for c in read_log(run)][1:] == [("a", 2, "the photograph was replaced")]
    with opened(run) as log:
        log.decide("a", revision=2, verdict="accepted", mask=kept.mask, what="restored")
    assert np.array_equal(read_labels(Corrections(run).mask("a", own(run, "a"))), corrected())


def test_confidence_is_certain_where_a_person_decided(run):
    grey = np.full((12, 16), 100, np.uint8)
    with opened(run) as log:
        log.decide("a", revision=0, verdict="open", labels=corrected(), what="brush")
        log.decide("b", revision=0, verdict="accepted", what="accepted")
    found = Corrections(run)
    changed = corrected() != labels_of(0)
    assert np.array_equal(found.confidence("a", grey), np.where(changed, 255, 100))
    assert (found.confidence("b", grey) == 255).all()
    assert np.array_equal(found.confidence("sub/c", grey), grey)


def test_corrected_masks_that_were_changed_or_lost_are_found(run):
    with opened(run) as log:
        first = log.decide("a", revision=0, verdict="accepted", labels=corrected(), what="brush")
        second = log.decide("b", revision=0, verdict="accepted", labels=corrected(1), what="brush")
    assert not list(Corrections(run).faults())
    write_mask(run / mask_name(first.mask), labels_of(0), voc_palette())
    (run / mask_name(second.mask)).unlink()
    faults = dict(Corrections(run).faults())
    assert "changed by another program" in faults["a"]
    assert "is missing" in faults["b"]


def test_links_are_not_followed(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.symlink(elsewhere, run / "Corrections")
    with pytest.raises(RunFolderError, match="Corrections: a link, which is not followed"):
        opened(run)
    assert not list(elsewhere.iterdir())


def test_an_older_copy_of_the_log_is_read_from_its_beginning(run):
    path = run / "Corrections/log.jsonl"
    with opened(run) as log:
        log.decide("a", revision=0, verdict="rejected", what="first")
        shutil.copy(path, run / "copy")
        log.decide("a", revision=1, verdict="accepted", what="second")
        os.replace(run / "copy", path)
        log.refresh()
        assert log.latest("a").what == "first"
        log.decide("a", revision=1, verdict="open", what="third")
    assert [c.what for c in read_log(run)] == ["first", "third"]


def test_a_decision_that_nobody_could_read_is_refused(run):
    """One such line would make all decisions unreadable."""
    with opened(run) as log:
        log.decide("a", revision=0, verdict="rejected", what="dark")
        with pytest.raises(UsageError, match="unknown verdict 'accept'; known: accepted, open, rejected"):
            log.decide("b", revision=0, verdict="accept", what="")
        for what, by in ((3, "ann"), ("", 3), ("\udcff", "ann")):
            with pytest.raises(UsageError, match="b: not a decision"):
                log.decide("b", revision=0, verdict="accepted", what=what, by=by)
        with pytest.raises(UsageError, match="a: not a decision"):
            log.decide("a", revision=1, verdict="accepted", mask="../elsewhere", what="")
    assert [correction.what for correction in read_log(run)] == ["dark"]


def test_saving_again_repairs_a_corrected_mask_that_was_damaged(run):
    with opened(run) as log:
        first = log.decide("a", revision=0, verdict="accepted", labels=corrected(), what="brush")
        (run / mask_name(first.mask)).write_bytes(b"")
        log.decide("a", revision=1, verdict="accepted", labels=corrected(), what="brush")
        assert np.array_equal(log.labels("a"), corrected())
    assert not list(Corrections(run).faults())


def test_a_damaged_mask_of_the_run_is_named(run):
    own(run, "a").write_bytes(b"no image")
    with opened(run) as log, pytest.raises(ImageError, match=r"a\.png"):
        log.decide("a", revision=0, verdict="accepted", labels=corrected(), what="brush")


def test_a_damaged_line_that_was_removed_leaves_no_trace(run):
    path = run / "Corrections/log.jsonl"
    with opened(run) as log, opened(run, "bob") as bob:
        bob.decide("a", revision=0, verdict="rejected", what="dark")
        whole = path.read_bytes()
        path.write_bytes(whole + b"damaged\n")
        for _ in range(2):
            with pytest.raises(RunFolderError, match="line 2: damaged"):
                log.refresh()
        path.write_bytes(whole)
        log.refresh()
        assert [correction.what for correction in log.history("a")] == ["dark"]


def test_a_photograph_that_is_replaced_while_somebody_decides(run):
    with opened(run) as log, opened(run, "bob") as bob:
        log.decide("a", revision=0, verdict="rejected", what="dark")
        bob.decide("a", revision=1, verdict="accepted", what="not that dark")
        assert log.reopen(["a", "b"], "replaced") == ("a",)
    assert not Corrections(run)


def test_a_lapsed_acceptance_of_a_corrected_mask_is_about_the_changed_pixels_only(run):
    with opened(run) as log:
        log.decide("a", revision=0, verdict="accepted", labels=corrected(), what="brush")
    assert Corrections(run).decided("a").all()
    again = labels_of(0)
    again[11, 0] = 1
    write_mask(own(run, "a"), again, voc_palette())
    found = Corrections(run)
    assert np.array_equal(found.decided("a"), corrected() != again)
    assert found.summary == "0 accepted, 1 with a corrected mask, 0 rejected"
