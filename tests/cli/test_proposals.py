"""``wsss-seed proposals`` as a user runs it."""

import json
from pathlib import Path

import pytest


def test_made_once_and_found_again(cli, tmp_path: Path):
    command = [
        "proposals",
        "--dataset",
        "toyland",
        "--images",
        2,
        "--set",
        "proposals.points_per_side=4",
        "--out",
        "store",
    ]
    first = json.loads(cli(*command, "--json").stdout)
    assert (first["images"], first["made"], first["failed"]) == (2, 2, [])
    assert len(list((tmp_path / "store").rglob("*.json.gz"))) == 2
    again = cli(*command)
    assert again.returncode == 0, again.stderr
    assert "2 already in the store" in again.stdout
    other = json.loads(cli(*command, "--set", "proposals.level_overlap_thresh=0.5", "--json").stdout)
    assert other["made"] == 2


def test_unknown_settings_are_refused(cli):
    result = cli("proposals", "--dataset", "toyland", "--images", 1, "--set", "proposals.pionts_per_side=4")
    assert result.returncode == 2
    assert "proposals.points_per_side" in result.stderr
    assert "Traceback" not in result.stderr


def test_workers_share_the_images(cli, tmp_path: Path):
    command = ["proposals", "--dataset", "toyland", "--images", 4, "--set", "proposals.points_per_side=4", "--json"]
    alone = json.loads(cli(*command, "--out", "alone").stdout)
    done = cli(*command, "--out", "shared", "--workers", 2, "--shards", 4, "--device", "cpu")
    shared = json.loads(done.stdout)
    assert shared | {"out": "alone", "seconds": 0} == alone | {"seconds": 0}
    assert "SAM 'tiny' on cpu, cpu" in done.stderr
    assert "segmenting 4 images\n4 of 4 images done" in done.stderr
    assert sorted(p.name for p in (tmp_path / "shared").rglob("*.gz")) == sorted(
        p.name for p in (tmp_path / "alone").rglob("*.gz")
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--engine", "slurm"), "unknown engine 'slurm'; known: local, ray"),
        (("--address", "auto"), "--address, --gpus-per-worker and --cpus-per-worker are for --engine ray"),
        (("--device", "cpu,"), "--device cpu,: expected a device, or several as in cuda:0,cuda:1"),
    ],
)
def test_unusable_engines_are_one_line_each(cli, tmp_path, options, message):
    result = cli("proposals", "--dataset", "toyland", "--images", 1, "--out", "store", *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert not (tmp_path / "store").exists()
    assert len([line for line in result.stderr.splitlines() if line.startswith("error:")]) == 1
    assert "Traceback" not in result.stderr
