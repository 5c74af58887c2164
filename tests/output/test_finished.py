"""Run folders read again, whatever happened to their run."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.output.odd_run import NAMES, PALETTE, label_maps
from wsss_seed.data.base import Sample
from wsss_seed.data.classes import ClassSet, voc_palette
from wsss_seed.errors import WsssError
from wsss_seed.output.finished import open_run
from wsss_seed.output.run_folder import RunFolder
from wsss_seed.types import Seed

CATS = ClassSet("cats", ("cat",), (("cat",),), ("cat",), ("grass",), voc_palette())


SEED = Seed(np.array([[0, 1], [1, 255]], np.uint8), np.ones((2, 2), np.float32), (0,), {0: np.float32(0.9)})


IMAGE = np.zeros((2, 2, 3), np.uint8)


def hold(path, settings=None, **options):
    return RunFolder(path, CATS, settings or {"a": 1}, **options)


def save(folder, name):
    return folder.save(Sample(name), IMAGE, SEED, 0.1)


@pytest.mark.parametrize(
    "values",
    [
        {"settings": [1]},
        {"totals": [1]},
        {"totals": {"images": "12"}},
        {"totals": {"images": -1}},
        {"finished": 3},
        {"versions": "1"},
        {"contract": "1\n2"},
        {"settings": {"a": json.loads("[" * 50 + "]" * 50)}},
    ],
    ids=lambda values: next(iter(values)),
)
def test_a_run_json_of_wrong_types_is_refused(tmp_path, values):
    with hold(tmp_path / "run"):
        pass
    path = tmp_path / "run/run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    for reader in (hold, open_run):
        with pytest.raises(WsssError, match=r"run\.json: not readable as the settings of a run") as error:
            reader(tmp_path / "run")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ['{"settings": ' + "[" * 100_000, '{"settings": {"a": 1' + "0" * 5000 + "}}", "\0", "7"]
)
def test_a_run_json_that_is_none_is_refused(tmp_path, text):
    with hold(tmp_path / "run"):
        pass
    (tmp_path / "run/run.json").write_text(text)
    with pytest.raises(WsssError, match=r"run\.json: not readable"):
        hold(tmp_path / "run")


@pytest.mark.parametrize("names", [0, 256, 300])
def test_a_class_file_that_fits_no_label_map_is_refused(tmp_path, names):
    with hold(tmp_path / "run") as folder:
        save(folder, "a")
    (tmp_path / "run/classes.txt").write_text("".join(f"class {i}\n" for i in range(names)))
    with pytest.raises(WsssError, match=rf"classes\.txt: {names} names; .* at most 255"):
        open_run(tmp_path / "run")


def test_records_are_read_on_access(tmp_path):
    with hold(tmp_path / "run") as folder:
        for name in "abc":
            save(folder, name)
        folder.fail(Sample("d"), "damaged", 0.1)
    run = open_run(tmp_path / "run")
    assert [record.id for record in run.records] == ["a", "b", "c"]
    assert (run.records[-1].id, [record.id for record in run.records[:2]]) == ("c", ["a", "b"])
    assert [record.id for record in run.failed] == ["d"]


@pytest.mark.parametrize(
    ("totals", "finished", "unfinished", "gaps"),
    [
        ({"images": 10}, "now", 1, "1 failed, 1 have not been processed yet"),
        ({"images": 9}, "now", 0, "1 failed"),
        ({"images": 3}, "now", 0, "1 failed"),  # fewer than there are: the list has become shorter
        (None, None, None, "1 failed, it is in progress or was interrupted"),
    ],
)
def test_what_a_run_lacks(run, totals, finished, unfinished, gaps):
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**about, "totals": totals, "finished": finished}))
    found = open_run(run)
    assert (found.unfinished, found.gaps) == (unfinished, gaps)


def test_names_palette_and_split_are_those_of_the_run(run):
    found = open_run(run)
    assert found.names == ("background", *NAMES)
    assert found.palette == PALETTE
    assert found.split == "odd list"
    assert [record.id for record in found.records] == list(label_maps())


def test_images_without_mask_or_image_are_not_among_the_records(run):
    (run / "SegmentationClass" / "ring.png").unlink()
    (run / "JPEGImages" / "rings.jpg").unlink()
    assert not {"ring", "rings"} & {record.id for record in open_run(run).records}


def test_records_of_other_settings_are_not_of_this_run(run):
    """As after a shard that was killed between its first image and the check of its settings."""
    lines = (run / "manifest.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    lines[0] = json.dumps({**record, "settings": "0" * len(record["settings"])})
    (run / "manifest.jsonl").write_text("".join(f"{line}\n" for line in lines))
    assert record["id"] not in [r.id for r in open_run(run).records]


def test_a_damaged_first_mask_leaves_the_palette_of_voc(run):
    (run / "SegmentationClass" / "ring.png").write_bytes(b"torn")
    assert open_run(run).palette == voc_palette()


def test_what_is_no_run_is_refused(run, tmp_path):
    with pytest.raises(WsssError, match="no such folder; give the folder of a run"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(WsssError, match=r"photos: not a run folder \(it has no run\.json\)"):
        open_run(tmp_path / "photos")
    (run / "manifest.jsonl").write_text("")
    with pytest.raises(WsssError, match="no finished masks; run generate or predict first"):
        open_run(run)
