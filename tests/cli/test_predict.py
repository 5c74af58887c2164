"""``wsss-seed predict`` as a user runs it, with small networks of random weights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

IMAGES = 4


def write_checkpoint(path: Path, classes: str) -> Path:
    import torch

    from wsss_seed.data.classes import load_class_set
    from wsss_seed.segmenter.checkpoint import Scale, Segmenter, save
    from wsss_seed.segmenter.networks import NetworkSettings, build

    torch.manual_seed(0)
    class_set = load_class_set(classes)
    settings = NetworkSettings(encoder="resnet18", decoder_channels=16)
    network = build(settings, len(class_set.names) + 1).eval()
    with torch.no_grad():  # or a random network's answers would all be about the same
        network.model.segmentation_head[0].weight.mul_(30)
    save(path, Segmenter(network, class_set, Scale(), {}, {"iterations": 0}), settings)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def toyland(folder: Path) -> Path:
    return write_checkpoint(folder / "toyland.pt", "toyland")


@pytest.fixture(scope="module")
def voc(folder: Path) -> Path:
    return write_checkpoint(folder / "voc.pt", "voc")


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A toyland world on disk."""
    from wsss_seed.data.toyland.tree import write_tree

    root = tmp_path_factory.mktemp("world") / "tree"
    write_tree(root, "test", IMAGES, 3)
    return root


def masks(out: Path) -> dict[str, bytes]:
    folder = out / "SegmentationClass"
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.png"))}


def test_a_folder_of_images(program, toyland: Path, tree: Path, tmp_path: Path):
    photos = tmp_path / "photos"
    (photos / "süb dir").mkdir(parents=True)
    source = sorted((tree / "JPEGImages").iterdir())
    shutil.copy(source[0], photos / "süb dir" / "ein bild.JPG")
    Image.new("RGB", (1, 1)).save(photos / "one.bmp")
    (photos / "broken.jpg").write_bytes(source[2].read_bytes()[:300])
    result = program("predict", toyland, photos, "--out", "out")
    assert result.returncode == 1, result.stderr
    assert "broken.jpg" in result.stderr
    out = tmp_path / "out"
    assert set(masks(out)) == {"süb dir/ein bild.png", "one.png"}
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert {line["id"]: line["status"] for line in lines} == {
        "süb dir/ein bild": "ok", "one": "ok", "broken": "failed",
    }  # fmt: skip
    for name in ("süb dir/ein bild", "one"):
        with Image.open(out / "SegmentationClass" / f"{name}.png") as mask:
            assert mask.mode == "P"
            size = mask.size
            assert np.asarray(mask).max() <= 12
        for other in (out / "Confidence" / f"{name}.png", out / "JPEGImages" / f"{name}.jpg"):
            with Image.open(other) as image:
                assert image.size == size
    run = json.loads((out / "run.json").read_text())
    assert run["settings"]["backend"]["name"] == "segmenter"
    assert run["checkpoint"] == str(toyland)


def test_a_list_and_tars_give_the_label_maps_of_the_folder(cli, toyland: Path, tree: Path, tmp_path: Path):
    names = sorted(path.name for path in (tree / "JPEGImages").iterdir())[:2]
    listed = tmp_path / "photos.txt"
    listed.write_text("".join(f"{name}\n" for name in names))
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for name in names:
            tar.add(tree / "JPEGImages" / name, name)
    maps = []
    for number, source in enumerate((["--list", listed, "--root", tree / "JPEGImages"], [tmp_path / "photos.tar"])):
        result = cli("predict", toyland, *source, "--out", number)
        assert result.returncode == 0, result.stderr
        files = sorted((tmp_path / str(number) / "SegmentationClass").iterdir())
        maps.append({file.name: file.read_bytes() for file in files})
    assert len(maps[0]) == 2
    assert maps[0] == maps[1]


def test_files_with_unusable_names_fail_alone(program, cli, toyland: Path, tmp_path: Path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("good.png", "m.png", "m.tif"):
        Image.new("RGB", (8, 6)).save(photos / name)
    odd = [b"a:b.png", b"nul.png", b"new\nline.png", b"x\xff.png"]
    for name in odd:
        try:
            shutil.copy(photos / "good.png", os.path.join(os.fsencode(photos), name))
        except OSError:
            pytest.skip("this file system does not take the name")
    ids = {"m.png", "m.tif", "a%3Ab.png", "%6Eul.png", "new%0Aline.png", "x%FF.png"}
    result = program("predict", toyland, photos, "--out", "out")
    assert result.returncode == 1, result.stderr
    out = tmp_path / "out"
    assert set(masks(out)) == {"good.png"}
    lines = {line["id"]: line for line in map(json.loads, (out / "manifest.jsonl").read_text().splitlines())}
    assert {id for id, line in lines.items() if line["status"] == "failed"} == ids
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(ids)
    assert all(line.endswith("; rename the image") for line in errors)
    for id in ids:
        assert sum(lines[id]["error"] in line for line in errors) == 1
    for name in ("m.tif", *odd):
        os.unlink(os.path.join(os.fsencode(photos), os.fsencode(name)))
    again = cli("predict", toyland, photos, "--out", "out", "--json")
    assert (again.returncode, json.loads(again.stdout)["made"]) == (0, 1)
    assert set(masks(out)) == {"good.png", "m.png"}


def test_it_is_scored_resumed_and_the_same_again(cli, toyland: Path, tmp_path: Path):
    command = ["predict", toyland, "--dataset", "toyland", "--images", IMAGES, "--json"]
    first = cli(*command, "--out", "a", "--limit", 2)
    assert first.returncode == 0, first.stderr
    report = json.loads(cli(*command, "--out", "a").stdout)
    assert (report["made"], report["skipped"]) == (IMAGES - 2, 2)
    scored = cli("evaluate", "--pred", "a", "--dataset", "toyland", "--images", IMAGES, "--json")
    assert json.loads(scored.stdout)["miou"] == report["evaluation"]["miou"]
    for i in (1, 2):
        assert cli(*command, "--out", "b", "--shard", f"{i}/2").returncode == 0
    assert masks(tmp_path / "a") == masks(tmp_path / "b")
    assert len(masks(tmp_path / "a")) == IMAGES


def test_unusable_ground_truth_is_reported_before_the_work(cli, toyland: Path, tree: Path, tmp_path: Path):
    shutil.copytree(tree, tmp_path / "world")
    first = min((tmp_path / "world" / "SegmentationClass").iterdir())
    first.write_bytes(b"not an image")
    command = ["predict", toyland, "--dataset", "voc", "--root", "world", "--split", "test", "--classes", "toyland"]
    result = cli(*command, "--out", "out", "--limit", 1)
    assert result.returncode == 0, result.stderr
    assert "ground truth of 1 image cannot be used (first: world/SegmentationClass" in result.stderr
    assert result.stderr.index("ground truth") < result.stderr.index("predicting")


def test_scales_flip_and_windows(cli, toyland: Path, tmp_path: Path):
    command = ["predict", toyland, "--dataset", "toyland", "--images", 1]
    assert cli(*command, "--out", "plain").returncode == 0
    more = cli(*command, "--out", "more", "--scales", "0.5, 1", "--flip", "--window", 64, "--set", "overlap=0.5")
    assert more.returncode == 0, more.stderr
    settings = json.loads((tmp_path / "more" / "run.json").read_text())["settings"]["backend"]
    assert (settings["scales"], settings["flip"], settings["window"], settings["overlap"]) == (
        [0.5, 1.0],
        True,
        64,
        0.5,
    )
    assert masks(tmp_path / "plain") != masks(tmp_path / "more")
    refused = cli(*command, "--out", "plain", "--flip")
    assert refused.returncode == 2
    assert "backend.flip" in refused.stderr


def test_sharpened_by_the_bundled_sam(cli, toyland: Path, tmp_path: Path):
    home = {"WSSS_SEED_HOME": str(tmp_path / "home")}
    command = ["predict", toyland, "--dataset", "toyland", "--images", 1]
    assert cli(*command, "--out", "plain").returncode == 0
    result = cli(*command, "--out", "sharp", "--sharpen", "--set", "sharpen.background_exponent=2", env=home)
    assert result.returncode == 0, result.stderr
    described = json.loads((tmp_path / "sharp" / "run.json").read_text())
    run = described["settings"]
    assert run["backend"]["sharpen.background_exponent"] == 2
    assert run["backend"]["proposals.points_per_side"] == 16  # what suits the miniature
    assert run["models"]["sam"] == described["weights"]["sam"]["sha256"]
    assert described["weights"]["sam"]["name"] == "tiny"
    line = json.loads((tmp_path / "sharp" / "manifest.jsonl").read_text())
    assert line["evidence"]["masks"] > 0
    assert masks(tmp_path / "sharp") != masks(tmp_path / "plain")
    assert list((tmp_path / "home" / "proposals").rglob("*.json.gz"))


def test_an_archive_for_the_voc_server(cli, voc: Path, tree: Path, tmp_path: Path):
    """VOC's test split has images and a list, and no ground truth."""
    root = tmp_path / "VOC2012"
    shutil.copytree(tree / "JPEGImages", root / "JPEGImages")
    ids = sorted(path.stem for path in (root / "JPEGImages").iterdir())
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "test.txt").write_text("\n".join(ids))
    command = ["predict", voc, "--dataset", "voc", "--root", root, "--split", "test", "--out", "out"]
    result = cli(*command, "--voc-archive", "results.tar.gz", "--competition", "comp5")
    assert result.returncode == 0, result.stderr
    assert "results.tar.gz" in result.stdout
    with tarfile.open(tmp_path / "results.tar.gz") as archive:
        names = archive.getnames()
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert names == [f"results/VOC2012/Segmentation/comp5_test_cls/{name}.png" for name in ids]
    for name in ids:
        path = tmp_path / "unpacked" / "results" / "VOC2012" / "Segmentation" / "comp5_test_cls" / f"{name}.png"
        assert path.read_bytes() == (tmp_path / "out" / "SegmentationClass" / f"{name}.png").read_bytes()
    again = cli(*command, "--voc-archive", "results.zip", "--json")  # what is finished is only packed
    assert json.loads(again.stdout)["made"] == 0
    assert (tmp_path / "results.zip").is_file()


def test_no_archive_where_images_are_missing(cli, voc: Path, tree: Path, tmp_path: Path):
    photos = tmp_path / "photos"
    shutil.copytree(tree / "JPEGImages", photos)
    result = cli("predict", voc, photos, "--limit", 1, "--out", "out", "--voc-archive", "results.zip")
    assert result.returncode == 2
    assert f"{IMAGES - 1} of {IMAGES} images have no label map" in result.stderr
    (photos / "broken.jpg").write_bytes(b"none")
    result = cli("predict", voc, photos, "--out", "out", "--voc-archive", "results.zip")
    assert result.returncode == 1
    assert "no archive" in result.stderr
    assert not (tmp_path / "results.zip").exists()
    assert len(masks(tmp_path / "out")) == IMAGES


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        ([], ["a folder of images after the segmenter, or --dataset NAME"]),
        (["empty"], ["empty", "no image below it"]),
        (["nowhere"], ["nowhere", "no such folder"]),
        (["empty", "--split", "val"], ["--split is for --dataset"]),
        (["empty", "--images", "3"], ["--images and --difficulty are for --dataset toyland"]),
        (["empty", "--root", "empty"], ["either the folder empty or --root empty"]),
        (["empty", "--list", "a.txt"], ["either the folder empty or --list a.txt"]),
        (["--list", "a.txt"], ["a.txt: cannot be read"]),
        (["a.tar"], ["a.tar: no such file; give --root a tar"]),
        (["s3://me:hush@bucket/x", "--list", "a.txt"], ["either the folder s3://bucket/x or --list"]),
        (["empty", "--dataset", "toyland"], ["either the folder empty or --dataset toyland"]),
        (["--dataset", "toylnd"], ["Did you mean 'toyland'?"]),
        (["--dataset", "voc", "--root", "tree", "--images", "3"], ["--images is for toyland"]),
        (["--dataset", "voc", "--root", "tree", "--classes", "voc"], ["toyland.pt", "12 classes, not 20"]),
        (["--dataset", "toyland", "--set", "flipp=true"], ["Did you mean 'flip'?"]),
        (["--dataset", "toyland", "--set", "sharpen.background_exponent=3"], ["--sharpen"]),
        (["--dataset", "toyland", "--set", "background_exponent=3"], ["--sharpen"]),
        (["--dataset", "toyland", "--sam", "tiny"], ["--sharpen"]),
        (["--dataset", "toyland", "--sharpen", "--sam", "vit_b"], ["sam_vit_b_01ec64.pth"]),
        (["--dataset", "toyland", "--sharpen", "--set", "proposals.pints_per_side=3"], ["proposals.points_per_side"]),
        (["--dataset", "toyland", "--scales", "a,b"], ["--scales a,b"]),
        (["--dataset", "toyland", "--scales", "0"], ["from 0.05"]),
        (["--dataset", "toyland", "--device", "cuda:99"], ["cuda:99", "--device cpu"]),
        (["--dataset", "toyland", "--voc-archive", "x.zip"], ["not 'toyland'"]),
        (["--dataset", "toyland", "--shard", "3/2"], ["--shard 3/2"]),
    ],
)
def test_wrong_usage_is_one_line_with_the_remedy(cli, toyland: Path, tree: Path, tmp_path: Path, args, parts):
    (tmp_path / "empty").mkdir()
    (tmp_path / "tree").symlink_to(tree)
    home = {"WSSS_SEED_HOME": str(tmp_path / "home")}
    one_error(cli("predict", toyland, "--out", "out", *args, env=home), parts)
    assert not (tmp_path / "out").exists()


def one_error(result: subprocess.CompletedProcess[str], parts: list[str]) -> None:
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize("damage", ["missing", "empty", "torn", "foreign", "other weights"])
def test_a_checkpoint_that_is_none(cli, toyland: Path, tmp_path: Path, damage: str):
    import torch

    path = tmp_path / "broken.pt"
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "torn":
        path.write_bytes(toyland.read_bytes()[:100_000])
    elif damage == "foreign":
        torch.save({"state_dict": {}}, path)
    elif damage == "other weights":
        content = torch.load(toyland, weights_only=True)
        content["weights"].pop(next(iter(content["weights"])))
        torch.save(content, path)
    one_error(cli("predict", path, "--dataset", "toyland", "--images", 1, "--out", "out"), ["broken.pt"])
    assert not (tmp_path / "out").exists()


def test_a_full_disk_stops_with_one_line_and_loses_nothing(program, toyland: Path, tmp_path: Path):
    """No file may become larger than 8 KiB, which the maps of one image do; that is handled like a full disk."""
    dice = np.random.default_rng(0)
    for i in range(8):
        side = 256 if i == 5 else 24
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(dice.integers(0, 256, (side, side, 3), np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    arguments = ["predict", str(toyland), "photos", "--out"]
    assert program(*arguments, "whole").returncode == 0
    limited = f"ulimit -f 16; exec {sys.executable} -m wsss_seed {' '.join(arguments)} out"
    result = subprocess.run(["sh", "-c", limited], cwd=tmp_path, capture_output=True, text=True, check=False)
    one_error(result, ["make room and give the same command again"])
    before = masks(tmp_path / "out")
    assert 0 < len(before) < 8
    assert program(*arguments, "out").returncode == 0
    assert masks(tmp_path / "out") == masks(tmp_path / "whole")
    assert {name: masks(tmp_path / "out")[name] for name in before} == before
