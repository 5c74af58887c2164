"""``wsss-seed proposals`` as a user runs it."""

import json
from pathlib import Path


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
