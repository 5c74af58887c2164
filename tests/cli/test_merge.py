"""``wsss-seed merge``: the messages and the exit status."""

from __future__ import annotations

import json


def test_a_run_of_which_half_was_killed(cli, tmp_path):
    make = ("generate", "--dataset", "toyland", "--images", 3, "--device", "cpu", "--out", "seeds")
    assert cli(*make).returncode == 0
    run = tmp_path / "seeds"
    lines = (run / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (run / "manifest.jsonl").unlink()
    (run / ".work").mkdir()
    (run / ".work/0a.jsonl").write_bytes(lines[0])
    merged = cli("merge", "seeds")
    assert merged.returncode == 1
    assert merged.stdout == "merged: 1 image done, 2 missing\n"
    assert "to process the rest, run the command that made seeds again" in merged.stderr
    assert json.loads(cli("merge", "seeds", "--json").stdout) == {
        "run": "seeds", "planned": 3, "done": 1, "failed": [], "missing": 2,
    }  # fmt: skip
    assert cli(*make).returncode == 0
    assert cli("merge", "seeds").stdout == "merged: 3 images done\n"


def test_no_run(cli):
    done = cli("merge", "nothing")
    assert done.returncode == 2
    assert "no such folder" in done.stderr
