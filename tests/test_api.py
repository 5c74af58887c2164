"""The public API with the bundled miniatures: what a library or notebook user does."""

import inspect
import os
import pickle
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsss_seed as ws
from wsss_seed import errors
from wsss_seed.data.images import read_labels

EXPORTED = [
    "CheckpointError",
    "ClassSet",
    "DataError",
    "ImageError",
    "ImageSeeder",
    "Instance",
    "Run",
    "RunFolderError",
    "Seed",
    "UsageError",
    "WsssError",
    "__version__",
    "calibrate",
    "generate",
    "load",
    "load_class_set",
    "open_dataset",
    "open_run",
]
EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def world():
    return ws.open_dataset("toyland", images=6)


@pytest.fixture(scope="module")
def seeder():
    return ws.load("dino-sam", classes="toyland", models="tiny", device="cpu")


@pytest.fixture(scope="module")
def photographs(world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("my photographs")
    for sample in world:
        Image.fromarray(world.image(sample)).save(folder / f"{sample.id}.png")
    return folder


@pytest.fixture(scope="module")
def run(photographs, tmp_path_factory):
    out = tmp_path_factory.mktemp("api") / "seeds"
    return ws.generate(photographs, classes="toyland", out=out, models="tiny", device="cpu", progress=False)


# names


def test_exported_names():
    """A name that is added or removed is a decision."""
    assert ws.__all__ == EXPORTED
    assert set(EXPORTED) <= set(dir(ws))
    for name in EXPORTED:
        thing = getattr(ws, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), name
            assert thing.__module__.startswith("wsss_seed.")
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        ws.lod  # noqa: B018


def test_import_is_fast():
    """Nothing heavy is imported before it is needed, not even numpy."""
    code = "import sys, wsss_seed; print(sorted({'torch', 'numpy', 'PIL', 'typer', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    code = "import sys, wsss_seed; wsss_seed.load; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_idle_threads_sleep_unless_the_user_decides(given):
    """The variable is set before torch is imported, by the package or by its command line."""
    code = "import sys, os, {}; assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    env |= {} if given is None else {"OMP_WAIT_POLICY": given}
    for module in ("wsss_seed", "wsss_seed.cli"):
        done = subprocess.run([sys.executable, "-c", code.format(module)], capture_output=True, text=True, env=env)
        assert done.stdout.strip() == (given or "PASSIVE"), done.stderr


def test_errors_form_a_small_documented_tree():
    kinds = [e for e in vars(errors).values() if inspect.isclass(e) and issubclass(e, ws.WsssError)]
    assert {k.__name__ for k in kinds} == {n for n in EXPORTED if n.endswith("Error")}
    for kind in kinds:
        assert kind.__name__ in errors.__doc__
        assert type(pickle.loads(pickle.dumps(kind("x")))) is kind


# calibration


def test_chosen_settings_are_those_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("wsss_seed.run.calibrate.GRIDS", {"dino-sam": {"detector.box_threshold": [0.25, 0.9]}})
    world = ws.open_dataset("toyland", split="val", images=20)
    options = {"models": "tiny", "device": "cpu", "cache": tmp_path / "cache", "progress": False}
    bad = {"mode": "label_free", "mask.min_region_area": 8}
    found = ws.calibrate(world, out=tmp_path / "my.toml", settings=bad, **options)
    assert found.images == 20
    assert found.criterion == "mIoU"
    assert found.settings.items() >= bad.items()
    assert tomllib.loads((tmp_path / "my.toml").read_text())["settings"] == dict(found.settings)
    seeder = ws.load("dino-sam", classes="toyland", models="tiny", settings=found.settings)
    assert seeder.settings.items() >= bad.items()
    again = ws.calibrate("toyland", split="val", images=20, settings=bad, **options)
    assert again == found
    with pytest.raises(ws.UsageError, match="only dino-sam and sam3 can be calibrated, not clip-sams"):
        ws.calibrate(world, backend="clip-sams", **options)


def test_calibration_says_what_is_odd_about_its_images(tmp_path, capsys):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("x")
    labels = tmp_path / "labels.csv"
    labels.write_text("image,label\na.png,cat\nb.png,cat\n")
    classes = {"cat": ["kitty"], "dog": ["kitty"]}
    with pytest.warns(UserWarning, match="'kitty' stands for 2 classes"), pytest.raises(ws.DataError, match="20"):
        ws.calibrate(tmp_path, classes=classes, labels=labels, models="tiny", device="cpu")
    shown = capsys.readouterr().err
    assert "passed over: 1 .csv, 1 .txt" in shown
    assert "1 entry names no image of this dataset (b.png)" in shown


# one image


def test_every_kind_of_image_gives_the_same_seed(seeder, world, photographs):
    pixels = world.image(world[0])
    path = photographs / f"{world[0].id}.png"
    first = seeder(pixels)
    for image in (Image.fromarray(pixels), path, str(path)):
        seed = seeder(image)
        np.testing.assert_array_equal(seed.labels, first.labels)
        np.testing.assert_array_equal(seed.confidence, first.confidence)
    assert first.path is None
    assert seed.path == path
    assert first.labels.dtype == np.uint8
    assert first.confidence.dtype == np.float32
    assert first.labels.shape == first.confidence.shape == pixels.shape[:2]


def test_names_and_instances_are_those_of_the_label_map(seeder, world):
    seen = 0
    for sample in world:
        seed = seeder(world.image(sample))
        painted = {seeder.class_set.names[v - 1] for v in np.unique(seed.labels) if 0 < v < 255}
        assert painted <= set(seed.names)
        for instance in seed.instances:
            x0, y0, x1, y1 = instance.xyxy
            assert 0 <= x0 < x1 <= seed.labels.shape[1]
            assert 0 <= y0 < y1 <= seed.labels.shape[0]
            assert 0 < instance.score <= 1
            assert instance.mask.shape == seed.labels.shape
            assert instance.mask.any()
        union = np.zeros(seed.labels.shape, bool)
        for instance in seed.instances:
            union |= instance.mask
        assert not (((seed.labels > 0) & (seed.labels < 255)) & ~union).any()
        seen += len(seed.instances)
    assert seen >= len(world)


def test_given_labels_are_names(seeder, world):
    sample = world[0]
    names = [world.class_set.names[c] for c in sample.labels]
    assert set(seeder(world.image(sample), labels=set(names)).names) == set(names)
    assert (seeder(world.image(sample), labels=set()).labels == 0).all()
    with pytest.raises(ws.UsageError, match="unknown class 'unicorn'; known: "):
        seeder(world.image(sample), labels={"unicorn"})
    with pytest.raises(ws.UsageError, match="expected several names"):
        seeder(world.image(sample), labels="tree")


def test_images_behind_a_url_are_seeded(seeder, photographs):
    fsspec = pytest.importorskip("fsspec")
    path = sorted(photographs.iterdir())[0]
    fsspec.filesystem("memory").pipe("/album/one.png", path.read_bytes())
    seed = seeder("memory://album/one.png")
    np.testing.assert_array_equal(seed.labels, seeder(path).labels)
    assert seed.path is None
    assert seeder(f"file://{path.as_posix().replace(' ', '%20')}").path == path
    with pytest.raises(ws.ImageError, match=r"memory://album/none\.png: cannot be read \(no such file"):
        seeder("memory://album/none.png")


def test_a_list_and_tars_are_sources(photographs, tmp_path):
    names = sorted(path.name for path in photographs.iterdir())[:2]
    (photographs / "some.txt").write_text("".join(f"{name}\n" for name in names))
    with tarfile.open(tmp_path / "some.tar", "w") as tar:
        for name in names:
            tar.add(photographs / name, name)
    for source in (photographs / "some.txt", tmp_path / "some.tar"):
        made = ws.generate(source, out=tmp_path / source.suffix[1:], classes="toyland", models="tiny", progress=False)
        assert [record.id for record in made.records] == [Path(name).stem for name in names]
    (photographs / "some.txt").unlink()
    with pytest.raises(ws.UsageError, match=r"`root` is the folder of voc, coco or a list; .* is one itself"):
        ws.generate(photographs, root=tmp_path, classes="toyland")


def test_a_seed_is_saved_and_drawn(seeder, world, tmp_path):
    seed = seeder(world.image(world[0]))
    seed.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), seed.labels)
    picture = np.asarray(seed.plot())
    assert picture.shape == seed.image.shape
    np.testing.assert_array_equal(picture[seed.labels == 0], seed.image[seed.labels == 0])
    assert (picture[seed.labels > 0] != seed.image[seed.labels > 0]).any()
    np.testing.assert_array_equal(np.asarray(seed.plot(opacity=0)), seed.image)
    assert seed._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="does not have its image"):
        ws.Seed(seed.labels, seed.confidence, ()).plot()


def test_images_that_are_none(seeder, tmp_path):
    for array in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ws.ImageError, match="an image is uint8"):
            seeder(array)
    with pytest.raises(ws.ImageError, match=r"gone\.jpg"):
        seeder(tmp_path / "gone.jpg")


def test_streams_keep_the_order_and_may_skip_what_is_damaged(seeder, world, photographs, tmp_path, caplog):
    paths = sorted(photographs.glob("*.png"))
    together = list(seeder.stream(iter(paths)))
    assert [seed.path for seed in together] == paths
    np.testing.assert_array_equal(together[2].labels, seeder(paths[2]).labels)
    (tmp_path / "bad.png").write_bytes(b"no image")
    mixed = [paths[0], tmp_path / "bad.png", paths[1]]
    assert [seed.path for seed in seeder.stream(mixed, on_error="skip")] == [paths[0], paths[1]]
    assert "bad.png" in caplog.text
    with pytest.raises(ws.ImageError, match="bad"):
        list(seeder.stream(mixed))
    labels = [{world.class_set.names[c] for c in sample.labels} for sample in world]
    assert [set(seed.names) for seed in seeder.stream(paths, labels)] == labels
    with pytest.raises(ws.UsageError, match="on_error"):
        next(seeder.stream(paths, on_error="ignore"))


# classes, models and settings


@pytest.mark.parametrize(
    "classes",
    [["tree", "fish"], {"tree": ["tree", "bush"], "fish": ["fish"]}, "tree, fish", ("tree", "fish")],
)
def test_classes_in_every_form(classes):
    with pytest.warns(UserWarning, match="trained on toyland only"):
        seeder = ws.load(classes=classes, models="tiny", device="cpu")
    assert seeder.class_set.names == ("tree", "fish")
    if isinstance(classes, dict):
        assert seeder.class_set.phrases[0] == ("tree", "bush")


def test_settings_in_every_form():
    def value(**how):
        return ws.load(classes="toyland", models="tiny", device="cpu", **how).settings

    flat = value(settings={"detector.box_threshold": 0.4, "mode": "label_free"})
    assert flat["detector.box_threshold"] == 0.4
    assert flat == value(settings={"detector": {"box_threshold": 0.4}}, mode="label_free")
    assert flat == value(detector={"box_threshold": 0.4}, mode="label_free")
    assert flat == value(**{"detector.box_threshold": 0.4}, mode="label_free")
    with pytest.raises(ws.UsageError, match=r"unknown setting of dino-sam 'detector.box_thresh'.*box_threshold"):
        value(detector={"box_thresh": 0.4})


def test_models_are_a_set_or_a_mapping():
    named = ws.load(classes="toyland", models={"set": "tiny", "clip": "tiny-regions"}, device="cpu")
    assert named.settings == ws.load(classes="toyland", models="tiny", device="cpu").settings
    with pytest.raises(ws.UsageError, match="unknown model role 'segmenter'"):
        ws.load(classes="toyland", models={"segmenter": "tiny"})
    with pytest.raises(ws.UsageError, match=r"unknown model set 'tinny'.*Did you mean 'tiny'"):
        ws.load(classes="toyland", models="tinny")


def test_clip_sams_takes_its_prompts(world):
    seeder = ws.load("clip-sams", classes="toyland", models="tiny", device="cpu", prompts="handwritten")
    assert seeder.settings["prompts"] == "handwritten"
    assert ws.load(classes="toyland", models="tiny", device="cpu", stage="coarse").settings["stage"] == "coarse"
    names = [world.class_set.names[c] for c in world[0].labels]
    assert set(seeder(world.image(world[0]), labels=names).names) == set(names)
    with pytest.raises(ws.ImageError, match="no image-level labels"):
        seeder(world.image(world[0]))
    with pytest.raises(ws.UsageError, match="backend 'dino-sam' has no prompts"):
        ws.load("dino-sam", classes="toyland", models="tiny", device="cpu", prompts="handwritten")
    with pytest.raises(ws.UsageError, match="boxes_given needs the ground-truth boxes"):
        ws.load("dino-sam", classes="toyland", models="tiny", device="cpu", mode="boxes_given")


# runs


def test_a_run_is_the_command_s(run, photographs, cli, tmp_path):
    done = cli("generate", "--dataset", "folder", "--root", photographs, "--classes", "toyland", "--models", "tiny",
               "--device", "cpu", "--out", tmp_path / "seeds")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for mask in sorted((run.path / "SegmentationClass").glob("*.png")):
        assert mask.read_bytes() == (tmp_path / "seeds" / "SegmentationClass" / mask.name).read_bytes()
    assert len(run.records) == 6
    assert run.failed == {}
    assert run.result.made == 6


def test_a_run_resumes(run, photographs):
    again = ws.generate(photographs, classes="toyland", out=run.path, models="tiny", device="cpu", progress=False)
    assert (again.result.made, again.result.skipped) == (0, 6)
    with pytest.raises(ws.RunFolderError, match="box_threshold"):
        ws.generate(
            photographs,
            classes="toyland",
            out=run.path,
            models="tiny",
            device="cpu",
            progress=False,
            detector={"box_threshold": 0.9},
        )


def test_a_run_is_scored_shown_and_exported(run, world, tmp_path):
    with pytest.raises(ws.UsageError, match="no ground truth"):
        run.evaluate()
    figures = run.evaluate(world)
    assert 0.3 < figures.miou <= 1
    again = ws.open_run(run.path)
    assert again.evaluate(world).miou == figures.miou
    assert again.failed == {}
    assert "tree" in again.content.names
    page = again.report(tmp_path / "page.html", gt=world)
    assert page.out.read_text("utf-8").startswith("<!doctype html>")
    assert page.miou == pytest.approx(figures.miou)
    exported = again.export("mmseg", tmp_path / "exported")
    assert (tmp_path / "exported").is_dir()
    assert sum(exported.images.values()) == 6


def test_a_drawn_world_is_its_own_ground_truth(tmp_path):
    run = ws.generate("toyland", images=3, out=tmp_path / "run", device="cpu", progress=False, limit=2)
    assert run.evaluate().images == 2
    again = ws.open_run(run.path)
    assert again.evaluate().to_json() == run.evaluate().to_json()
    assert again.report(tmp_path / "page.html").miou == pytest.approx(run.evaluate().miou)
    assert ws.generate(run.dataset, out=tmp_path / "run", device="cpu", progress=False).result.skipped == 2


def test_what_is_no_run(tmp_path):
    with pytest.raises(ws.RunFolderError, match="no such folder"):
        ws.open_run(tmp_path / "gone")
    with pytest.raises(ws.RunFolderError, match="not a run folder"):
        ws.open_run(tmp_path)
    with pytest.raises(ws.DataError, match="no such folder"):
        ws.generate(tmp_path / "gone", classes="toyland", models="tiny")
    with pytest.raises(ws.UsageError, match="needs class names"):
        ws.generate(tmp_path, models="tiny")


# examples


@pytest.mark.parametrize("name", ["from_python.py", "notebook.py"])
def test_examples_run(name):
    done = subprocess.run([sys.executable, str(EXAMPLES / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "tree" in done.stdout or "mIoU" in done.stdout
