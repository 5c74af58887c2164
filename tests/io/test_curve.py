"""The loss of a training as a table and as a picture."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_seed.io.curve import draw_curve, ticks, write_curve


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
    assert draw_curve({}).size == (960, 360)


def test_losses_and_scores_have_a_panel_each():
    loss, miou = [3.0, 2.0, 1.0], [math.nan, 0.25, 0.5]
    assert draw_curve({"loss": loss, "loss_cam": loss}).height == 360
    both = draw_curve({"loss": loss, "miou": miou})
    assert both.size == (960, 720)
    upper, lower = both.crop((0, 0, 960, 360)), both.crop((0, 360, 960, 720))
    assert upper.tobytes() == draw_curve({"loss": loss}).tobytes()
    assert lower.tobytes() == draw_curve({"miou": miou, "rate": loss}).tobytes()


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (0, 1, False, [0, 0.5, 1]),
        (0, 0.83, False, [0, 0.2, 0.4, 0.6, 0.8]),
        (-3, 7, False, [-2, 0, 2, 4, 6]),
        (1, 3, True, [1, 2, 3]),
        (1, 1, True, [1]),
        (1, 20000, True, [5000, 10000, 15000, 20000]),
    ],
)
def test_ticks_are_round(low, high, whole, expected):
    assert ticks(low, high, 5, whole=whole) == pytest.approx(expected)


def test_the_curve_as_table_and_picture(tmp_path):
    values = [1 / (1 + i) for i in range(200)]
    write_curve(tmp_path / "cls", {"lr": [1e-3] * 200, "loss": values})
    rows = list(csv.DictReader((tmp_path / "cls.csv").read_text().splitlines()))
    assert [int(r["iteration"]) for r in rows] == list(range(1, 201))
    assert [float(r["loss"]) for r in rows] == pytest.approx(values)
    picture = np.asarray(Image.open(tmp_path / "cls.png").convert("RGB")).astype(int)
    y, x = np.nonzero(np.abs(picture - [0x1F, 0x6F, 0xB4]).sum(2) < 30)
    inside = (x > 84) & (y > 44)
    assert y[inside & (x < 300)].mean() < y[inside & (x > 700)].mean()  # it falls
    write_curve(tmp_path / "empty", {"loss": []})
    assert (tmp_path / "empty.png").is_file()
