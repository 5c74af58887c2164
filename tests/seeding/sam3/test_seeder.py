"""The sam3 backend with small random models: what reaches the masks, and the command line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.small_hf import picture, sam, sam3, saved
from wsss_seed.config import override
from wsss_seed.data.base import Sample
from wsss_seed.data.classes import IGNORE, ClassSet
from wsss_seed.errors import ImageError, WsssError
from wsss_seed.models.sam3 import Sam3
from wsss_seed.models.zoo import ModelSet
from wsss_seed.seeding.backends import BackendRequest, backends, build_seeder
from wsss_seed.seeding.sam3 import Sam3Seeder, Settings
from wsss_seed.types import LoadedSample

NAMES = ("cat", "dog", "table")
PHRASES = (("cat",), ("dog", "hot dog"), ("dining table",))
CLASSES = ClassSet("three", NAMES, PHRASES, NAMES, ("sky",), ((0, 0, 0),) * 256, assume_present=True)
# Random masks are of all shapes, and random scores of no use.
KEEN = {
    "sam3.box_threshold": 0.0,
    "sam3.ambiguous_threshold": 0.0,
    "ignore.confident_threshold": 0.0,
    "ignore.ambiguous_threshold": 0.0,
    "mask.min_region_area": 4,
}


@pytest.fixture(scope="module")
def model() -> Sam3:
    return Sam3(*sam3())


def seeder(clip, model, class_set=CLASSES, **settings) -> Sam3Seeder:
    return Sam3Seeder(class_set, clip, model, override(Settings(), {**KEEN, **settings}))


def sample(labels=(0, 1), image=None) -> LoadedSample:
    image = picture(70, 110) if image is None else image
    return LoadedSample(Sample("a", None, labels), image)


def test_given_classes_become_masks(clip, model):
    seed = seeder(clip, model).seed(sample())
    assert seed.labels.shape == seed.confidence.shape == (70, 110)
    assert seed.present == (0, 1)
    assert set(np.unique(seed.labels)) <= {0, 1, 2, IGNORE}
    assert set(np.unique(seed.labels)) & {1, 2}
    assert {d["class"] for d in seed.evidence["detections"]} == {"cat", "dog"}
    assert all(d["predicted_iou"] is None for d in seed.evidence["detections"])
    assert ((seed.labels == IGNORE) <= (seed.confidence == 0)).all()


def test_painted_pixels_lie_in_masks_of_their_class(clip, model):
    """Whatever fusion does, a pixel of a class is in one of the masks that SAM 3 gives for its phrases."""
    image = picture(70, 110)
    seed = seeder(clip, model, **{"mask.min_region_area": 0, "mask.box_expand": 1.0}).seed(sample(image=image))
    embedding = model.embed(image)
    for c, phrases in enumerate(CLASSES.phrases[:2]):
        found = [logits > 0 for p in phrases for logits in model.logits(embedding, model.ask(embedding, p).low_res)]
        union = np.any([mask.numpy() for mask in found], axis=0)
        painted = seed.labels == c + 1
        assert painted.any()
        assert not (painted & ~union).any()


def test_detections_are_the_models_own(clip, model):
    image = picture(70, 110)
    seed = seeder(clip, model, **{"nms.iou_threshold": 1.0, "nms.cross_class_iou_threshold": 1.0}).seed(
        sample((0,), image)
    )
    found = model.ask(model.embed(image), "cat")
    own = {tuple(np.round(box.astype(float), 2)): round(float(s), 6) for box, s in zip(*found[:2], strict=True)}
    got = {tuple(d["box"]): d["score"] for d in seed.evidence["detections"]}
    assert got
    assert got.items() <= own.items()


def test_classes_not_given_are_proposed_by_clip_and_pruned(clip, model):
    labelled = sample(None)
    seed = seeder(clip, model, **{"clip.global_threshold": 0.0, "ignore.confident_threshold_label_free": 0.0}).seed(
        labelled
    )
    assert seed.evidence["mode"] == "label_free"
    assert len(seed.evidence["clip"]) == 3
    high = {d["class"] for d in seed.evidence["detections"] if d["role"] == "confident"}
    assert high
    assert high <= {CLASSES.names[c] for c in seed.present}
    nothing = seeder(
        clip, model, **{"sam3.box_threshold": 1.0, "sam3.ambiguous_threshold": 1.0, "sam3.fallback_threshold": 1.0}
    )
    seed = nothing.seed(labelled)
    assert (seed.labels == IGNORE).all()
    assert "no candidate class has a box" in seed.notes[0]


def test_an_image_is_encoded_once_for_all_phrases(clip, model):
    looks = []
    handle = model.model.vision_encoder.register_forward_hook(lambda *_: looks.append(1))
    for one in sample((0, 1, 2)), sample((1,), picture(seed=2)):
        seeder(clip, model).seed(one)
    handle.remove()
    assert len(looks) == 2


def test_the_same_image_gives_the_same_seed_in_any_company(clip, model):
    first, second = sample(), sample((2,), picture(50, 60, seed=5))
    both = seeder(clip, model)
    one, two = both.seed(first), both.seed(second)
    again = seeder(clip, model).seed(second)
    np.testing.assert_array_equal(two.labels, again.labels)
    np.testing.assert_array_equal(two.confidence, again.confidence)
    np.testing.assert_array_equal(one.labels, seeder(clip, model).seed(first).labels)


def test_a_mode_that_needs_labels(clip, model):
    with pytest.raises(ImageError, match="no image-level labels"):
        seeder(clip, model, mode="label_given").seed(sample(None))


def test_thresholds_of_single_classes(clip, model):
    """Those of SAM 3's scores have a name of their own; Grounding DINO's do not hold for them."""
    strict = replace(CLASSES, thresholds={"sam3.box_threshold": {"cat": 1.0}, "detector.box_threshold": {"dog": 1.0}})
    seed = seeder(clip, model, strict).seed(sample())
    pools = {c: {d["role"] for d in seed.evidence["detections"] if d["class"] == c} for c in ("cat", "dog")}
    assert "confident" not in pools["cat"]
    assert "confident" in pools["dog"]
    for thresholds, message in (
        ({"sam3.part_phrases": {"cat": True}}, r"sam3.part_phrases cannot differ between classes"),
        ({"sam3.box_threshold": {"cat": 2.0}}, r"sam3.box_threshold = 2.0: expected a number from 0 to 1"),
        ({"sam3.box_threshold": {"cow": 0.2}}, r"unknown class in the thresholds .* 'cow'"),
    ):
        with pytest.raises(WsssError, match=message):
            seeder(clip, model, replace(CLASSES, thresholds=thresholds))


def test_settings_are_recorded_and_refused_by_their_own_names(clip, model):
    settings = seeder(clip, model).settings
    assert settings["sam3.box_threshold"] == 0.0
    assert not any(key.startswith(("detector.", "sam.")) for key in settings)
    with pytest.raises(WsssError, match=r"unknown setting of sam3 'detector.box_threshold'"):
        override(Settings(), {"detector.box_threshold": 0.3})
    with pytest.raises(WsssError, match=r"mode 'boxes_given'"):
        override(Settings(), {"mode": "boxes_given"})


# As a user runs it


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("models") / "sam3", *sam3())


def test_the_backend_is_found_by_its_name_and_wants_sam_3(tmp_path):
    assert "sam3" in backends(), "install the package again: its entry points have changed"
    with pytest.raises(WsssError, match=r"backend sam3 needs SAM 3, not SAM 'tiny'; give `sam` hf:facebook/sam3"):
        build_seeder("sam3", BackendRequest(CLASSES, ModelSet("tiny", "cpu")))
    other = saved(tmp_path / "sam", *sam())
    with pytest.raises(WsssError, match=r"a model of kind 'sam', not SAM 3"):
        build_seeder("sam3", BackendRequest(CLASSES, ModelSet("tiny", "cpu", sam=f"hf:{other}")))


def run(cli, folder, out, *more):
    settings = [f"--set={key}={value}" for key, value in KEEN.items()]
    return cli(
        "generate", "--dataset", "toyland", "--images", 4, "--backend", "sam3", "--sam", f"hf:{folder}",
        "--out", out, "--json", *settings, *more,
    )  # fmt: skip


def masks(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((out / "SegmentationClass").glob("*.png"))}


def test_generate_from_the_command_line(cli, folder, tmp_path):
    result = run(cli, folder, "a")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["made"] == 4
    assert report["failed"] == []
    assert 0 <= report["evaluation"]["miou"] <= 1
    assert len(set(masks(tmp_path / "a").values())) == 4
    described = json.loads((tmp_path / "a" / "run.json").read_text())
    assert described["settings"]["backend"]["name"] == "sam3"
    assert described["weights"]["sam"]["name"] == f"hf:{folder}"
    # Interrupted after two images and gone on with, the masks are the same.
    assert run(cli, folder, "b", "--limit", 2).returncode == 0
    rest = json.loads(run(cli, folder, "b").stdout)
    assert (rest["skipped"], rest["made"]) == (2, 2)
    assert masks(tmp_path / "b") == masks(tmp_path / "a")
    free = run(cli, folder, "c", "--labels", "none")
    assert free.returncode == 0, free.stderr
    assert masks(tmp_path / "c") != masks(tmp_path / "a")


def test_the_model_set_needs_no_other_option(cli, folder, tmp_path):
    """Apart from the small models of this test."""
    settings = [f"--set={key}={value}" for key, value in KEEN.items()]
    small = ("--clip", "tiny", "--sam", f"hf:{folder}")
    command = ("generate", "--dataset", "toyland", "--images", 2, "--models", "sam3", *small, "--json", *settings)
    result = cli(*command, "--out", "set")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["made"] == 2
    described = json.loads((tmp_path / "set" / "run.json").read_text())
    assert described["settings"]["backend"]["name"] == "sam3"
    assert set(described["weights"]) == {"clip", "sam"}
    assert json.loads(cli(*command, "--out", "set").stdout)["skipped"] == 2
    tiny = ("--clip", "tiny", "--sam", "tiny", "--backend", "dino-sam", "--out", "other")
    other = cli("generate", "--dataset", "toyland", "--images", 2, "--models", "sam3", *tiny)
    assert other.returncode == 2
    assert "the model set sam3 has no detector; give --detector one, or choose --backend sam3" in other.stderr


def test_a_wrong_sam_is_one_line_with_a_remedy(cli, tmp_path):
    (tmp_path / "empty").mkdir()
    for name, message in (
        (f"hf:{tmp_path}/empty", "no config.json there; give a folder that transformers' save_pretrained wrote"),
        ("hf:nobody/sam3", "HF_HUB_OFFLINE forbids downloading it"),
        ("tiny", "backend sam3 needs SAM 3"),
    ):
        result = cli("generate", "--dataset", "toyland", "--images", 1, "--backend", "sam3", "--sam", name)
        assert result.returncode == 2
        assert message in result.stderr
        assert "Traceback" not in result.stderr
