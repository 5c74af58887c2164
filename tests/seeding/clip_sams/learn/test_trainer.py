"""Learning prompts: augmentation, schedule, checkpoints and the loop, with a small random CLIP."""

import colorsys
import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from wsss_seed.config import override
from wsss_seed.data.base import Sample
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.shuffle import shuffled_index
from wsss_seed.errors import ImageError, WsssError
from wsss_seed.io.curve import write_curve
from wsss_seed.seeding.clip_sams.learn import checkpoint
from wsss_seed.seeding.clip_sams.learn.augment import _jitter, _saturate, augment, target_size
from wsss_seed.seeding.clip_sams.learn.checkpoint import LearningState
from wsss_seed.seeding.clip_sams.learn.crops import PromptTrainingData, crop_batches
from wsss_seed.seeding.clip_sams.learn.schedule import learning_rate
from wsss_seed.seeding.clip_sams.learn.settings import LearnSettings, PromptAugmentSettings, PromptTrainSettings
from wsss_seed.seeding.clip_sams.learn.trainer import first_contexts, learn

CLASSES = replace(load_class_set("house, tree, car"), background=("grass", "sky"))
COLOURS = np.array([[90, 90, 90], [220, 30, 30], [30, 200, 30], [30, 30, 220]], np.uint8)
SMALL = {
    "context.n_ctx": 4,
    "augment.crop_size": 32,
    "augment.longest_edge_range": [40, 56],
    "train.batch_size": 4,
    "train.warmup_iters": 2,
    "train.max_iters": 8,
    "train.lr": 0.5,
}


def dice(n=0):
    return np.random.default_rng(n)


def paint(i, shape=(44, 60)):
    """A label map with one class, and the image that shows its colour."""
    labels = np.zeros(shape, np.uint8)
    y, x = dice(i).integers(0, 20, 2)
    labels[y : y + 20, x : x + 24] = 1 + i % 3
    return labels, COLOURS[labels]


def source(n=6, seeds=False, broken=()):
    def image(sample):
        if int(sample.id) in broken:
            raise ImageError(f"{sample.id}: damaged image; copy it again")
        return paint(int(sample.id))[1]

    samples = [Sample(str(i), labels=(i % 3,)) for i in range(n)]
    return PromptTrainingData(samples, image, (lambda s: paint(int(s.id))[0]) if seeds else None, 3)


def settings(**values):
    return override(LearnSettings(), {**SMALL, **{k.replace("__", "."): v for k, v in values.items()}})


# ---- augmentation


def test_image_and_seed_are_cut_together():
    quiet = PromptAugmentSettings((48, 80), 32, color_jitter_prob=0.0)
    for i in range(20):
        labels, image = paint(i)
        pixels, seed = augment(image, labels, quiet, dice(i))
        assert pixels.shape == (3, 32, 32)
        assert pixels.dtype == seed.dtype == torch.uint8
        assert set(np.unique(seed)) <= set(np.unique(labels))
        nearest = np.linalg.norm(pixels.permute(1, 2, 0).numpy()[:, :, None].astype(float) - COLOURS, axis=3).argmin(2)
        assert (nearest == seed.numpy()).mean() > 0.9  # outlines are bicubic in one and nearest in the other


def test_the_same_dice_make_the_same_crop_and_others_another():
    labels, image = paint(1)
    crops = [augment(image, labels, PromptAugmentSettings((48, 80), 32), dice(n)) for n in (3, 3, 4)]
    assert all(torch.equal(a, b) for a, b in zip(crops[0], crops[1], strict=True))
    assert not torch.equal(crops[0][0], crops[2][0])


def test_mirrored_about_half_of_the_time():
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :8] = 255
    still = PromptAugmentSettings((32, 32), 32, color_jitter_prob=0.0)
    left = [bool(augment(image, None, still, dice(n))[0][0, 0, 0] > 128) for n in range(60)]
    assert 15 < sum(left) < 45
    assert all(augment(image, None, replace(still, flip_prob=0.0), dice(n))[0][0, 0, 0] > 128 for n in range(10))


def test_long_side_range_and_crop_floor():
    """Long side 288..480, both included, unless the short side would become shorter than 224."""
    voc = PromptAugmentSettings()
    longs = {max(target_size((300, 400), voc, dice(n))) for n in range(3000)}
    assert min(longs) == round(400 * 224 / 300)  # 299: the floor
    assert max(longs) == 480
    assert {max(target_size((400, 400), voc, dice(n))) for n in range(3000)} == set(range(288, 481))
    height, width = target_size((100, 1000), voc, dice())
    assert (height, width) == (224, 2240)


def test_jitter_ranges():
    """+-25; x 0.6..1.4; saturation x 0.5..1.5; hue +-25 of 255; each with probability 0.5."""
    image = np.full((2, 2, 3), 100, np.uint8)
    image[..., 0] = 140
    found = np.array([_jitter(image, 1.0, dice(n))[0, 0] for n in range(400)], float)
    value = found.max(1)
    assert 140 * 0.6 - 27 <= value.min() < 100
    assert 190 < value.max() <= 165 * 1.4 + 1
    unchanged = np.mean([(_jitter(image, 0.5, dice(n)) == image).all() for n in range(400)])
    assert 0.02 < unchanged < 0.13  # 1 / 16
    assert all((_jitter(image, 0.0, dice(n)) == image).all() for n in range(5))
    assert {tuple(x) for x in found.argmax(1)[:, None]} == {(0,)}  # a hue of 0 +-35 degrees stays reddest


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.5])
def test_saturation_is_that_of_hsv(factor):
    pixels = torch.from_numpy(dice().integers(0, 256, (3, 8, 8), np.uint8))
    pixels[:, 0, 0] = 0
    out = _saturate(pixels, factor).flatten(1).T
    for before, after in zip(pixels.flatten(1).T, out, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(before.numpy() / 255))
        expected = 255 * np.array(colorsys.hsv_to_rgb(h, min(1, s * factor), v))
        assert np.abs(after.numpy() - expected).max() <= 0.51


# ---- schedule


def test_warm_up_is_constant_then_a_cosine_to_zero():
    """1e-5 for 500 iterations, a jump to 1e-3, a cosine over the remaining 1300."""
    train = PromptTrainSettings()
    assert {learning_rate(i, train) for i in range(500)} == {1e-5}
    assert learning_rate(500, train) == 1e-3
    assert learning_rate(1150, train) == pytest.approx(5e-4)
    assert learning_rate(1799, train) == pytest.approx(1e-3 * (1 + math.cos(math.pi * 1299 / 1300)) / 2)
    assert (
        learning_rate(6150, replace(train, warmup_iters=1000, max_iters=20500)) > 8e-4
    )  # COCO stops long before the end


def test_every_epoch_is_a_permutation_of_its_own():
    epochs = [[shuffled_index(e * 7 + i, 7, 3) for i in range(7)] for e in range(4)]
    assert all(sorted(e) == list(range(7)) for e in epochs)
    assert len({tuple(e) for e in epochs}) > 1
    assert epochs != [[shuffled_index(e * 7 + i, 7, 4) for i in range(7)] for e in range(4)]


# ---- the stream


def test_processes_share_the_micro_batches():
    s = settings(train__batch_size=2, train__gradient_accumulation_steps=3)
    whole = list(crop_batches(source(), s, 0, 1, 3))
    parts = [list(crop_batches(source(), s, 0, 1, 3, (k, 2))) for k in range(2)]
    assert [len(b) for b in whole] == [3, 3]
    for i in range(2):
        assert torch.equal(whole[i][0].pixels, parts[0][i][0].pixels)
        assert torch.equal(whole[i][1].pixels, parts[1][i][0].pixels)
        assert torch.equal(whole[i][2].pixels, parts[0][i][1].pixels)


def test_labels_of_the_whole_image_or_of_the_crop():
    """The image's even where the crop lost the object; A5.1 for VOC: the crop's."""
    tight = {"augment.longest_edge_range": [200, 200], "train.batch_size": 24}
    for kind in ("image", "crop"):
        s = override(settings(train__labels=kind), tight)
        [[crops]] = crop_batches(source(seeds=True), s, 0, 0, 1)
        shown = torch.stack([(crops.label_maps == c + 1).flatten(1).any(1) for c in range(3)], 1)
        assert not shown.any(1).all()  # some crop has lost its object
        assert torch.equal(crops.labels, shown) == (kind == "crop")
        assert crops.labels.any(1).all() == (kind == "image")


def test_an_unreadable_image_is_left_out(caplog):
    [[crops]] = crop_batches(source(broken=(2,)), settings(train__batch_size=6), 0, 0, 1)
    assert len(crops.pixels) == len(crops.labels) == 5
    assert "damaged image" in caplog.text
    [[none]] = crop_batches(source(1, broken=(0,)), settings(), 0, 0, 1)
    assert none.pixels.shape == (0, 3, 32, 32)


# ---- checkpoints and curves


def test_a_checkpoint_is_read_as_written(tmp_path):
    path, about = tmp_path / "cls.checkpoint", {"train.lr": 0.1, "classes": ["cat"]}
    assert checkpoint.load(path, about) is None
    progress = LearningState(3, torch.randn(4, 8), torch.randn(4, 8), {"loss": (0.1, 0.2, 1 / 3)})
    checkpoint.save(path, progress, about)
    again = checkpoint.load(path, about)
    assert again.iteration == 3
    assert again.curve == progress.curve
    assert torch.equal(again.vectors, progress.vectors)
    assert torch.equal(again.momentum, progress.momentum)
    with pytest.raises(WsssError, match=r"train\.lr: 0\.1 before, 0\.2 now.*`overwrite`"):
        checkpoint.load(path, {**about, "train.lr": 0.2})


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no zip", b"x" * 100])
def test_a_damaged_checkpoint_is_one_line(tmp_path, damage):
    path = tmp_path / "cls.checkpoint"
    path.write_bytes(damage)
    with pytest.raises(WsssError, match=r"cls\.checkpoint: not a readable checkpoint"):
        checkpoint.load(path, {})


@pytest.mark.parametrize("key", ["iteration", "vectors", "momentum", "curve", "about"])
def test_a_checkpoint_with_a_value_of_another_type_is_one_line(tmp_path, key):
    path = tmp_path / "cls.checkpoint"
    checkpoint.save(path, LearningState(3, torch.randn(4, 8), torch.randn(4, 8), {"loss": (0.1,)}), {})
    whole = torch.load(path, weights_only=True)
    for value in ("x", [1], {"a": 1}, torch.zeros(2, 3, 5), "[" * 100_000, ...):
        torch.save({k: v for k, v in whole.items() if k != key} | ({} if value is ... else {key: value}), path)
        with pytest.raises(WsssError, match=r"cls\.checkpoint: not a readable checkpoint"):
            checkpoint.load(path, {})


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


# ---- the loop


def run(clip, path, task="cls", data=None, **values):
    about = {"task": task, **values}
    return learn(
        task, clip, CLASSES, data or source(seeds=task == "seg"), settings(**values), path=path / task, about=about
    )


def test_first_contexts(clip):
    """Shared or per prompt, empty background names, distinct from the start."""
    shared = first_contexts(clip, CLASSES, settings().context, 0)
    assert shared.vectors.shape == (4, 32)
    assert shared.names == ("house", "tree", "car", "grass", "sky")
    s = settings(
        context__class_specific=True,
        context__class_token_position="front",
        context__background="empty",
        context__init_std=0.0125,
    )
    own = first_contexts(clip, CLASSES, s.context, 0)
    assert own.vectors.shape == (5, 4, 32)
    assert own.names == ("house", "tree", "car", "", "")
    assert own.vectors.std() == pytest.approx(0.0125, rel=0.1)
    assert not torch.equal(own.vectors[3], own.vectors[4])
    assert torch.equal(own.vectors, first_contexts(clip, CLASSES, s.context, 0).vectors)
    assert not torch.equal(own.vectors, first_contexts(clip, CLASSES, s.context, 1).vectors)


@pytest.mark.parametrize("task", ["cls", "seg"])
def test_what_is_learned_lowers_the_loss(clip, tmp_path, task):
    values = {"train__max_iters": 40, "train__batch_size": 6, "train__lr": 0.5 if task == "cls" else 20.0}
    if task == "seg":
        values |= {"context__class_specific": True, "train__labels": "crop"}
    curve = run(clip, tmp_path, task, **values).progress.curve
    total = np.sum([v for k, v in curve.items() if k.startswith("loss")], 0)
    assert len(total) == 40
    assert total[-10:].mean() < 0.9 * total[:10].mean()


@pytest.mark.parametrize("task", ["cls", "seg"])
def test_interrupted_at_any_iteration_and_resumed_it_is_the_same(clip, tmp_path, task):
    whole = run(clip, tmp_path / "whole", task)
    assert not whole.interrupted
    for stop in (1, 5):

        def step(iteration, losses, stop=stop):
            if iteration == stop:
                raise KeyboardInterrupt

        path = tmp_path / f"stopped{stop}" / task
        about, data = {}, source(seeds=task == "seg")
        first = learn(task, clip, CLASSES, data, settings(), path=path, about=about, step=step)
        assert first.interrupted
        assert first.progress.iteration == stop
        second = learn(task, clip, CLASSES, data, settings(), path=path, about=about)
        assert torch.equal(second.contexts.vectors, whole.contexts.vectors)
        assert second.progress.curve == whole.progress.curve


def test_a_finished_run_is_not_begun_again(clip, tmp_path):
    whole = run(clip, tmp_path)
    steps = []
    again = learn(
        "cls", clip, CLASSES, source(), settings(), path=tmp_path / "cls", about={"task": "cls"},
        step=lambda *a: steps.append(a),
    )  # fmt: skip
    assert not steps
    assert torch.equal(again.contexts.vectors, whole.contexts.vectors)


def test_it_stops_where_the_recipe_stops(clip, tmp_path):
    """COCO's schedule is that of 20500 iterations, of which 6150 are done."""
    whole, part = run(clip, tmp_path / "a"), run(clip, tmp_path / "b", train__stop_iter=5)
    assert part.progress.iteration == 5
    assert part.progress.curve["lr"] == whole.progress.curve["lr"][:5]
    assert part.progress.curve["loss"] == whole.progress.curve["loss"][:5]


def test_micro_batches_are_averaged(clip, tmp_path):
    """With one class an image the mean of two micro-batches' means is the mean of the batch."""
    one = run(clip, tmp_path / "a", train__batch_size=4)
    two = run(clip, tmp_path / "b", train__batch_size=2, train__gradient_accumulation_steps=2)
    torch.testing.assert_close(one.contexts.vectors, two.contexts.vectors, rtol=1e-3, atol=5e-5)
    assert one.progress.curve["loss"] == pytest.approx(two.progress.curve["loss"], rel=1e-4)


def test_nothing_to_learn_from_changes_nothing_but_the_decay(clip, tmp_path):
    """Every image has every class, or none can be read: the loss is 0 and nothing breaks."""
    data = source(broken=range(6))
    for task in ("cls", "seg"):
        out = run(
            clip, tmp_path, task, replace(data, label_map=source(seeds=True).label_map if task == "seg" else None)
        )
        assert set(np.ravel([v for k, v in out.progress.curve.items() if k.startswith("loss")])) == {0.0}
        assert torch.isfinite(out.contexts.vectors).all()
