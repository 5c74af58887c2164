"""Evaluation over a list: what is missing or wrong is listed and there are no figures without it."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from wsss_seed.data.base import Dataset, Sample
from wsss_seed.data.classes import ClassSet, voc_palette
from wsss_seed.errors import ImageError, WsssError
from wsss_seed.evaluation.evaluate import evaluate, read_ids
from wsss_seed.io.png import write_mask
from wsss_seed.io.progress import Progress

NAMES = ("background", "cat", "dog")
IDS = ["a", "sub/b", "c d"]


def label_map(seed, values=(0, 1, 2)):
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), (30, 41)).repeat(3, 0).repeat(3, 1)


@pytest.fixture
def folders(tmp_path):
    """Ground truth with 255, predictions that are right on about half of the pixels and 255 on some."""
    for seed, name in enumerate(IDS):
        truth = label_map(seed, (0, 1, 2, 255))
        prediction = np.where(label_map(seed + 9, (0, 1)), truth, label_map(seed + 20, (0, 1, 2, 255)))
        prediction[truth == 255] = 1
        write_mask(tmp_path / "gt" / f"{name}.png", truth, voc_palette())
        write_mask(tmp_path / "pred" / f"{name}.png", prediction, voc_palette())
    return tmp_path / "pred", tmp_path / "gt"


class Truth(Dataset):
    name, split = "truth", "val"
    class_set = ClassSet("pets", NAMES[1:], (("cat",), ("dog",)), NAMES[1:], ("grass",), voc_palette())

    def __init__(self, folder, without=()):
        self.samples = [Sample(n, mask=None if n in without else folder / f"{n}.png") for n in IDS]


def read(path):
    return np.asarray(Image.open(path))


def test_one_matrix_for_the_whole_list(folders):
    """Against numpy on all pixels at once; the mean of per-image IoU would be another number."""
    pred, gt = folders
    evaluation = evaluate(pred, gt, names=NAMES)
    truth = np.concatenate([read(gt / f"{name}.png").ravel() for name in IDS])
    guess = np.concatenate([read(pred / f"{name}.png").ravel() for name in IDS])
    counted = truth != 255
    as_background = np.where(guess == 255, 0, guess)
    iou = {
        name: ((truth == c) & (as_background == c))[counted].sum()
        / ((truth == c) | (as_background == c))[counted].sum()
        for c, name in enumerate(NAMES)
    }
    assert evaluation.per_class_iou == pytest.approx(iou)
    assert evaluation.miou == pytest.approx(np.mean(list(iou.values())))
    assert evaluation.pixel_accuracy == pytest.approx((truth == as_background)[counted].mean())
    assert evaluation.coverage == pytest.approx((guess != 255)[counted].mean())
    assert evaluation.miou_by_policy["background"] == evaluation.miou
    assert evaluation.images == 3
    assert evaluation.complete
    assert evaluation.exit_status == 0


def test_json_is_the_contract_s(folders):
    value = json.loads(json.dumps(evaluate(*folders, names=NAMES).to_json(), allow_nan=False))
    assert 0 < value["miou"] < 1
    assert list(value["per_class_iou"]) == list(NAMES)
    assert {"pixel_accuracy", "boundary_iou", "coverage", "miou_by_policy"} <= value.keys()
    assert (value["images"], value["missing"], value["errors"], value["policy"]) == (3, [], [], "background")


def test_policies(folders):
    figures = {policy: evaluate(*folders, names=NAMES, policy=policy) for policy in ("background", "wrong", "skip")}
    for policy, evaluation in figures.items():
        assert evaluation.policy == policy
        assert evaluation.miou == evaluation.miou_by_policy[policy]
        assert evaluation.miou_by_policy == figures["background"].miou_by_policy
    assert figures["skip"].miou > figures["wrong"].miou
    assert len({evaluation.boundary_iou for evaluation in figures.values()}) == 3
    with pytest.raises(WsssError, match=r"unknown policy 'skp'.*Did you mean 'skip'"):
        evaluate(*folders, names=NAMES, policy="skp")


def test_datasets_and_folders_agree(folders):
    pred, gt = folders
    by_folder, by_dataset = evaluate(pred, gt, names=NAMES), evaluate(pred, Truth(gt))
    assert by_dataset.to_json() == by_folder.to_json()
    assert evaluate(gt, Truth(gt)).miou == 1
    assert evaluate(gt, Truth(gt)).boundary_iou == 1


def test_run_folders_and_class_files(folders, tmp_path):
    """A run folder as prediction, a VOC tree as ground truth; the names stand beside the masks."""
    pred, gt = folders
    expected = evaluate(pred, gt, names=NAMES).to_json()
    run, voc = tmp_path / "run", tmp_path / "voc"
    for folder, masks in ((run, pred), (voc, gt)):
        folder.mkdir()
        (folder / "SegmentationClass").symlink_to(masks)
    with pytest.raises(WsssError, match=r"no classes\.txt.*`classes`"):
        evaluate(run, voc)
    (run / "classes.txt").write_text("background\ncat\ndog\n")
    assert evaluate(run, voc).to_json() == expected
    assert evaluate(run / "SegmentationClass", gt).to_json() == expected
    (run / "classes.txt").rename(voc / "classes.txt")
    assert evaluate(pred, voc).to_json() == expected
    for names in ("", "name\n" * 256):  # somebody else's file: a label map has room for 255
        (voc / "classes.txt").write_text(names)
        with pytest.raises(WsssError, match=r"classes\.txt: \d+ names; .* at most 255 in all"):
            evaluate(pred, voc)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "damaged"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_text("no image"), "not an image"),
        (lambda path: write_mask(path, label_map(0).T, voc_palette()), "90 x 123 but 123 x 90 pixels"),
        (lambda path: write_mask(path, label_map(0) * 3, voc_palette()), "prediction has the value 3, but there are 3"),
        (lambda path: Image.open(path).convert("RGB").save(path), "RGB"),
    ],
)
def test_a_wrong_prediction_is_listed_and_takes_the_figures(folders, spoil, words):
    pred, gt = folders
    spoil(pred / "sub/b.png")
    evaluation = evaluate(pred, gt, names=NAMES)
    ((name, error),) = evaluation.errors
    assert name == "sub/b"
    assert words in error
    assert str(pred / "sub/b.png") in error
    assert_no_figures(evaluation)


def assert_no_figures(evaluation):
    value = evaluation.to_json()
    for key in ("miou", "pixel_accuracy", "boundary_iou", "coverage"):
        assert value[key] is None, key
    for key in ("per_class_iou", "per_class_boundary_iou", "miou_by_policy"):
        assert set(value[key].values()) == {None}, key
    assert not evaluation.complete
    assert evaluation.exit_status == 2
    assert evaluation.images == 3


def test_missing_predictions_do_not_make_the_rest_look_better(folders):
    pred, gt = folders
    (pred / "a.png").unlink()
    (pred / "c d.png").unlink()
    evaluation = evaluate(pred, gt, names=NAMES)
    assert evaluation.missing == ("a", "c d")
    assert_no_figures(evaluation)
    assert evaluate(pred, gt, names=NAMES, ids=["sub/b"]).miou is not None  # asked for by name


def test_out_of_range_values_below_ground_truth_255_are_wrong_too(folders):
    pred, gt = folders
    labels = read(pred / "a.png").copy()
    labels[read(gt / "a.png") == 255] = 17
    write_mask(pred / "a.png", labels, voc_palette())
    assert evaluate(pred, gt, names=NAMES).errors[0][0] == "a"


def test_trouble_with_ground_truth_is_listed(folders):
    pred, gt = folders
    evaluation = evaluate(pred, Truth(gt, without=["a"]))
    assert evaluation.errors == (("a", "a: no ground truth in truth val; remove it from the list"),)
    evaluation = evaluate(pred, gt, names=NAMES, ids=[*IDS[:2], "nobody"])
    assert evaluation.missing == ("nobody",)
    (gt / "a.png").unlink()
    evaluation = evaluate(pred, gt, names=NAMES, ids=IDS)
    assert "gt/a.png" in evaluation.errors[0][1]
    write_mask(gt / "a.png", label_map(0) + 5, voc_palette())
    evaluation = evaluate(pred, gt, names=NAMES, ids=IDS)
    assert "ground truth has the value 5" in evaluation.errors[0][1]


def test_a_class_without_ground_truth_has_no_figure(folders):
    evaluation = evaluate(*folders, names=[*NAMES, "unicorn"])
    assert evaluation.per_class_iou["unicorn"] is None
    assert evaluation.miou == evaluate(*folders, names=NAMES).miou


def test_lists(folders, tmp_path):
    (tmp_path / "list.txt").write_bytes(b"c d\r\n\r\nsub/b\r\n")
    ids = read_ids(tmp_path / "list.txt")
    assert ids == ["c d", "sub/b"]
    assert evaluate(*folders, names=NAMES, ids=ids).images == 2
    with pytest.raises(WsssError, match="'c d' 2 times"):
        evaluate(*folders, names=NAMES, ids=[*ids, "c d"])
    with pytest.raises(WsssError, match="cannot be read"):
        read_ids(tmp_path / "none.txt")
    assert evaluate(*folders, names=NAMES, ids=["x" * 5000]).missing == ("x" * 5000,)


@pytest.mark.parametrize("id", ["../secret", "/etc/secret", "a\\b"])
def test_ids_that_lead_out_of_the_folder_are_refused(tmp_path, id):
    (tmp_path / "list.txt").write_text(f"c d\n{id}\n")
    with pytest.raises(WsssError, match=r"list\.txt, line 2: image id"):
        read_ids(tmp_path / "list.txt")


def test_folders_that_are_not_there_or_empty(folders, tmp_path):
    pred, gt = folders
    with pytest.raises(WsssError, match="no such folder"):
        evaluate(tmp_path / "none", gt, names=NAMES)
    with pytest.raises(WsssError, match="no such folder"):
        evaluate(pred, tmp_path / "none", names=NAMES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WsssError, match="no ground truth"):
        evaluate(pred, tmp_path / "empty", names=NAMES)


def test_errors_of_a_dataset_are_listed(folders):
    class Broken(Truth):
        def mask(self, sample):
            raise ImageError(f"{sample.id}: annotations are damaged")

    assert [name for name, _ in evaluate(folders[0], Broken(folders[1])).errors] == IDS


def test_every_image_is_a_step_of_the_progress(folders):
    text = io.StringIO()
    evaluate(*folders, names=NAMES, progress=Progress(Console(file=text, force_terminal=True, width=80)))
    assert "scoring" in text.getvalue()
    assert "3/3" in text.getvalue()


def test_finished_scores_what_exists_as_a_list_of_it_would(folders):
    pred, gt = folders
    (pred / "sub" / "b.png").unlink()
    assert evaluate(pred, gt, names=NAMES).missing == ("sub/b",)
    part = evaluate(pred, gt, names=NAMES, finished=True)
    assert (part.images, part.unfinished, part.missing, part.exit_status) == (2, 1, (), 0)
    listed = evaluate(pred, gt, names=NAMES, ids=["a", "c d"])
    assert part.miou == listed.miou
    assert part.to_json() == listed.to_json() | {"unfinished": 1}
    (pred / "a.png").write_bytes(b"no image")
    damaged = evaluate(pred, gt, names=NAMES, finished=True)
    assert [name for name, _ in damaged.errors] == ["a"]
    assert damaged.miou is None


def test_nothing_is_finished(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(WsssError, match="no prediction of any of the 3 images"):
        evaluate(tmp_path / "empty", folders[1], names=NAMES, finished=True)


def test_ground_truth_of_a_part_of_the_images_is_enough(folders):
    pred, gt = folders
    (gt / "a.png").unlink()
    assert evaluate(pred, gt, names=NAMES).miou == evaluate(pred, gt, names=NAMES, ids=["c d", "sub/b"]).miou
