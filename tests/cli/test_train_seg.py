"""``wsss-seed train-seg`` as a user runs it, with a very small network on toyland."""

from __future__ import annotations

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from wsss_seed.data.toyland.tree import write_tree
from wsss_seed.segmenter.checkpoint import load_segmenter, read

QUICK = ["--encoder", "tu-test_resnet", "--set", "network.decoder_channels=16", "--set", "augment.crop_size=64"]
QUICK += ["--set", "train.batch_size=4", "--device", "cpu", "--workers", 1]


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toyland") / "tree"
    write_tree(folder, "train", 12, 0)
    write_tree(folder, "val", 4, 0)
    return folder


def command(tree: Path, out: str | Path, iterations: int, *more: object) -> list[object]:
    return ["train-seg", tree, *QUICK, "--set", f"train.max_iters={iterations}", "--out", out, *more]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read(path)["weights"]


def same(a: Path, b: Path) -> bool:
    one, two = weights(a), weights(b)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def one_line(result) -> str:
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_it_trains_evaluates_and_leaves_what_one_needs(program, tree, tmp_path):
    val = ["--val-split", "val", "--set", "train.eval_interval=3"]
    result = program(*command(tree, "out", 8, *val, "--json"))
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["iterations"] == 8
    assert 0 <= report["best_miou"] <= 1
    assert report["best_iteration"] in (3, 6, 8)
    rows = list(csv.DictReader((tmp_path / "out" / "metrics.csv").read_text().splitlines()))
    assert [row["iteration"] for row in rows] == [str(i) for i in range(1, 9)]
    scored = {int(row["iteration"]): float(row["miou"]) for row in rows if row["miou"]}
    assert set(scored) == {3, 6, 8}
    assert max(scored.values()) == pytest.approx(report["best_miou"])
    assert scored[8] == pytest.approx(report["miou"])
    with Image.open(tmp_path / "out" / "metrics.png") as picture:
        assert picture.size == (960, 720)
    segmenter = load_segmenter(tmp_path / "out")
    assert segmenter.history == {"iteration": report["best_iteration"], "miou": pytest.approx(report["best_miou"])}
    assert segmenter.recipe["backend"]["network.encoder"] == "tu-test_resnet"
    assert "optimizer" not in read(tmp_path / "out" / "last.pt")["training"]  # a finished training is not resumed
    assert str(tmp_path) not in (tmp_path / "out" / "training.json").read_text()

    before = {name: (tmp_path / "out" / name).read_bytes() for name in ("last.pt", "best.pt", "metrics.csv")}
    again = program(*command(tree, "out", 8, *val, "--json"))
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["best_miou"] == report["best_miou"]
    assert all((tmp_path / "out" / name).read_bytes() == content for name, content in before.items())
    line = one_line(program(*command(tree, "out", 8, *val, "--set", "optimizer.lr=0.5")))
    assert "optimizer.lr" in line
    assert "--overwrite" in line


@pytest.mark.parametrize(
    ("how", "to_all"),
    [
        pytest.param(signal.SIGKILL, False, id="killed"),
        pytest.param(signal.SIGTERM, False, id="terminated", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, True, id="all processes terminated", marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_moment_it_ends_with_the_same_weights(program, tree, tmp_path, how, to_all):
    more = [
        "--val-split",
        "val",
        "--set",
        "train.checkpoint_interval=5",
        "--set",
        "train.eval_interval=20",
        "--set",
        "train.ema_decay=0.9",
    ]
    assert program(*command(tree, "whole", 60, *more, "--workers", 0)).returncode == 0
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WSSS_SEED_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "wsss_seed", *map(str, command(tree, "killed", 60, *more))],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 240
    while not (tmp_path / "killed" / "last.pt").exists() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    os.killpg(process.pid, how) if to_all else process.send_signal(how)
    _, messages = process.communicate()
    if process.returncode == 0:
        pytest.skip("the run was over before it could be interrupted")
    done = read(tmp_path / "killed" / "last.pt")["training"]["iteration"]
    assert 5 <= done < 60
    if how == signal.SIGTERM:
        assert process.returncode == 130
        assert "run the same command again" in messages
        assert "Traceback" not in messages
    assert program(*command(tree, "killed", 60, *more)).returncode == 0
    assert same(tmp_path / "killed" / "last.pt", tmp_path / "whole" / "last.pt")
    assert same(tmp_path / "killed" / "best.pt", tmp_path / "whole" / "best.pt")
    assert (tmp_path / "killed" / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def test_several_processes_train_one_network(launch, program, tree, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WSSS_SEED_")}
    more = ["--val-split", "val", "--set", "train.eval_interval=2", "--json"]
    result = subprocess.run(
        [*launch, "-m", "wsss_seed", *map(str, command(tree, "two", 4, *more))],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["iterations"] == 4
    assert 0 <= report["best_miou"] <= 1
    load_segmenter(tmp_path / "two" / "last.pt")
    line = one_line(program(*command(tree, "two", 5, *more)))
    assert "train.max_iters" in line


@pytest.mark.slow
def test_a_full_disk_while_saving_loses_nothing(program, tree, tmp_path):
    """The limit on the size of a file stands for a disk that takes no more."""
    more = ["--set", "train.checkpoint_interval=2"]
    assert program(*command(tree, "whole", 6, *more)).returncode == 0
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WSSS_SEED_")}
    limited = [sys.executable, "-m", "wsss_seed", *map(str, command(tree, "out", 6, *more, "--workers", 0))]
    result = subprocess.run(
        limited, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000)),
    )  # fmt: skip
    line = one_line(result)
    assert "out" in line
    assert "allowed size" in line
    assert not (tmp_path / "out" / "last.pt").exists()
    assert not list((tmp_path / "out").glob(".*.part"))
    assert program(*command(tree, "out", 6, *more)).returncode == 0
    assert same(tmp_path / "out" / "last.pt", tmp_path / "whole" / "last.pt")


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["nowhere"], ["nowhere", "no such folder"]),
        (["TREE", "--network", "deeplab"], ["known: deeplabv3plus, hf-segformer, mask2former, segformer, upernet"]),
        (["TREE", "--encoder-weights", "imagenet", "--offline"], ["--encoder-weights", "none"]),
        (["TREE", "--val-dataset", "toyland", "--val-split", "vall"], ["Did you mean 'val'?"]),
        (["TREE", "--val-dataset", "toyland", "--val-difficulty", "hrad"], ["Did you mean 'hard'?"]),
    ],
)
def test_wrong_usage_is_one_line_with_the_remedy(cli, tree, args, parts):
    line = one_line(cli("train-seg", *[tree if arg == "TREE" else arg for arg in args], *QUICK))
    assert all(part in line for part in parts), line


def test_a_run_folder_is_no_ground_truth(cli, tree, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("JPEGImages", "SegmentationClass", "ImageSets", "class_names.txt"):
        (run / name).symlink_to(tree / name)
    (run / "run.json").write_text("{}")
    assert "--val-root" in one_line(cli(*command(run, "out", 2, "--val-split", "val")))


@pytest.fixture
def pair(tree, tmp_path) -> list[object]:
    """A plain pair of folders, one of its images without a mask."""
    images, masks = tmp_path / "my photographs", tmp_path / "truth"
    images.mkdir()
    masks.mkdir()
    for path in sorted((tree / "JPEGImages").glob("val*")):
        shutil.copy(path, images)
        shutil.copy(tree / "SegmentationClass" / f"{path.stem}.png", masks)
    next(masks.iterdir()).unlink()
    return ["--val-images", images, "--val-masks", masks]


def test_validation_on_a_plain_pair_of_folders(cli, tree, tmp_path, pair):
    result = cli(*command(tree, "out", 2, *pair, "--set", "train.eval_interval=2"))
    assert result.returncode == 0, result.stderr
    assert "1 of 4 images in" in result.stderr
    assert "mIoU on folder my photographs, 3 images: " in result.stdout
    assert (tmp_path / "out/best.pt").is_file()


def test_wrong_pairs_are_refused_before_the_training(cli, tree, tmp_path, pair):
    images, masks = pair[1], pair[3]
    assert "belong together" in one_line(cli(*command(tree, "out", 2, "--val-masks", masks)))
    assert "leave out" in one_line(cli(*command(tree, "out", 2, *pair, "--val-split", "val")))
    assert "no such folder" in one_line(cli(*command(tree, "out", 2, "--val-images", images, "--val-masks", "no")))
    found = one_line(cli(*command(tree, "out", 2, "--val-images", images, "--val-masks", tmp_path)))
    assert "no label map of the 4 images" in found
    Image.new("L", (5, 5)).save(next(masks.iterdir()))
    assert "the label map is 5x5" in one_line(cli(*command(tree, "out", 2, *pair)))
    assert not (tmp_path / "out").exists()
