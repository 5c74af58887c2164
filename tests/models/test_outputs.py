"""Files with the outputs of the models: nothing is lost, and what does not fit is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from wsss_seed.errors import ImageError
from wsss_seed.models import outputs as room
from wsss_seed.models.detector import Queries
from wsss_seed.models.outputs import (
    MARGIN,
    ModelOutputs,
    PhraseAnswer,
    Question,
    WindowedMasks,
    image_digest,
    read_orientation,
    read_outputs,
    read_texts,
    window,
    write_outputs,
    write_texts,
)
from wsss_seed.models.upsample import upsampled

MODELS = {"clip": "a" * 64, "sam": "b" * 64, "precision": "fp32"}
DICE = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return DICE.normal(size=shape).astype(np.float32)


def some_outputs() -> ModelOutputs:
    boxes = np.abs(numbers(3, 4))
    outputs = ModelOutputs("0123", 6, grid=(32, 24), steps=[((64, 64), (48, 64)), ((24, 32), (24, 32))])
    outputs.views = {box.tobytes(): numbers(8) for box in boxes}
    for question in (
        Question((("cat", "kitten"), ("dog",)), True, "span_mean_max"),
        Question(((),), False, "best_token"),
    ):
        n = 4 if question.joint else 0
        outputs.queries[question] = Queries(numbers(n, 4), numbers(n), numbers(n, len(question.phrases)))
    for i, box in enumerate(boxes):
        outputs.masks[box.tobytes(), False] = WindowedMasks(i, 2 * i, numbers(1, 5 + i, 7), numbers(1))
    masks = [WindowedMasks(2, 1, numbers(1, 4, 3 + i), numbers(1)) for i in range(2)]
    outputs.phrases = {"cat": PhraseAnswer(numbers(2, 4), numbers(2), tuple(masks))}
    outputs.phrases["dog"] = PhraseAnswer(numbers(0, 4), numbers(0), ())
    outputs.masks[boxes[0].tobytes(), True] = WindowedMasks(0, 0, numbers(3, 32, 24), numbers(3))
    return outputs


def same(a: ModelOutputs, b: ModelOutputs) -> bool:
    def arrays(outputs: ModelOutputs) -> list[bytes]:
        answers = outputs.phrases.values()
        found = [*outputs.views.values(), *(x for q in outputs.queries.values() for x in q)]
        found += [x for answer in answers for x in answer[:2]]
        masks = [*outputs.masks.values(), *(m for answer in answers for m in answer.masks)]
        return [x.tobytes() for x in found] + [(*m[:2], m[2].tobytes(), m[3].tobytes()) for m in masks]

    def keys(o: ModelOutputs) -> tuple[object, ...]:
        return o.image, o.orientation, [*o.views], [*o.queries], [*o.masks], [*o.phrases], o.grid, o.steps

    return keys(a) == keys(b) and arrays(a) == arrays(b)


@pytest.mark.parametrize("outputs", [some_outputs(), ModelOutputs("empty")], ids=["full", "empty"])
def test_what_is_read_is_what_was_written(outputs, tmp_path):
    path = tmp_path / "deep" / "a.st"
    write_outputs(path, outputs, MODELS)
    assert same(read_outputs(path, MODELS), outputs)
    assert read_orientation(path, MODELS) == outputs.orientation
    before = path.read_bytes()
    write_outputs(path, outputs, MODELS)
    assert path.read_bytes() == before


def test_texts(tmp_path):
    texts = {("a cat", "a dog"): numbers(2, 8), ("sky",): numbers(1, 8)}
    write_texts(tmp_path / "t.st", texts, MODELS, 99.5)
    found, logit_scale = read_texts(tmp_path / "t.st", MODELS)
    assert logit_scale == 99.5
    assert list(found) == list(texts)
    assert all(np.array_equal(found[key], texts[key]) for key in texts)


def test_other_weights_another_version_damage_and_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.st"
    with pytest.raises(ImageError, match=r"a\.st: model outputs missing; run generate with `keep_evidence` again"):
        read_outputs(path, MODELS)
    write_outputs(path, some_outputs(), MODELS)
    with pytest.raises(ImageError, match=r"other weights or another precision \(clip a{12} -> c{12}\)"):
        read_outputs(path, {**MODELS, "clip": "c" * 64})
    with pytest.raises(ImageError, match=r"\(precision fp32 -> bf16\)"):
        read_texts(path, {**MODELS, "precision": "bf16"})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ImageError, match="model outputs damaged"):
        read_outputs(path, MODELS)
    monkeypatch.setattr(room, "FORMAT", 7)
    write_outputs(path, some_outputs(), MODELS)
    monkeypatch.undo()
    with pytest.raises(ImageError, match=r"of another version of wsss-seed \(format 7, here 1\)"):
        read_outputs(path, MODELS)


def test_another_version_may_have_other_fields(tmp_path):
    path = tmp_path / "a.st"
    header = json.dumps({"format": 2, "weights": []})
    text = json.dumps({"__metadata__": {"header": header}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(ImageError, match="format 2, here 1"):
        read_outputs(path, MODELS)


STEPS = {
    "SAM": ((32, 32), [((128, 128), (128, 96)), ((400, 300), (400, 300))]),
    "SAM, reduced": ((32, 32), [((128, 128), (40, 128)), ((20, 64), (20, 64))]),
    "SAM 2": ((32, 32), [((375, 500), (375, 500))]),
    "thin": ((32, 32), [((128, 128), (1, 128)), ((1, 300), (1, 300))]),
}


@pytest.mark.parametrize("name", STEPS)
def test_pixels_in_a_grown_box_depend_on_its_window_only(name):
    grid, steps = STEPS[name]
    height, width = steps[-1][1]
    for _ in range(40):
        x, y = np.sort(DICE.uniform(0, width, 2)), np.sort(DICE.uniform(0, height, 2))
        box = np.array([x[0], y[0], x[1], y[1]], np.float32)
        low_res = torch.from_numpy(numbers(1, *grid))
        rows, columns = window(box, grid, steps)
        kept = torch.zeros_like(low_res)
        kept[:, rows, columns] = low_res[:, rows, columns]
        dx, dy = MARGIN * (x[1] - x[0]), MARGIN * (y[1] - y[0])
        inside = np.s_[
            :,
            max(0, int(y[0] - dy)) : int(np.ceil(y[1] + dy)),
            max(0, int(x[0] - dx)) : int(np.ceil(x[1] + dx)),
        ]
        assert torch.equal(upsampled(kept, steps)[inside], upsampled(low_res, steps)[inside])


def test_windows_are_smaller_than_the_grid():
    grid, steps = STEPS["SAM"]
    rows, columns = window(np.array([150, 200, 180, 240]), grid, steps)
    assert 3 < rows.stop - rows.start < 16
    assert 3 < columns.stop - columns.start < 16


def test_digests_tell_images_apart():
    image = DICE.integers(0, 256, (6, 4, 3), np.uint8)
    other = image.copy()
    other[0, 0, 0] ^= 1
    digests = {image_digest(x) for x in (image, other, image.transpose(1, 0, 2), image.reshape(4, 6, 3))}
    assert len(digests) == 4
    assert image_digest(image) == image_digest(image.copy())
