"""Masks made again from kept model outputs are those of a run with the same settings, and no model is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsss_seed as ws
from tests.data.test_orientation import store
from tests.small_hf import sam3, saved
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.images import read_labels
from wsss_seed.errors import RunFolderError, UsageError
from wsss_seed.models import zoo
from wsss_seed.models.outputs import read_outputs, write_outputs
from wsss_seed.output.run_folder import confidence_path, mask_path, outputs_path

CPU = {"models": "tiny", "device": "cpu", "progress": False}
WIDER = {"detector.box_threshold": 0.4, "mask.output": "best", "nms.iou_threshold": 0.5, "mask.box_expand": 0.0}


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSSS_SEED_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def world():
    return ws.open_dataset("toyland", images=5)


@pytest.fixture(scope="module")
def kept(world, tmp_path_factory) -> ws.Run:
    return ws.generate(world, out=tmp_path_factory.mktemp("kept") / "run", keep_evidence=True, **CPU)


@pytest.fixture
def no_models(monkeypatch):
    """Weights are out of reach."""

    def unavailable(*_, **__):
        raise AssertionError("a model is loaded")

    for module, name in (("clip", "load_clip"), ("sam", "load_sam"), ("grounding_dino", "load_grounding_dino")):
        monkeypatch.setattr(f"wsss_seed.models.{module}.{name}", unavailable)
    monkeypatch.setattr(zoo.ModelSet, "require", unavailable)


def masks(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "SegmentationClass").glob("*.png"))}


def test_keeping_changes_no_mask(world, kept, tmp_path):
    plain = ws.generate(world, out=tmp_path / "plain", **CPU)
    for folder in ("SegmentationClass", "Confidence"):
        for path in (plain.path / folder).iterdir():
            assert path.read_bytes() == (kept.path / folder / path.name).read_bytes()
    settings = [json.loads((run.path / "run.json").read_bytes())["settings"] for run in (plain, kept)]
    assert settings[0] == settings[1]
    assert not (plain.path / "ModelOutputs").exists()


@pytest.mark.parametrize(
    "settings", [{}, WIDER, {"clip.logit_scale": 0.0}, {"mode": "label_free", "verify.accept_threshold": 0.5}]
)
def test_the_same_masks_without_a_model(world, kept, tmp_path, no_models, monkeypatch, settings):
    again = ws.open_run(kept.path).reseed(settings, out=tmp_path / "again", device="cpu", progress=False)
    assert not again.failed
    monkeypatch.undo()
    fresh = ws.generate(world, out=tmp_path / "fresh", settings=settings, **CPU)
    assert masks(again.path) == masks(fresh.path)
    if settings in ({}, WIDER):
        assert (masks(again.path) == masks(kept.path)) == (settings == {})
    for sample in world:  # features of the same crops in another batch are rounded differently
        a, b = (np.asarray(Image.open(confidence_path(run.path, sample.id, "flat")), int) for run in (again, fresh))
        assert abs(a - b).max() <= (1 if settings else 0)
    ours, theirs = (json.loads((run.path / "run.json").read_bytes()) for run in (again, fresh))
    assert ours["settings"] == theirs["settings"]
    assert ours["weights"] == theirs["weights"]
    resumed = ws.generate(world, out=again.path, settings=settings, **CPU)
    assert resumed.result is not None
    assert (resumed.result.made, resumed.result.skipped) == (0, 5)


def test_a_nested_run_keeps_its_outputs_nested(world, kept, tmp_path, no_models, monkeypatch):
    monkeypatch.undo()
    nested = ws.generate(world, out=tmp_path / "nested", keep_evidence=True, layout="nested", **CPU)
    for sample in world:
        own = outputs_path(nested.path, sample.id, "nested").read_bytes()
        assert own == outputs_path(kept.path, sample.id, "flat").read_bytes()
        assert nested.explain(sample.id).picture().tobytes() == kept.explain(sample.id).picture().tobytes()
    resumed = ws.generate(world, out=nested.path, keep_evidence=True, **CPU)
    assert resumed.result.made == 0
    flat = kept.reseed(WIDER, out=tmp_path / "flat again", device="cpu", progress=False)
    again = nested.reseed(WIDER, out=tmp_path / "nested again", device="cpu", progress=False)
    assert not again.failed
    for sample in world:
        assert mask_path(again.path, sample.id, "nested").read_bytes() == masks(flat.path)[f"{sample.id}.png"]


def test_a_reseeded_run_is_a_run(world, kept, tmp_path):
    again = kept.reseed(out=tmp_path / "again", detector={"box_threshold": 0.3}, device="cpu", progress=False)
    assert again.evaluate().miou > 0.5
    assert not any(path.is_symlink() for path in (again.path / "JPEGImages").iterdir())
    resumed = kept.reseed(out=tmp_path / "again", detector={"box_threshold": 0.3}, device="cpu", progress=False)
    assert resumed.result is not None
    assert resumed.result.skipped == 5
    with pytest.raises(RunFolderError, match="other settings"):
        kept.reseed(out=tmp_path / "again", device="cpu", progress=False)


def test_photographs_that_are_turned(world, tmp_path, no_models, monkeypatch):
    """The models saw them upright; the masks match the stored pixels."""
    monkeypatch.undo()
    photos = tmp_path / "photos"
    photos.mkdir()
    picture = world.image(world[1])[:-10]
    for orientation in (1, 6):
        store(photos / f"{orientation}.png", picture, orientation)
    for which in ("stored", "upright"):
        kept = ws.generate(
            photos, classes="toyland", out=tmp_path / which, keep_evidence=True, orientation=which, **CPU
        )
        again = kept.reseed(out=tmp_path / f"{which} again", device="cpu", progress=False)
        assert masks(again.path) == masks(kept.path)
        assert again.result is not None
        assert again.result.turned == (which == "stored")
        assert kept.reseed(out=tmp_path / f"{which} again", device="cpu", progress=False).result.made == 0


def test_outputs_are_added_to_a_run_and_edited_masks_stay(world, tmp_path):
    run = ws.generate(world, out=tmp_path / "run", **CPU)
    first, second = (sample.id for sample in world.samples[:2])
    Image.fromarray(np.zeros_like(read_labels(mask_path(run.path, first, "flat")))).save(
        mask_path(run.path, first, "flat")
    )
    again = ws.generate(world, out=run.path, keep_evidence=True, **CPU)
    assert again.result is not None
    assert again.result.made == 4
    assert not outputs_path(run.path, first, "flat").exists()
    assert outputs_path(run.path, second, "flat").exists()
    assert ws.generate(world, out=run.path, keep_evidence=True, **CPU).result.made == 0
    reseeded = run.reseed(out=tmp_path / "again", device="cpu", progress=False)
    assert list(reseeded.failed) == [first]
    assert "model outputs missing" in reseeded.failed[first]


def copied(run: ws.Run, path: Path) -> Path:
    shutil.copytree(run.path, path, symlinks=True)
    return path


def failures(run: Path, out: Path, **settings: object) -> dict[str, str]:
    return ws.open_run(run).reseed(settings, out=out, device="cpu", progress=False).failed


def test_unusable_outputs_are_one_sentence_each(world, kept, tmp_path):
    run = copied(kept, tmp_path / "run")
    ids = [sample.id for sample in world]
    outputs_path(run, ids[0], "flat").unlink()
    outputs_path(run, ids[1], "flat").write_bytes(b"\0" * 100)
    models = json.loads((run / "run.json").read_bytes())["settings"]
    identity = {**models["models"], "precision": models["precision"]}
    write_outputs(
        outputs_path(run, ids[2], "flat"), read_outputs(outputs_path(run, ids[2], "flat"), identity), {"clip": "0" * 64}
    )
    image = run / "JPEGImages" / f"{ids[3]}.jpg"
    Image.fromarray(np.asarray(Image.open(image))[::-1]).save(image, format="PNG")
    failed = failures(run, tmp_path / "again")
    assert list(failed) == ids[:4]
    for text, part in zip(
        failed.values(), ("missing", "damaged", "other weights", "the image has changed"), strict=True
    ):
        assert part in text
        assert "keep_evidence" in text


def test_images_whose_outputs_do_not_suffice_are_listed(kept, tmp_path):
    failed = failures(kept.path, tmp_path / "again", **{"clip.templates": ["{}"], "mode": "label_free"})
    assert len(failed) == 5
    assert "features of other sentences" in next(iter(failed.values()))


def test_runs_and_settings_that_cannot_be_seeded_again(world, kept, tmp_path):
    plain = ws.generate(world, out=tmp_path / "plain", limit=1, **CPU)
    with pytest.raises(RunFolderError, match="has no model outputs; run generate with `keep_evidence`"):
        plain.reseed(out=tmp_path / "x")
    with pytest.raises(UsageError, match="choose another `out`"):
        kept.reseed(out=kept.path, overwrite=True)
    with pytest.raises(UsageError, match=r"only scores from 0\.05 on are kept"):
        kept.reseed({"detector.box_threshold": 0.01}, out=tmp_path / "x")
    with pytest.raises(UsageError, match=r"unknown setting .*Did you mean 'detector\.box_threshold'"):
        kept.reseed({"detector.box_treshold": 0.3}, out=tmp_path / "x")
    patches = {"clip.scores": "patches"}
    with pytest.raises(UsageError, match="the features of CLIP's patches are not kept; choose views"):
        kept.reseed(patches, out=tmp_path / "x")
    with pytest.raises(UsageError, match="the features of CLIP's patches are not kept; choose views"):
        ws.generate(world, out=tmp_path / "x", keep_evidence=True, settings=patches, **CPU)
    run = copied(kept, tmp_path / "run")
    (run / "text_features.st").unlink()
    with pytest.raises(RunFolderError, match=r"text_features\.st: model outputs missing"):
        ws.open_run(run).reseed(out=tmp_path / "x")
    about = json.loads((run / "run.json").read_bytes())
    about["settings"]["class_set"] = {"names": 3}
    (run / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunFolderError, match=r"give a run of generate|no finished masks"):
        ws.open_run(run).reseed(out=tmp_path / "x")


def test_sam3(world, tmp_path, no_models, monkeypatch):
    """With a small random SAM 3, whose objects are of no use."""
    monkeypatch.undo()
    small = {"models": {"set": "tiny", "sam": f"hf:{saved(tmp_path / 'sam3', *sam3())}"}, "backend": "sam3"}
    low = {"sam3.box_threshold": 0.1, "sam3.ambiguous_threshold": 0.1, "ignore.confident_threshold": 0.0}
    data = ws.open_dataset("toyland", images=2)
    kept = ws.generate(data, out=tmp_path / "run", keep_evidence=True, settings=low, **{**CPU, **small})
    other = {"nms.iou_threshold": 0.3, "mask.box_expand": 0.2}
    monkeypatch.setattr("wsss_seed.models.sam3.load_sam3", lambda *_: pytest.fail("SAM 3 is loaded"))
    again = kept.reseed(other, out=tmp_path / "again", device="cpu", progress=False)
    assert not again.failed
    monkeypatch.undo()
    fresh = ws.generate(data, out=tmp_path / "fresh", settings={**low, **other}, **{**CPU, **small})
    assert masks(again.path) == masks(fresh.path)
    assert sum(len(record.evidence["detections"]) for record in again.records) > 4


def test_other_backends_keep_nothing(world, tmp_path):
    with pytest.raises(UsageError, match="can be kept for dino-sam and sam3 only, not clip-sams"):
        ws.generate(world, out=tmp_path / "x", backend="clip-sams", keep_evidence=True, **CPU)


def test_classes_with_thresholds_of_their_own(world, tmp_path):
    classes = tmp_path / "toyland.toml"
    names = ", ".join(f'{{ name = "{name}" }}' for name in load_class_set("toyland").names)
    classes.write_text(f'classes = [{names}]\n[thresholds."detector.box_threshold"]\nhouse = 0.6\n')
    data = ws.open_dataset("toyland", images=3, classes=classes)
    kept = ws.generate(data, out=tmp_path / "run", keep_evidence=True, **CPU)
    again = kept.reseed(out=tmp_path / "again", device="cpu", progress=False)
    assert not again.failed
    assert masks(again.path) == masks(kept.path)
