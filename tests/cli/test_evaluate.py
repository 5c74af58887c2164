"""The command that scores label maps, and the table it shows."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from wsss_seed.cli import app
from wsss_seed.data.classes import voc_palette
from wsss_seed.io.png import write_mask


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two images; a prediction is right but for a quarter of the first image, and has ignored pixels in the second."""
    for name in ("a", "b"):
        labels = np.zeros((8, 8), np.uint8)
        labels[:4] = 1
        write_mask(tmp_path / "gt" / f"{name}.png", labels, voc_palette())
        if name == "a":
            labels[:2] = 2
        else:
            labels[6:] = 255
        write_mask(tmp_path / "pred" / f"{name}.png", labels, voc_palette())
    return tmp_path


COMMAND = ("evaluate", "--pred", "pred", "--gt", "gt", "--classes", "cat, dog")


def test_the_table_and_json_have_the_same_figures(cli, folders):
    found = json.loads(cli(*COMMAND, "--json").stdout)
    assert found["per_class_iou"] == pytest.approx({"background": 1.0, "cat": 48 / 64, "dog": None})  # no dog to find
    shown = cli(*COMMAND)
    assert shown.returncode == 0, shown.stderr
    rows = {line.split("│")[1].strip(): line for line in shown.stdout.splitlines() if "│" in line}
    assert rows.keys() == {"background", "cat"}
    assert "75.00" in rows["cat"]
    assert "not in the ground truth of these images: dog" in shown.stdout.splitlines()
    assert f"mIoU {100 * found['miou']:.2f} %" in shown.stdout
    assert "as background" in shown.stdout


def test_a_policy_changes_what_ignored_pixels_are(cli, folders):
    found = {p: json.loads(cli(*COMMAND, "--policy", p, "--json").stdout) for p in ("background", "wrong", "skip")}
    assert found["wrong"]["per_class_iou"]["background"] == pytest.approx(48 / 64)
    assert found["skip"]["per_class_iou"]["background"] == 1.0
    assert found["wrong"]["miou"] == found["background"]["miou_by_policy"]["wrong"]


def test_a_list_chooses_the_images_and_what_is_missing_is_an_error(cli, folders):
    (folders / "ids.txt").write_text("b\n")
    found = json.loads(cli(*COMMAND, "--list", "ids.txt", "--json").stdout)
    assert (found["images"], found["per_class_iou"]["cat"]) == (1, 1.0)
    (folders / "pred" / "a.png").unlink()
    result = cli(*COMMAND)
    assert result.returncode == 2
    assert "error: no prediction for 1 image: a" in result.stderr
    assert "no mIoU: 1 of 2 images cannot be compared" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (("--pred", "pred"), "--gt DIR, or --dataset NAME"),
        (("--pred", "pred", "--gt", "gt", "--policy", "wrnog"), "Did you mean 'wrong'?"),
        (("--pred", "nowhere", "--gt", "gt"), "nowhere"),
        (("--pred", "pred", "--dataset", "toylnd"), "Did you mean 'toyland'?"),
        (("--pred", "pred", "--gt", "gt", "--list", "ids.txt"), "ids.txt"),
    ],
)
def test_wrong_usage_is_one_line_with_the_remedy(cli, folders, args, part):
    result = cli("evaluate", *args)
    assert result.returncode == 2
    assert part in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def half_ignored(tmp_path):
    """The cat fills the left half; the prediction ignores a quarter of it and a quarter of the background."""
    truth = np.zeros((40, 40), np.uint8)
    truth[:, :20] = 1
    prediction = truth.copy()
    prediction[:10] = 255
    for name in ("a", "b"):
        write_mask(tmp_path / "gt" / f"{name}.png", truth, voc_palette())
        write_mask(tmp_path / "pred" / f"{name}.png", prediction, voc_palette())
    return tmp_path / "pred", tmp_path / "gt"


def evaluate(pred, gt, *more):
    return CliRunner().invoke(app, ["evaluate", "--pred", str(pred), "--gt", str(gt), "--classes", "cat,", *more])


@pytest.mark.parametrize(
    ("policy", "summary"),
    [
        ("background", "mIoU 77.50 % with ignored pixels as background (as errors 75.00 %, excluded 100.00 %)"),
        ("wrong", "mIoU 75.00 % with ignored pixels as errors (as background 77.50 %, excluded 100.00 %)"),
        ("skip", "mIoU 100.00 % with ignored pixels excluded (as background 77.50 %, as errors 75.00 %)"),
    ],
)
def test_the_summary_says_what_happens_to_ignored_pixels(half_ignored, policy, summary):
    done = evaluate(*half_ignored, "--policy", policy)
    assert done.exit_code == 0, done.output
    assert summary in done.stdout


def test_missing_predictions_and_how_to_score_the_others(half_ignored):
    (half_ignored[0] / "b.png").unlink()
    done = evaluate(*half_ignored)
    assert done.exit_code == 2
    assert re.search("no prediction for 1 image: b\nerror: no mIoU: 1 of 2 images.*\n.*--finished scores", done.stderr)
    done = evaluate(*half_ignored, "--finished")
    assert done.exit_code == 0
    assert "warning: 1 of 2 images have no prediction and are left out" in done.stderr
    assert "over 1 image\n" in done.stdout
    assert json.loads(evaluate(*half_ignored, "--finished", "--json").stdout)["unfinished"] == 1
