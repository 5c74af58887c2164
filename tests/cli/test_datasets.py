"""Commands that list, check and draw datasets."""

import json

import pytest

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
