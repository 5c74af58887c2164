"""``wsss-seed verify``: the messages, the exit status, and the way back to a whole run."""

from __future__ import annotations

import json


def test_from_damage_to_a_whole_run(cli, tmp_path):
    make = ("generate", "--dataset", "toyland", "--images", 3, "--device", "cpu", "--out", "seeds")
    assert cli(*make).returncode == 0
    whole = cli("verify", "seeds")
    assert whole.returncode == 0
    assert whole.stdout == "3 of 3 finished images are whole\n"

    (tmp_path / "seeds" / "SegmentationClass" / "test_000001.png").unlink()
    found = cli("verify", "seeds")
    assert found.returncode == 1
    assert found.stdout.splitlines() == [
        "test_000001: its mask is missing",
        "2 of 3 finished images are whole",
        "to make them again: wsss-seed verify seeds --repair, then the command that made the run",
    ]
    listed = json.loads(cli("verify", "seeds", "--json").stdout)
    assert listed["wrong"] == [{"id": "test_000001", "what": "its mask is missing"}]
    assert listed["queued"] == []

    repaired = cli("verify", "seeds", "--repair")
    assert repaired.returncode == 1
    assert "1 queued: run the command that made seeds again" in repaired.stdout
    again = cli(*make)
    assert again.returncode == 0
    assert "1 mask" in again.stdout
    assert cli("verify", "seeds").returncode == 0


def test_many_problems_are_counted(cli, tmp_path):
    assert cli("generate", "--dataset", "toyland", "--images", 22, "--device", "cpu", "--out", "seeds").returncode == 0
    for mask in (tmp_path / "seeds" / "SegmentationClass").iterdir():
        mask.write_bytes(b"")
    (tmp_path / "seeds" / "SegmentationClass" / "other.png").write_bytes(b"")
    found = cli("verify", "seeds")
    lines = found.stdout.splitlines()
    assert len([line for line in lines if ": its mask cannot be used" in line]) == 20
    assert "and 2 more; --json lists all" in lines
    assert "0 of 22 finished images are whole" in lines
    assert "1 masks are not in the manifest, such as other.png" in found.stderr


def test_no_run(cli):
    done = cli("verify", "nothing")
    assert done.returncode == 2
    assert done.stderr == "error: nothing: no such folder; give the folder of a run\n"
