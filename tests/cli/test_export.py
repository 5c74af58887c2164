"""The command line of exports."""

import json
from pathlib import Path

import pytest

from tests.output.odd_run import label_maps, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", tmp_path / "photos")


def test_the_command(cli, run, tmp_path):
    result = cli("export", "coco", run, "out")
    assert result.returncode == 0, result.stderr
    assert f"{len(label_maps())} images exported" in result.stdout
    assert "1 failed, 1 have not been processed yet" in result.stderr
    again = cli("export", "coco", run, "out", "--overwrite", "--copy", "--json")
    assert json.loads(again.stdout) == {
        "out": "out",
        "format": "coco",
        "images": {"train": len(label_maps())},
        "missing": 2,
        "failed": [],
        "in_both": [],
        "remark": "",
    }
    for arguments, part in (
        (("coco", run, "out"), "--overwrite"),
        (("cocoa", run, "new"), "Did you mean 'coco'?"),
        (("coco", "nowhere", "new"), "nowhere"),
        (("coco", run, "new", "--val-split", "val"), "--val"),
    ):
        wrong = cli("export", *arguments)
        assert wrong.returncode == 2
        assert part in wrong.stderr
        assert "Traceback" not in wrong.stderr
        assert not (tmp_path / "new").exists()
