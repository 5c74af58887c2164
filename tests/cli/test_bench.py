"""``wsss-seed bench`` as a user calls it."""

import json
import re

import pytest


@pytest.fixture(autouse=True)
def _small(monkeypatch) -> None:
    monkeypatch.setattr("wsss_seed.run.bench._SIZE", (160, 120))


def test_a_table_of_stages(cli):
    done = cli("bench", "--models", "tiny", "--images", 1, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("dino-sam on cpu, fp32")
    for stage in ("decoding", "CLIP", "detector", "SAM encoder", "SAM decoder", "fusion", "writing"):
        assert any(f"│ {stage} " in line for line in lines)
    assert "images per second" in done.stdout
    assert re.search(r"seeding takes [\d.]+ s per image in the median, [\d.]+ to [\d.]+ s", done.stdout)
    assert re.search(r"[\d.]+ TFLOP/s before and [\d.]+ after the images in fp32", done.stdout)
    assert "random weights" not in done.stdout
    assert re.fullmatch(r"[\w ]+ dominates: \d+% of the time of all stages(, [\d.]+ times its floor)?", lines[-1])


def test_json_of_clip_sams_with_peers(cli):
    few = ("--set", "proposals.points_per_side=4", "--set", "proposals.crop_n_layers=0")
    done = cli("bench", "--models", "tiny", "--backend", "clip-sams", "--images", 1, "--peers", "--json", *few)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["backend"] == "clip-sams"
    assert found["models"] == {"clip": "tiny-regions", "sam": "tiny"}
    assert found["settings"]["proposals.points_per_side"] == 4
    assert [pair["peer"] for pair in found["peers"]] == [
        "SamPredictor", "SamAutomaticMaskGenerator", "CLIP-ES's loop",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--models", "tinny"), "unknown model set 'tinny'"),
        (("--models", "sam3"), "unknown backend of bench 'sam3'"),
        (("--models", "tiny", "--root", "nowhere"), "nowhere: no such folder"),
        (("--models", "tiny", "--set", "detector.box_treshold=1"), "detector.box_treshold"),
        (("--models", "tiny", "--device", "tpu"), "--device tpu: only cpu and cuda are supported"),
    ],
)
def test_bad_input_is_one_line(cli, arguments, text):
    done = cli("bench", *arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
