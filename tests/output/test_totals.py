"""Totals of a run, from hand-made records."""

from wsss_seed.output.manifest import Record
from wsss_seed.output.totals import Totals


def record(pixels, *, scores=None, labels=None, size=(10, 10), **more):
    return Record("a", "ok", scores=scores or {}, pixels=pixels, size=size, labels=labels, **more)


def totals(*records):
    found = Totals()
    for one in records:
        found.add(one)
    return found.to_json()


def test_means_are_over_the_images_with_pixels_of_a_class():
    found = totals(
        record({"background": 80, "cat": 20}, scores={"cat": 0.8, "dog": 0.1}, present=("cat",)),
        record({"background": 60, "cat": 40}, scores={"cat": 0.6}, present=("cat",)),
        record({"background": 100}, scores={"cat": 0.2}, present=("cat",)),
    )
    assert found["images_with_class"] == {"cat": 3}
    assert found["images_painted"] == {"cat": 2}
    assert found["mean_area"] == {"cat": 0.3}
    assert found["mean_score"] == {"cat": 0.7}
    assert found["pixels"] == {"background": 240, "cat": 60}


def test_images_without_a_class_are_background_or_ignored():
    found = totals(record({"background": 100}), record({"background": 40}), record({}), record({"cat": 100}))
    assert (found["background_only"], found["ignored_only"]) == (2, 1)
    assert found["ignore"] == 0.4


def test_given_labels_without_pixels_are_counted():
    found = totals(record({"background": 50, "cat": 50}, labels=("cat", "dog")), record({}, labels=("dog",)))
    assert found["images_missing"] == {"dog": 2}


def test_failed_images_count_for_nothing_else():
    found = totals(Record("a", "failed", seconds=2.0, error="x"), record({"cat": 100}, seconds=1.0))
    assert (found["ok"], found["failed"], found["seconds"], found["ignored_only"]) == (1, 1, 3.0, 0)


def test_scores_may_be_missing():
    found = totals(record({"cat": 100}, scores={"cat": None}), record({"cat": 100}))
    assert (found["mean_score"], found["mean_area"]) == ({}, {"cat": 1.0})
    assert totals()["ignore"] is None
