"""Commands that list, check and draw datasets, and what a check says of how classes and labels were understood."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from wsss_seed.cli import app
from wsss_seed.data import DATASETS, open_dataset
from wsss_seed.data.classes import known_class_sets


def test_the_list_has_every_dataset_and_class_set(cli):
    listed = json.loads(cli("datasets", "list", "--json").stdout)
    assert listed["datasets"] == DATASETS
    assert set(listed["class_sets"]) == set(known_class_sets())
    text = cli("datasets", "list").stdout
    assert all(name in text for name in (*DATASETS, *known_class_sets(), "aeroplane"))


def test_drawn_then_checked(cli, tmp_path):
    made = cli("datasets", "make", "toyland", "--images", 3, "--out", "toys", "--seed", 7)
    assert made.returncode == 0, made.stderr
    assert made.stdout == "3 images in toys\n"
    assert [s.id for s in open_dataset("voc", tmp_path / "toys")] == [f"test_{i:06d}" for i in range(3)]
    command = ("datasets", "check", "--dataset", "voc", "--root", "toys", "--classes", "toyland")
    sound = cli(*command)
    assert sound.returncode == 0, sound.stderr
    assert "voc test" in sound.stdout
    (tmp_path / "toys" / "JPEGImages" / "test_000001.jpg").write_bytes(b"torn")
    faulty = cli(*command, "--json")
    assert faulty.returncode == 1
    report = json.loads(faulty.stdout)
    assert report["images"] == 3
    assert len(report["problems"]) == 1
    assert "test_000001.jpg" in report["problems"][0]
    assert "test_000001.jpg" in cli(*command).stdout


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (("make", "toylnd", "--out", "x"), ["Did you mean 'toyland'?"]),
        (("make", "toyland", "--out", "x", "--split", "tset"), ["unknown split of toyland", "Did you mean 'test'?"]),
        (("make", "toyland", "--out", "x", "--difficulty", "hrad"), ["Did you mean 'hard'?"]),
        (("make", "toyland", "--out", "file/x"), ["cannot be written", "choose another --out"]),
        (("make", "toyland", "--out", "x", "--images", 0), ["--images"]),
        (("check", "-d", "vok"), ["Did you mean 'voc'?"]),
        (("check", "-d", "voc"), ["--root"]),
    ],
)
def test_wrong_usage_is_one_line_with_the_remedy(cli, tmp_path, args, parts):
    (tmp_path / "file").touch()
    result = cli("datasets", *args)
    assert result.returncode == 2
    assert all(part in result.stderr for part in parts), result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "x").exists()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a", "c", "b/d"):
        path = tmp_path / "photos" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), "red").save(path)
    (tmp_path / "classes.txt").write_text("# mine\ncat: kitty\ndog: puppy, kitty\n- toy cat\n")
    (tmp_path / "labels.csv").write_text("image,label\nb/a.jpg,cat\nphotos/c.jpg,dog;cat\nb/d.jpg,puppy\nx.jpg,cat\n")
    return tmp_path / "photos"


def check(root: Path, *more):
    return CliRunner().invoke(app, ["datasets", "check", "--dataset", "folder", "--root", str(root), *map(str, more)])


def test_classes_and_labels_are_shown_as_understood(photos):
    files = ("--classes", photos.parent / "classes.txt", "--labels", photos.parent / "labels.csv")
    done = check(photos, *files)
    assert done.exit_code == 0, done.output
    assert re.search(r"1 +│ cat +│ kitty +│ +1 ", done.stdout)
    assert re.search(r"2 +│ dog +│ puppy, kitty +│ +2 ", done.stdout)
    for line in (
        "Negative phrases: toy cat",
        "Images: 3 of folder photos, 40 x 30 pixels",
        f"Image-level labels: 2 of 3 images, from {photos.parent / 'labels.csv'}; for example, b/d shows dog",
        "Ground truth: none",
        "no problems",
    ):
        assert line in done.stdout.splitlines()
    assert "2 entries name no image of this dataset (b/a.jpg, x.jpg)" in done.stderr
    assert "warning: 'kitty' stands for 2 classes, cat, dog" in done.stderr
    report = json.loads(check(photos, *files, "--json").stdout)
    assert report["labelled"] == 2
    assert "b/a.jpg, x.jpg" in report["unmatched"]
    assert len(report["warnings"]) == 1


def test_one_class_without_labels(photos):
    done = check(photos, "--classes", "cat")
    assert re.search(r"1 +│ cat +│ cat +│ +- ", done.stdout)
    assert "Image-level labels: none" in done.stdout


def test_labels_of_other_images_only(photos):
    (photos.parent / "labels.csv").write_text("image,label\nb/a.jpg,cat\n")
    done = check(photos, "--classes", "cat, dog", "--labels", photos.parent / "labels.csv")
    assert "knows none of the 3 images, such as 'a'; it lists 'b/a.jpg'" in str(done.exception)


def test_problems_are_counted(photos):
    (photos / "a.jpg").write_bytes(b"no image")
    done = check(photos, "--classes", "cat")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-1] == "1 problem"


def test_generate_names_them_too(photos, tmp_path):
    done = CliRunner().invoke(
        app,
        ["generate", "--dataset", "folder", "--root", str(photos), "--classes", str(photos.parent / "classes.txt"),
         "--labels", str(photos.parent / "labels.csv"), "--models", "tiny", "--out", str(tmp_path / "out")],
    )  # fmt: skip
    assert "2 entries name no image of this dataset (b/a.jpg, x.jpg)" in done.stderr
    assert "warning: 'kitty' stands for 2 classes" in done.stderr


def test_labels_of_another_split_are_no_warning(tmp_path):
    """The label file of a toyland tree, of which the run has one split."""
    for split in ("train", "val"):
        made = CliRunner().invoke(app, ["datasets", "make", "toyland", "--out", str(tmp_path), "--split", split,
                                        "--images", "2"])  # fmt: skip
        assert made.exit_code == 0, made.output
    words = ["datasets", "check", "--dataset", "voc", "--root", str(tmp_path), "--split", "val"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert f"{tmp_path / 'image_labels.json'}: 2 entries are of images outside voc val" in done.stdout
    assert done.stderr == ""
