"""The loss of a training as a table and as a picture."""

import math
from pathlib import Path

from PIL import Image

from wsss_seed.io.curve import draw_curve, write_curve


def test_the_table_leaves_out_what_is_not_known(tmp_path: Path):
    write_curve(tmp_path / "metrics", {"rate": [0.1, 0.05], "loss": [2.0, 1.0], "miou": [math.nan, 0.25]})
    assert (tmp_path / "metrics.csv").read_text() == "iteration,rate,loss,miou\n1,0.1,2,\n2,0.05,1,0.25\n"


def test_only_losses_and_scores_with_values_are_drawn(tmp_path: Path):
    loss = [3.0, 2.0, 1.0]
    write_curve(tmp_path / "metrics", {"rate": [9.0] * 3, "loss": loss, "miou": [math.nan] * 3})
    with Image.open(tmp_path / "metrics.png") as picture:
        assert picture.tobytes() == draw_curve({"loss": loss}).tobytes()
    write_curve(tmp_path / "metrics", {"rate": [9.0] * 3, "loss": loss, "miou": [math.nan, math.nan, 0.5]})
    with Image.open(tmp_path / "metrics.png") as picture:
        assert picture.tobytes() == draw_curve({"loss": loss, "miou": [math.nan, math.nan, 0.5]}).tobytes()


def test_nothing_to_draw_is_an_empty_picture():
    assert draw_curve({}).size == (960, 480)
