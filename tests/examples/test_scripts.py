"""Every script of the examples starts, so that none is left behind when the package changes."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(p for p in EXAMPLES.rglob("*.py") if "argparse" in p.read_text("utf-8"))


def test_the_scripts_are_found():
    assert len(SCRIPTS) > 10


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_its_help_is_shown(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(script), run_name="__main__")
    assert "usage" in capsys.readouterr().out.lower()


def test_the_ladder_prints_a_row_per_step(monkeypatch, capsys):
    """Its stages and prompts are options of the backend, everything else is a setting."""
    words = ["--images", "1", "--rows", "learned", "channel weights: + SAMS", "label-free"]
    monkeypatch.setattr(sys, "argv", ["ladder.py", *words])
    runpy.run_path(str(EXAMPLES / "ladder.py"), run_name="__main__")
    table = capsys.readouterr().out
    for row in (
        "learned cls prompts",
        "learned seg prompts",
        "channel weights: + SAMS",
        "dino-sam, label-free",
        "oracle",
    ):
        assert row in table


def test_a_stage_of_clip_sams_is_calibrated(monkeypatch, capsys):
    folder = EXAMPLES / "tiny_models"
    monkeypatch.setattr(sys, "argv", ["calibrate_clip_sams.py", "coarse", "--images", "1", "--rounds", "0"])
    monkeypatch.syspath_prepend(str(folder))
    runpy.run_path(str(folder / "calibrate_clip_sams.py"), run_name="__main__")
    start, end = capsys.readouterr().out.splitlines()[:2]
    assert end == f"end {float(start.split()[1])}"
