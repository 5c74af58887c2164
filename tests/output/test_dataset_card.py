"""Cards: what they say, that nothing in them is markup, and that nobody's own README.md is lost."""

import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
from huggingface_hub import DatasetCard

import wsss_seed as ws
from tests.io.object_storage import bucket, s3, s3_server  # noqa: F401
from tests.output.odd_run import CLASSES, NAMES, write_run
from wsss_seed.data.base import Sample
from wsss_seed.data.voc import Voc
from wsss_seed.io.source import Source
from wsss_seed.models.checkpoints import find_checkpoint
from wsss_seed.output.dataset_card import export_card, hub_card, is_ours, run_card
from wsss_seed.output.export import EDITORS, FORMATS, export
from wsss_seed.output.fetch import fetch
from wsss_seed.output.run_folder import RunFolder
from wsss_seed.types import Seed

SAM = find_checkpoint("sam", "vit_b").files[0].sha256
ABOUT = {
    "settings": {
        "dataset": {"name": "voc", "split": "train_aug"},
        "labels": "none",
        "backend": {"name": "dino-sam", "mode": "auto"},
        "precision": "fp32",
    },
    "device": "cpu",
    "versions": {"wsss_seed": "9.8.7"},
    "started": "2026-01-02T03:04:05Z",
    "finished": "2026-01-02T04:05:06Z",
    "command": "/opt/bin/wsss-seed generate --root /home/me",
    "weights": {
        "clip": {"name": "my own.pt", "sha256": "ab" * 32},
        "sam": {"name": "vit_b", "sha256": SAM},
        "detector": {"name": "swinb_cogcoor", "sha256": None},
    },
    "changed": {"detector.box_threshold": 0.3},
    "totals": {"ok": 40, "failed": 1, "ignore": 0.0349, "background_only": 2, "images": 41},
}


def line(card: str, part: str) -> str:
    [found] = [line for line in card.splitlines() if part in line]
    return found


def test_a_card_says_how_masks_were_made():
    card = run_card(ABOUT, ("cat", "dog"))
    assert card.startswith("# Machine-made masks\n")
    assert line(card, "Tool") == "- Tool: wsss-seed 9.8.7"
    assert line(card, "Method") == "- Method: `dino-sam`, without labels"
    assert line(card, "- Images") == r"- Images: voc, split train\_aug"
    assert line(card, "Classes (") == "- Classes (2): cat, dog"
    assert line(card, "Command") == "- Command, versions and times: `run.json`"
    assert "2026" not in card
    assert "/home/me" not in card
    assert line(card, "detector.box") == r"| detector.box\_threshold | 0.3 |"
    assert "- 40 images with a mask\n- 1 image failed\n- 3.5 % of the pixels ignored (255)\n" in card
    assert "None: no comparison with ground truth" in card


def test_licences_are_those_of_the_recorded_weights():
    card = run_card(ABOUT, ("cat",))
    assert line(card, "| sam |").split(" | ")[3] == "Apache-2.0"
    assert "unknown | unknown" in line(card, "| clip |")
    assert "not recorded | Apache-2.0" in line(card, "| detector |")
    assert line(card, "neither").endswith("neither label-free nor weakly supervised; these images are of voc.")
    other = {**ABOUT, "weights": {"sam": {"name": "vit_b", "sha256": "cd" * 32}}}  # another file of that name
    assert "unknown | unknown" in line(run_card(other, ()), "| sam |")
    own = {**ABOUT, "weights": {}, "checkpoint": "best.pt"}
    assert "A segmenter that was trained by the user: licence unknown." in run_card(own, ())


@pytest.mark.parametrize(
    "about",
    [
        {"settings": {}},
        {
            "settings": {"backend": 3, "dataset": "x", "labels": []},
            "weights": {"clip": 3, "sam": {"name": 5}},
            "totals": 7,
        },
        {"settings": {}, "totals": {"ok": None, "ignore": 10**400}},
        {"settings": {}, "weights": [1], "versions": None, "changed": [], "totals": {"ok": "many", "ignore": "much"}},
    ],
)
def test_a_run_that_says_little_has_a_card(about):
    card = run_card(about, ())
    assert "licences unknown" in card or "licence unknown" in card
    assert is_ours(card)
    assert "many" not in card


def test_names_are_no_markup():
    hostile = {**ABOUT, "settings": {"backend": {"name": "`</code>`"}, "dataset": {"name": "<img src=x>\n# Title"}}}
    card = run_card(hostile, ("[x](http://y) *z*", "<script>", "a|b", "-->", *NAMES))
    assert r"\[x\]\(http://y\) \*z\*" in card
    assert "<img" not in card
    assert "<script" not in card
    assert r"a\|b" in card
    assert card.count("-->") == 1
    assert "\n# Title" not in card
    assert line(card, "Method").startswith("- Method: `??/code??`")


def test_the_card_on_the_hub_is_valid(tmp_path):
    card = hub_card(export_card(ABOUT, NAMES, {"train": 40, "val": 5}), 'a "b": {c}\u2028\x7f # 😀', 1000)
    (tmp_path / "README.md").write_text(card, "utf-8")
    loaded = DatasetCard.load(tmp_path / "README.md")
    loaded.data.to_dict()
    assert loaded.data.pretty_name == 'a "b": {c}?? # 😀 (machine-made masks)'
    assert loaded.data.license == "unknown"
    assert loaded.data.task_categories == ["image-segmentation"]
    assert loaded.data.task_ids == ["semantic-segmentation"]
    assert loaded.data.annotations_creators == ["machine-generated"]
    assert loaded.data.size_categories == ["1K<n<10K"]
    assert "/home/me" not in card  # an export is for others
    assert "- 5 images with given ground truth, for validation" in card
    assert is_ours(card)
    assert [hub_card("", "x", n).split("size_categories:\n- ")[1].split("\n")[0] for n in (0, 999, 10**6, 10**12)] == [
        "n<1K",
        "n<1K",
        "1M<n<10M",
        "other",
    ]


@pytest.mark.parametrize("format", FORMATS)
def test_every_export_has_a_card_and_keeps_one_that_was_edited(tmp_path, format):
    run = write_run(tmp_path / "run", tmp_path / "photos")
    out = tmp_path / "out"
    export(format, run, out, validation=None if format in EDITORS else Voc(run, CLASSES))
    card = (out / "README.md").read_text("utf-8")
    assert card.startswith("---\n") == (format == "hf")
    assert "# Machine-made masks" in card
    assert "8 images with a machine-made mask" in card
    export(format, run, out, overwrite=True)
    assert "for validation" not in (out / "README.md").read_text("utf-8")
    (out / "README.md").write_text("mine")
    export(format, run, out, overwrite=True)
    assert (out / "README.md").read_text() == "mine"


def test_datasets_reads_the_folder_with_its_card(tmp_path):
    run = write_run(tmp_path / "run", tmp_path / "photos")
    export("hf", run, tmp_path / "out", copy=True)
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert len(found["train"]) == 8


def save(folder: Path, ids: list[str], **options) -> None:
    with RunFolder(folder, CLASSES, {"a": 1}, **options) as run:
        for id in ids:
            seed = Seed(np.zeros((2, 3), np.uint8), np.ones((2, 3), np.float32), (), {}, {}, ())
            run.save(Sample(id), np.zeros((2, 3, 3), np.uint8), seed, 0.0)
        run.finalize(ids)


def test_a_run_writes_its_card_again_until_it_is_edited(tmp_path):
    folder = tmp_path / "run"
    card = folder / "README.md"
    save(folder, ["a"])
    first = card.read_text("utf-8")
    assert "- 1 image with a mask" in first
    save(folder, ["a", "b"])
    assert "- 2 images with a mask" in card.read_text("utf-8")
    card.unlink()
    with RunFolder(folder, CLASSES, {"a": 1}) as run:  # nothing to do
        run.finalize(["a", "b"])
    assert "- 2 images with a mask" in card.read_text("utf-8")
    card.write_text(card.read_text("utf-8").replace("Machine-made", "Checked"), "utf-8")
    edited = card.read_text("utf-8")
    save(folder, ["a", "b", "c"])
    assert card.read_text("utf-8") == edited
    save(folder, ["d"], overwrite=True)
    assert card.read_text("utf-8") == edited
    card.write_text("mine")
    save(folder, ["a", "d"])
    assert card.read_text() == "mine"


def test_starting_over_removes_the_card_of_the_former_run(tmp_path):
    save(tmp_path / "run", ["a"])
    with RunFolder(tmp_path / "run", CLASSES, {"a": 2}, overwrite=True):
        assert not (tmp_path / "run" / "README.md").exists()


def test_object_storage_and_copies_have_the_card(bucket, tmp_path):  # noqa: F811
    run = Source(f"{bucket}/run")
    save(run, ["a"])
    card = (run / "README.md").read_bytes()
    assert b"# Machine-made masks" in card
    assert b"- 1 image with a mask" in card
    fetch(run, tmp_path / "copy")
    copy = tmp_path / "copy" / "README.md"
    assert copy.read_bytes() == card
    copy.write_text("mine")
    fetch(run, tmp_path / "copy")
    assert copy.read_text() == "mine"
    save(run, ["a", "b"])
    assert b"- 2 images with a mask" in (run / "README.md").read_bytes()
    with RunFolder(run, CLASSES, {"a": 2}, overwrite=True):
        assert not (run / "README.md").exists()


def test_a_run_of_generate_says_what_was_changed(tmp_path):
    run = ws.generate("toyland", images=1, out=tmp_path / "run", progress=False, detector={"box_threshold": 0.27})
    card = (tmp_path / "run" / "README.md").read_text("utf-8")
    assert r"| detector.box\_threshold | 0.27 |" in card
    assert "Apache-2.0, as wsss-seed" in line(card, "| clip |")
    assert "house, tree, car" in line(card, "- Classes (12)")
    changed = json.loads((tmp_path / "run" / "run.json").read_text())["changed"]
    assert changed["detector.box_threshold"] == 0.27
    assert "nms.iou_threshold" not in changed
    shutil.rmtree(run.path)
