"""Checkpoints of segmenters: read back as written, refused where they do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.rounding import FLIPPED, assert_same
from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import WsssError
from wsss_seed.segmenter.checkpoint import Scale, Segmenter, load_segmenter, save
from wsss_seed.segmenter.networks import NetworkSettings, build

SETTINGS = NetworkSettings("deeplabv3plus", "tu-test_resnet", decoder_channels=16, atrous_rates=(1, 2, 3))


@pytest.fixture
def segmenter():
    torch.manual_seed(0)
    class_set = load_class_set("toyland")
    network = build(SETTINGS, len(class_set.names) + 1).eval()
    return Segmenter(network, class_set, Scale(), {"train.batch_size": 4}, {"iteration": 7, "miou": 0.5})


def image(height=70, width=45, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def test_read_back_it_says_the_same(segmenter, tmp_path):
    save(tmp_path / "a.pt", segmenter, SETTINGS)
    again = load_segmenter(tmp_path / "a.pt")
    images = [image(), image(64, 96, 1)]
    for before, after, picture in zip(segmenter.logits(images), again.logits(images), images, strict=True):
        assert before.shape == (13, *picture.shape[:2])
        assert torch.equal(before, after)
    for chances, logits in zip(again.probabilities(images), again.logits(images), strict=True):
        assert (chances.argmax(0) != logits.argmax(0)).float().mean() < FLIPPED
        torch.testing.assert_close(chances.sum(0), torch.ones(chances.shape[1:]))
    assert again.class_set == segmenter.class_set
    assert again.recipe == {"train.batch_size": 4}
    assert again.history == {"iteration": 7, "miou": 0.5}
    assert not again.network.training


def test_a_batch_and_single_images_give_the_same(segmenter):
    images = [image(64, 96, 0), image(64, 96, 1)]
    batch = torch.cat([segmenter.normalise(one) for one in images])
    assert_same(segmenter.logits(batch), torch.stack(segmenter.logits(images)))


def test_images_are_seen_at_the_size_of_training(segmenter):
    seen = []
    segmenter.network.register_forward_hook(lambda _, args, __: seen.append(tuple(args[0].shape[-2:])))
    scaled = Segmenter(segmenter.network, segmenter.class_set, Scale(shortest_edge=32, longest_edge=60), {}, {})
    [logits] = scaled.logits([image(70, 45)])
    assert logits.shape == (13, 70, 45)
    scaled.logits([image(100, 400)])
    scaled.logits([image(70, 45)], factor=2.0)
    assert seen == [(50, 32), (15, 60), (100, 64)]


def test_a_folder_stands_for_its_best_or_else_last(segmenter, tmp_path):
    save(tmp_path / "last.pt", segmenter, SETTINGS)
    assert load_segmenter(tmp_path).history["iteration"] == 7
    better = Segmenter(segmenter.network, segmenter.class_set, Scale(), {}, {"iteration": 5})
    save(tmp_path / "best.pt", better, SETTINGS)
    assert load_segmenter(tmp_path).history["iteration"] == 5


def test_other_classes_are_refused(segmenter, tmp_path):
    save(tmp_path / "a.pt", segmenter, SETTINGS)
    load_segmenter(tmp_path / "a.pt", class_set=load_class_set("toyland"))
    names = list(segmenter.class_set.names)
    for wanted, part in ((["cat", "dog"], "12 classes, not 2"), ([names[1], names[0], *names[2:]], "class 1 is")):
        with pytest.raises(WsssError, match=part) as error:
            load_segmenter(tmp_path / "a.pt", class_set=load_class_set(", ".join(wanted)))
        assert "a.pt" in str(error.value)


def test_whatever_is_no_checkpoint_is_one_line(segmenter, tmp_path):
    save(tmp_path / "a.pt", segmenter, SETTINGS)
    data = (tmp_path / "a.pt").read_bytes()
    broken = {"empty": b"", "text": b"hello", "flipped": data[:500] + b"\xff" * 2000 + data[2500:]}
    broken |= {f"cut{part}": data[: len(data) * part // 10] for part in (1, 5, 9)}
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    del content["weights"]["model.segmentation_head.0.weight"]
    torch.save(content, tmp_path / "incomplete")
    torch.save({"weights": {}}, tmp_path / "foreign")
    torch.save({**content, "format": 99}, tmp_path / "newer")
    for name in (*broken, "incomplete", "foreign", "newer", "missing"):
        with pytest.raises(WsssError) as error:
            load_segmenter(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
        assert "\n" not in str(error.value)


def test_no_code_in_a_checkpoint_is_run(segmenter, tmp_path):
    import pickle

    class Touch:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"weights": {}, "class_set": Touch()}))
    torch.save({"weights": {}, "class_set": Touch()}, tmp_path / "evil2.pt")
    for name in ("evil.pt", "evil2.pt"):
        with pytest.raises(WsssError):
            load_segmenter(tmp_path / name)
    assert not (tmp_path / "touched").exists()


ANYTHING = [None, 5, -1, "x", [], [1], {}, {"a": 1}, True, torch.zeros(2)]


def replaced_at(content, keys, value):
    """A copy of nested dictionaries with another value at a path of keys; left out where it is ``...``."""
    first, *rest = keys
    if rest:
        return {**content, first: replaced_at(content[first], rest, value)}
    return {k: v for k, v in content.items() if k != first} | ({} if value is ... else {first: value})


@pytest.mark.parametrize(
    "keys",
    [
        ["format"], ["network"], ["class_set"], ["scale"], ["recipe"], ["history"], ["weights"],
        ["network", "name"], ["network", "encoder"], ["network", "decoder_channels"], ["network", "atrous_rates"],
        ["class_set", "name"], ["class_set", "names"], ["class_set", "phrases"], ["class_set", "prompts"],
        ["class_set", "background"], ["class_set", "palette"], ["scale", "shortest_edge"], ["scale", "longest_edge"],
    ],
    ids=".".join,
)  # fmt: skip
def test_a_value_of_another_type_is_refused_or_read_for_what_it_is(segmenter, tmp_path, keys):
    save(tmp_path / "a.pt", segmenter, SETTINGS)
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    fine = {
        "class_set.name": ["x"], "scale.shortest_edge": [5], "scale.longest_edge": [5], "class_set.background": [[]],
        "scale": [{}], "recipe": [{}, {"a": 1}, []], "history": [{}, {"a": 1}, []],
    }.get(".".join(keys), [])  # fmt: skip
    for value in [*ANYTHING, ...]:
        torch.save(replaced_at(content, keys, value), tmp_path / "odd.pt")
        if any(value is one or (type(value) is type(one) and value == one) for one in fine):
            load_segmenter(tmp_path / "odd.pt")
            continue
        if value is ... and keys[0] in ("network", "scale") and len(keys) == 2:
            continue  # the default, which may fit
        with pytest.raises(WsssError, match=r"odd\.pt: ") as error:
            load_segmenter(tmp_path / "odd.pt")
        assert "\n" not in str(error.value)


def test_the_folder_of_self_training_names_the_last_round(segmenter, tmp_path):
    for number in (2, 10):
        (tmp_path / f"round-{number}").mkdir()
        save(tmp_path / f"round-{number}/last.pt", segmenter, SETTINGS)
    with pytest.raises(WsssError, match=r"give .*round-10$"):
        load_segmenter(tmp_path)
    save(tmp_path / "last.pt", segmenter, SETTINGS)
    load_segmenter(tmp_path)
