"""Photographs whose pixels are stored turned get the masks of the upright photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsss_seed as ws
from tests.data.test_orientation import EIGHT, store
from wsss_seed.data.base import Boxes, Sample
from wsss_seed.data.images import image_size, read_labels, read_orientation, read_rgb, reads_alike
from wsss_seed.data.orientation import inverse, turn, turn_boxes
from wsss_seed.data.voc import Voc
from wsss_seed.errors import RunFolderError
from wsss_seed.io.png import write_mask
from wsss_seed.output.run_folder import confidence_path, image_path, mask_path
from wsss_seed.run.learn import _reader
from wsss_seed.segmenter.masks import check_masks

CPU = {"models": "tiny", "device": "cpu", "progress": False}


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSSS_SEED_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def world():
    return ws.open_dataset("toyland", images=6)


@pytest.fixture(scope="module")
def sample(world) -> Sample:
    """An image with several classes, cropped below so that it is not square."""
    return max(world, key=lambda sample: len(sample.labels))


@pytest.fixture(scope="module")
def picture(world, sample) -> np.ndarray:
    return world.image(sample)[:-20]


@pytest.fixture(scope="module")
def tree(world, sample, picture, tmp_path_factory) -> Path:
    """A VOC tree of the image in all eight orientations, with ground truth that matches the stored pixels."""
    root = tmp_path_factory.mktemp("tree")
    for folder in ("JPEGImages", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for orientation in EIGHT:
        store(root / f"JPEGImages/{orientation}.png", picture, orientation)
        truth = turn(world.mask(sample)[:-20], inverse(orientation))
        write_mask(root / f"SegmentationClass/{orientation}.png", truth, world.class_set.palette)
    (root / "ImageSets/Segmentation/train.txt").write_text("".join(f"{o}\n" for o in EIGHT))
    names = ";".join(world.class_set.names[c] for c in sample.labels)
    (root / "labels.csv").write_text("image,label\n" + "".join(f"{o},{names}\n" for o in EIGHT))
    return root


def check_stored(run: ws.Run) -> None:
    """Every mask is that of the upright image, turned; every image in the folder matches its mask."""
    upright = read_labels(mask_path(run.path, "1", "flat"))
    confidence = read_labels(confidence_path(run.path, "1", "flat"))
    assert len(np.unique(upright)) > 2
    for orientation in EIGHT:
        name, back = str(orientation), inverse(orientation)
        np.testing.assert_array_equal(read_labels(mask_path(run.path, name, "flat")), turn(upright, back))
        np.testing.assert_array_equal(read_labels(confidence_path(run.path, name, "flat")), turn(confidence, back))
        assert reads_alike(image_path(run.path, name, "flat"), turn(upright, back).shape[::-1])


@pytest.mark.parametrize(
    "options",
    [{"backend": "dino-sam"}, {"backend": "dino-sam", "labels": "none"}, {"backend": "clip-sams"}],
    ids=["label given", "label-free", "clip-sams"],
)
def test_masks_are_those_of_the_upright_image(tree, tmp_path, options):
    run = ws.generate("voc", root=tree, classes="toyland", out=tmp_path / "run", **options, **CPU)
    check_stored(run)
    assert run.result.turned == 7
    assert run.content.about["settings"]["orientation"] == "stored"
    stored = read_rgb(tree / "JPEGImages/6.png")
    np.testing.assert_array_equal(read_rgb(image_path(run.path, "6", "flat")), stored)
    boxes = [[r["box"] for r in record.evidence.get("detections", ())] for record in run.records]
    for orientation, found in zip(EIGHT, boxes, strict=True):
        upright = turn_boxes(
            np.array(found).reshape(-1, 4), orientation, image_size(tree / f"JPEGImages/{orientation}.png")[::-1]
        )
        np.testing.assert_allclose(upright, np.array(boxes[0]).reshape(-1, 4), atol=0.011)
    assert bool(boxes[0]) == (options["backend"] == "dino-sam")
    iou = run.evaluate().miou
    assert iou == ws.open_run(run.path).evaluate(tree).miou
    assert iou == pytest.approx(run.evaluate(run.dataset).miou)


def test_upright_masks_have_upright_images(tree, picture, tmp_path):
    stored = ws.generate("voc", root=tree, classes="toyland", out=tmp_path / "stored", **CPU)
    run = ws.generate("voc", root=tree, classes="toyland", out=tmp_path / "upright", orientation="upright", **CPU)
    want = read_labels(mask_path(stored.path, "1", "flat"))
    for name in map(str, EIGHT):
        np.testing.assert_array_equal(read_labels(mask_path(run.path, name, "flat")), want)
        np.testing.assert_array_equal(read_rgb(image_path(run.path, name, "flat")), picture)
        assert reads_alike(image_path(run.path, name, "flat"), picture.shape[1::-1])
        assert image_path(run.path, name, "flat").is_symlink() == (name == "1")
    # Ground truth matches the stored pixels, so it is turned to compare.
    assert run.evaluate().miou == pytest.approx(stored.evaluate().miou)
    assert ws.open_run(run.path).evaluate(run.dataset).confusion.tolist() == stored.evaluate().confusion.tolist()
    assert run.report().miou == pytest.approx(stored.evaluate().miou)
    with pytest.raises(RunFolderError, match='orientation "upright" -> "stored"'):
        ws.generate("voc", root=tree, classes="toyland", out=run.path, **CPU)


class WithBoxes(Voc):
    """The tree with the boxes of the drawing, which match the stored pixels as annotations do."""

    upright_boxes: Boxes
    size: tuple[int, int]

    def boxes(self, sample: Sample) -> Boxes:
        back = inverse(self.orientation(sample))
        return Boxes(turn_boxes(self.upright_boxes.xyxy, back, self.size), self.upright_boxes.classes)


def test_the_boxes_of_the_oracle_are_turned_for_the_models(world, sample, picture, tree, tmp_path):
    data = WithBoxes(tree, world.class_set)
    given = world.boxes(sample)
    data.upright_boxes = Boxes(np.minimum(given.xyxy, [1e9, picture.shape[0]] * 2).astype(np.float32), given.classes)
    data.size = picture.shape[:2]
    check_stored(ws.generate(data, out=tmp_path / "run", mode="boxes_given", **CPU))


def test_one_image_at_a_time(tree, picture):
    seeder = ws.load(classes="toyland", models="tiny", device="cpu")
    upright = ws.load(classes="toyland", models="tiny", device="cpu", orientation="upright")
    want = seeder(picture)
    assert want.instances
    for orientation in EIGHT:
        path = tree / f"JPEGImages/{orientation}.png"
        with Image.open(path) as image:
            for seed in (seeder(path), seeder(image), next(seeder.stream([path]))):
                np.testing.assert_array_equal(turn(seed.labels, orientation), want.labels)
                np.testing.assert_array_equal(seed.image, read_rgb(path))
                assert seed.plot().size == image.size
                for mine, other in zip(seed.instances, want.instances, strict=True):
                    np.testing.assert_array_equal(turn(mine.mask, orientation), other.mask)
        seed = upright(path)
        np.testing.assert_array_equal(seed.labels, want.labels)
        np.testing.assert_array_equal(seed.image, picture)


def test_training_sees_upright_images_and_masks(world, sample, picture, tree):
    """For segmenters and for prompts, whose seeds match the stored pixels."""
    data = ws.open_dataset("voc", tree, classes="toyland")
    truth = world.mask(sample)[:-20]
    checked = check_masks(data).data
    read = _reader(tree, data)
    for s in data:
        np.testing.assert_array_equal(checked.image(s), picture)
        np.testing.assert_array_equal(checked.labels(s), truth)
        np.testing.assert_array_equal(read(s), truth)
        assert read_orientation(s.image) == int(s.id)


def test_commands_say_how_many_images_are_turned(cli, tree, tmp_path):
    common = ["--dataset", "voc", "--root", tree, "--classes", "toyland", "--models", "tiny", "--device", "cpu"]
    done = cli("generate", *common, "--out", "stored")
    assert done.stderr.count("turned upright for the models, according to EXIF: 7 of 8 images; masks match") == 1
    assert "(--orientation upright turns masks as well)" in done.stderr
    done = cli("generate", *common, "--out", "upright", "--orientation", "upright")
    assert "masks, and the copies of these images in the run folder, are upright" in done.stderr
    scored = [cli("evaluate", "--pred", f, *common[:6]).stdout for f in ("stored", "upright")]
    assert scored[0] == scored[1] != ""
    done = cli("proposals", *common, "--out", "store", "--set", "proposals.points_per_side=4")
    assert "7 of 8 images were turned upright" in done.stderr
    assert len(list((tmp_path / "store").rglob("*.json*"))) == 1, "all eight are one image"
    done = cli("generate", *common, "--orientation", "sideways")
    assert (done.returncode, "unknown orientation 'sideways'" in done.stderr) == (2, True)
