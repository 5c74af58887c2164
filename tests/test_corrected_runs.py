"""Every reader of a run uses its corrected masks and leaves out rejected images, and can be asked not to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsss_seed as ws
from tests.data.corrected import decide
from wsss_seed.data.corrections import mask_name
from wsss_seed.data.images import read_labels
from wsss_seed.errors import DataError, RunFolderError
from wsss_seed.output.verify import verify
from wsss_seed.run.annotated import examples
from wsss_seed.segmenter.masks import check_masks

IMAGES = 24
OPTIONS = {"models": "tiny", "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("corrected") / "seeds"
    ws.generate("toyland", out=out, images=IMAGES, **OPTIONS)
    return out


@pytest.fixture
def run(made, tmp_path) -> Path:
    """A run over toyland: its first image corrected to the ground truth, the second accepted, the third rejected."""
    shutil.copytree(made, tmp_path / "seeds", symlinks=True)
    first, second, third = ids(made)[:3]
    decide(tmp_path / "seeds", first, truth(0))
    decide(tmp_path / "seeds", second)
    decide(tmp_path / "seeds", third, verdict="rejected")
    return tmp_path / "seeds"


def ids(run: Path) -> list[str]:
    return [record.id for record in ws.open_run(run, corrected=False).records]


def truth(place: int) -> np.ndarray:
    world = ws.open_dataset("toyland", images=IMAGES)
    return world.mask(world[place])


def own(run: Path, id: str) -> np.ndarray:
    return read_labels(run / "SegmentationClass" / f"{id}.png")


def test_the_masks_of_the_test_differ(run):
    assert not np.array_equal(own(run, ids(run)[0]), truth(0))


def test_records_and_paths(run):
    first, _, third = ids(run)[:3]
    opened = ws.open_run(run)
    assert [record.id for record in opened.records] == [id for id in ids(run) if id != third]
    assert np.array_equal(read_labels(opened.content.mask(first)), truth(0))
    assert np.array_equal(read_labels(ws.open_run(run, corrected=False).content.mask(first)), own(run, first))
    assert opened.content.unfinished == 0


def test_evaluate(run, made, tmp_path):
    before, plain = ws.open_run(made).evaluate(), ws.open_run(run, corrected=False).evaluate()
    assert plain.miou == before.miou
    found = ws.open_run(run).evaluate()
    assert (found.images, found.miou > before.miou) == (IMAGES - 1, True)
    # The same figure from a folder with these masks.
    for id in (record.id for record in ws.open_run(run).records):
        target = tmp_path / "masks" / f"{id}.png"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(ws.open_run(run).content.mask(id), target)
    from wsss_seed.evaluation.evaluate import evaluate

    world = ws.open_dataset("toyland", images=IMAGES)
    listed = [record.id for record in ws.open_run(run).records]
    assert evaluate(tmp_path / "masks", world, ids=listed, names=found.names).miou == found.miou
    assert evaluate(run, world).rejected == 1
    assert evaluate(run, world, corrected=False).miou == before.miou
    # The folder of the masks itself is what was generated.
    assert evaluate(run / "SegmentationClass", world).miou == before.miou


def test_a_run_as_ground_truth(run):
    from wsss_seed.evaluation.evaluate import ground_truth

    first, _, third = ids(run)[:3]
    truth_of, every = ground_truth(run)
    assert third not in every()
    assert np.array_equal(truth_of(first), truth(0))
    truth_of, every = ground_truth(run, corrected=False)
    assert third in every()
    assert np.array_equal(truth_of(first), own(run, first))


def test_from_python(run):
    first, _, third = ids(run)[:3]
    opened = ws.open_run(run)
    done = opened.correct(third, truth(2), by="ann", what="traced")
    assert (done.revision, done.verdict, done.by, done.what) == (2, "accepted", "ann", "traced")
    opened.correct(first, verdict="open")  # the corrected mask stays in use
    assert np.array_equal(read_labels(opened.content.mask(first)), truth(0))
    assert np.array_equal(read_labels(opened.content.mask(third)), truth(2))
    with pytest.raises(RunFolderError, match="no mask of the run to correct"):
        opened.correct("nobody")


def test_a_dataset_in_voc_layout_and_training(run):
    first, second, third = ids(run)[:3]
    data = ws.open_dataset("voc", run, labels="none")
    assert third not in list(data.ids)
    assert len(data) == IMAGES - 1
    assert np.array_equal(data.mask(data[0]), truth(0))
    assert "1 image rejected in review was left out" in data.remarks
    plain = ws.open_dataset("voc", run, labels="none", corrected=False)
    assert len(plain) == IMAGES
    assert np.array_equal(plain.mask(plain[0]), own(run, first))
    checked, others = check_masks(data, confidence=True), check_masks(plain, confidence=True)
    assert checked.digest != others.digest
    by_id = {sample.id: sample for sample in checked.data.samples}
    assert np.array_equal(checked.data.labels(by_id[first]), truth(0))
    assert (checked.data.confidence(by_id[second]) == 255).all()
    assert not all((others.data.confidence(sample) == 255).all() for sample in others.data.samples[:3])


@pytest.mark.parametrize("format", ["mmseg", "hf", "coco", "yolo"])
def test_export(run, tmp_path, format):
    assert ws.open_run(run).export(format, tmp_path / "out").images == {"train": IMAGES - 1}
    assert ws.open_run(run, corrected=False).export(format, tmp_path / "all").images == {"train": IMAGES}
    if format == "mmseg":
        first, _, third = ids(run)[:3]
        assert np.array_equal(read_labels(tmp_path / f"out/masks/train/{first}.png"), truth(0))
        assert np.array_equal(read_labels(tmp_path / f"all/masks/train/{first}.png"), own(run, first))
        assert third not in (tmp_path / "out/train.txt").read_text().split()


def test_report_and_sheet(run, tmp_path):
    found, plain = (ws.open_run(run, corrected=c).report(tmp_path / "r.html") for c in (True, False))
    assert (found.images, plain.images) == (IMAGES - 1, IMAGES)
    assert found.miou > plain.miou
    third = ids(run)[2]
    assert third not in ws.open_run(run).sheet(tmp_path / "a.png").shown
    assert third in ws.open_run(run, corrected=False).sheet(tmp_path / "b.png").shown
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_what_a_review_changed(run, tmp_path):
    plain, opened = ws.open_run(run, corrected=False), ws.open_run(run)
    with pytest.raises(RunFolderError, match="is the same run"):
        plain.report(tmp_path / "a.html", against=plain)
    found = plain.report(tmp_path / "b.html", against=opened)
    first = ids(run)[0]
    pixels = sum(own(run, record.id).size for record in opened.records)
    assert found.differs == pytest.approx((own(run, first) != truth(0)).sum() / pixels)
    assert found.only == (1, 0)
    assert found.other_miou > found.miou


def test_cards_have_the_figures_of_the_masks_they_are_about(run, tmp_path):
    opened = ws.open_run(run)
    found = opened.evaluate()
    figure = f"mIoU {100 * found.miou:.1f} % over {IMAGES - 1} images of toyland test"
    opened.export("coco", tmp_path / "out")
    for card in ((run / "README.md").read_text(), (tmp_path / "out/README.md").read_text()):
        assert f"Masks of the run with the corrections of a review: {figure}" in card
    assert "in images: 2 accepted, 1 with a corrected mask, 1 rejected" in (tmp_path / "out/README.md").read_text()
    ws.open_run(run, corrected=False).evaluate()
    assert "without the corrections of a review: mIoU" in (run / "README.md").read_text()
    opened.correct(ids(run)[4], verdict="rejected")  # other masks count now
    opened.export("coco", tmp_path / "again")
    assert "None: no comparison with ground truth" in (tmp_path / "again/README.md").read_text()


def test_only_reviewed_masks_are_ground_truth_for_calibration(run, made):
    with pytest.raises(DataError, match="2 images with ground truth; calibrating needs at least 20"):
        examples(ws.open_dataset("voc", run, labels="none"), None, None)
    for id in ids(run)[3:]:
        decide(run, id)
    used = examples(ws.open_dataset("voc", run, labels="none"), None, None)
    assert len(used) == IMAGES - 1
    assert np.array_equal(used[0].truth, truth(0))
    world = ws.open_dataset("toyland", images=IMAGES)
    assert len(examples(world, run, None)) == IMAGES - 1
    assert len(examples(world, made, None)) == IMAGES  # no review: every mask was meant


def test_resuming_and_starting_over_leave_corrections_alone(run):
    files = {path: path.read_bytes() for path in (run / "Corrections").rglob("*") if path.is_file()}
    again = ws.generate("toyland", out=run, images=IMAGES + 1, **OPTIONS)
    assert (again.result.made, again.result.kept) == (1, ())
    ws.generate("toyland", out=run, images=IMAGES, overwrite=True, mode="label_free", **OPTIONS)
    assert {path: path.read_bytes() for path in files} == files
    assert np.array_equal(read_labels(ws.open_run(run).content.mask(ids(run)[0])), truth(0))


def test_a_replaced_photograph_reopens_its_image(tmp_path):
    world = ws.open_dataset("toyland", images=2)
    photos, out = tmp_path / "photos", tmp_path / "seeds"
    photos.mkdir()
    for place, sample in enumerate(world):
        Image.fromarray(world.image(sample)).save(photos / f"{place}.png")
    ws.generate(photos, classes="toyland", labels="none", out=out, **OPTIONS)
    for id in ("0", "1"):
        decide(out, id, np.zeros_like(own(out, id)))
    Image.fromarray(world.image(world[1])[::-1]).save(photos / "0.png")
    ws.generate(photos, classes="toyland", labels="none", out=out, **OPTIONS)
    content = ws.open_run(out).content
    assert [*content.corrections] == ["1"]
    assert content.mask("0") == out / "SegmentationClass/0.png"


def test_all_images_rejected(run):
    for id in ids(run):
        decide(run, id, verdict="rejected")
    with pytest.raises(RunFolderError, match=f"all {IMAGES} finished masks were rejected in review"):
        ws.open_run(run)
    with pytest.raises(DataError, match="all images of test were rejected in review"):
        ws.open_dataset("voc", run)
    assert len(ws.open_run(run, corrected=False).records) == IMAGES


def test_verify_finds_corrections_that_cannot_be_used(run):
    assert verify(run).exit_status == 0
    correction = ws.open_run(run).content.corrections[ids(run)[0]]
    (run / mask_name(correction.mask)).unlink()
    found = verify(run)
    assert (found.exit_status, found.wrong) == (1, ())
    assert [id for id, _ in found.corrections] == [ids(run)[0]]
    assert json.loads(json.dumps(found.to_json()))["corrections"][0]["id"] == ids(run)[0]


def test_the_commands_say_what_they_leave_out(run, cli):
    result = cli("evaluate", "--pred", run)
    assert "warning: 1 image rejected in review was left out" in result.stderr
    assert f"over {IMAGES - 1} images" in result.stdout
    result = cli("evaluate", "--pred", run, "--original")
    assert "rejected" not in result.stderr
    assert f"over {IMAGES} images" in result.stdout
    for command in (("sheet", run), ("report", run), ("export", "mmseg", run, "out")):
        assert "warning: 1 image rejected in review was left out" in cli(*command).stderr
    assert "rejected" not in cli("report", run, "--original").stderr
