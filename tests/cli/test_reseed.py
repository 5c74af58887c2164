"""``wsss-seed reseed`` and ``generate --keep-evidence``."""

from __future__ import annotations

import json

DRAWN = ("--dataset", "toyland", "--images", 3, "--device", "cpu")


def test_a_run_is_seeded_again(cli, tmp_path):
    assert cli("generate", *DRAWN, "--keep-evidence", "--out", "run").returncode == 0
    config = tmp_path / "my.toml"
    config.write_text('[settings]\n"nms.iou_threshold" = 0.6\n')
    arguments = ("--set", "detector.box_threshold=0.4", "--config", config, "--device", "cpu")
    done = cli("reseed", "run", *arguments, "--out", "new", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["images"], result["made"], result["failed"]) == (3, 3, [])
    backend = json.loads((tmp_path / "new" / "run.json").read_bytes())["settings"]["backend"]
    assert (backend["detector.box_threshold"], backend["nms.iou_threshold"]) == (0.4, 0.6)
    again = cli("reseed", "run", *arguments, "--out", "new")
    assert "0 masks generated, 3 already finished" in again.stdout


def test_one_line_for_what_cannot_be_done(cli):
    assert cli("generate", *DRAWN, "--out", "plain").returncode == 0
    failed = cli("reseed", "plain", "--out", "new")
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert "run generate with --keep-evidence" in failed.stderr
    assert "no such folder" in cli("reseed", "nowhere", "--out", "new").stderr
