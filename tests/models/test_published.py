"""Published checkpoints against published values of their outputs.

The values are those that the integration tests and conversion scripts of transformers and the README of OpenAI's CLIP
state. The photographs are not shipped: WSSS_SEED_PUBLISHED_IMAGES names a folder that has them,

- ``000000039769.jpg`` and ``000000077595.jpg`` of COCO val2017,
- ``car.png`` from hf.co/ybelkada/segment-anything (assets/car.png),
- ``truck.jpg`` from hf.co/datasets/hf-internal-testing/sam2-fixtures,
- ``CLIP.png`` from github.com/openai/CLIP.

A checkpoint that is not in the cache is skipped; ``wsss-seed models pull NAME`` downloads it. Then

    WSSS_SEED_PUBLISHED_IMAGES=folder pytest -m slow tests/models/test_published.py -rs

confirms checkpoints, preprocessing and adapters. Tolerances allow for resizing by another library than the publisher's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from tests.small_hf import picture
from wsss_seed.models.clip import Clip
from wsss_seed.models.detector import Queries
from wsss_seed.models.hf_detector import KINDS
from wsss_seed.models.masks import MaskModel
from wsss_seed.models.zoo import ModelSet, find_weights, is_downloaded

# Helpers, tested below with the miniatures


def image(name: str) -> np.ndarray:
    """One of the photographs, uint8 (H, W, 3)."""
    folder = os.environ.get("WSSS_SEED_PUBLISHED_IMAGES")
    path = Path(folder or ".") / name
    if not folder or not path.is_file():
        pytest.skip(f"no {name} in the folder of WSSS_SEED_PUBLISHED_IMAGES")
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB"))


def model_set(role: str, name: str) -> ModelSet:
    """A model set with a published checkpoint, in float32 on the CPU, as its values were computed."""
    if not is_downloaded(find_weights(role, name)):
        pytest.skip(f"no weights of {name} here; wsss-seed models pull {name}")
    return ModelSet("base", "cpu", **{role: name})


class Box(NamedTuple):
    """A detection as published: score, and x0 y0 x1 y1 in pixels."""

    score: float
    xyxy: tuple[float, float, float, float]


def missing(
    found: Queries, expected: Sequence[Box], *, score: float = 0.02, pixels: float = 3.0
) -> list[tuple[Box, float, float]]:
    """The expected boxes without a query that is as near, in its score and in every coordinate; with the differences
    in pixels and score of the nearest one."""
    faults = []
    for box in expected:
        apart = np.abs(found.boxes - np.array(box.xyxy, np.float32)).max(1)
        other = np.abs(found.scores - box.score)
        if not ((apart <= pixels) & (other <= score)).any():
            nearest = int(apart.argmin())
            faults.append((box, float(apart[nearest]), float(other[nearest])))
    return faults


def central_square(pixels: np.ndarray) -> np.ndarray:
    """The box (1, 4) of the central square, which CLIP's own preprocessing looks at."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    x, y = (width - side) / 2, (height - side) / 2
    return np.array([[x, y, x + side, y + side]])


def clip_logits(clip: Clip, pixels: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Logits (n,) of the texts for the central square, with the model's own scale."""
    features = clip.encode_views(pixels, central_square(pixels)) @ clip.encode_text(texts).T
    return clip.logit_scale * features[0].numpy()


def box_ious(sam: MaskModel, pixels: np.ndarray, boxes: Sequence[Sequence[float]], *, multimask: bool) -> np.ndarray:
    """Predicted IoUs (n, M) of the masks of boxes."""
    return sam.decode_boxes(sam.embed(pixels), np.array(boxes, float), multimask=multimask).iou.numpy()


def point_ious(sam: MaskModel, pixels: np.ndarray, points: Sequence[Sequence[float]]) -> np.ndarray:
    """Predicted IoUs (n, 3) of the masks of points."""
    return np.concatenate([part.iou.numpy() for part in sam.decode_points(sam.embed(pixels), np.array(points, float))])


# CLIP


@pytest.mark.slow
def test_clip_on_the_cats():
    """transformers, tests/models/clip/test_modeling_clip.py: openai/clip-vit-base-patch32."""
    pixels = image("000000039769.jpg")
    clip = model_set("clip", "ViT-B-32-quickgelu:openai").clip
    logits = clip_logits(clip, pixels, ["a photo of a cat", "a photo of a dog"])
    np.testing.assert_allclose(logits, [24.5701, 19.3049], atol=0.3)


@pytest.mark.slow
def test_clip_on_its_diagram():
    """README of github.com/openai/CLIP: ViT-B/32."""
    pixels = image("CLIP.png")
    clip = model_set("clip", "ViT-B-32-quickgelu:openai").clip
    logits = clip_logits(clip, pixels, ["a diagram", "a dog", "a cat"])
    weights = np.exp(logits - logits.max())
    np.testing.assert_allclose(weights / weights.sum(), [0.9927937, 0.00421068, 0.00299572], atol=0.005)


# Detectors

CATS = (640, 480)
MM = "hf:openmmlab-community/mm_grounding_dino_"


def boxes(scores: Sequence[float], relative: Sequence[Sequence[float]]) -> list[Box]:
    """Boxes from coordinates relative to the image of the cats."""
    size = np.array([*CATS, *CATS])
    return [Box(s, tuple((np.array(b) * size).tolist())) for s, b in zip(scores, relative, strict=True)]


CAT_AND_REMOTE = {
    "hf:iSEE-Laboratory/llmdet_large": boxes(
        [0.7107, 0.8626, 0.7458, 0.8166],
        [
            [0.0147, 0.1128, 0.4957, 0.9858],
            [0.0634, 0.1528, 0.2744, 0.2447],
            [0.5414, 0.0511, 0.9997, 0.7776],
            [0.5209, 0.1602, 0.5792, 0.3916],
        ],
    ),
    f"{MM}tiny_o365v1_goldg_v3det": boxes(
        [0.5690, 0.5553, 0.6075, 0.5775],
        [
            [0.5393, 0.0502, 0.9989, 0.7763],
            [0.0090, 0.1125, 0.4950, 0.9895],
            [0.5207, 0.1589, 0.5794, 0.3889],
            [0.0625, 0.1519, 0.2750, 0.2446],
        ],
    ),
    f"{MM}large_o365v2_oiv6_goldg": boxes(
        [0.7824, 0.8275, 0.7715, 0.8211],
        [
            [0.0082, 0.1133, 0.4945, 0.9889],
            [0.5410, 0.0508, 0.9998, 0.7771],
            [0.0632, 0.1526, 0.2740, 0.2439],
            [0.5205, 0.1599, 0.5787, 0.3906],
        ],
    ),
    # transformers, tests/models/omdet_turbo/test_modeling_omdet_turbo.py; it states one box in full
    "hf:omlab/omdet-turbo-swin-tiny-hf": [Box(0.7675, (39.8870, 70.3522, 176.7424, 118.0354))],
}
"""transformers, mm_grounding_dino/convert_mm_grounding_dino_to_hf.py, unless stated otherwise: "cat. remote."."""


@pytest.mark.slow
@pytest.mark.parametrize("name", CAT_AND_REMOTE)
def test_cat_and_remote(name: str):
    pixels = image("000000039769.jpg")
    detector = model_set("detector", name).detector
    assert not missing(detector.detect(pixels, [("cat",), ("remote",)]), CAT_AND_REMOTE[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hf:IDEA-Research/grounding-dino-tiny", "swint_ogc"])
def test_grounding_dino(name: str):
    """transformers, tests/models/grounding_dino/test_modeling_grounding_dino.py: "a cat."; the checkpoint of the
    authors has the same weights."""
    pixels = image("000000039769.jpg")
    found = model_set("detector", name).detector.detect(pixels, [("a cat",)])
    assert not missing(found, [Box(0.4526, (344.8143, 23.1796, 637.4004, 373.8295))])
    np.testing.assert_allclose(np.sort(found.scores[found.scores > 0.35]), [0.4082, 0.4526], atol=0.02)


@pytest.mark.slow
def test_owlv2():
    """transformers, tests/models/owlv2/test_modeling_owlv2.py: logits and boxes of the first three queries."""
    pixels = image("000000039769.jpg")
    detector = model_set("detector", "hf:google/owlv2-base-patch16").detector
    found = detector.detect(pixels, [("cat",), ("dog",)])
    probabilities = found.class_scores[:3].astype(float) ** (1 / KINDS["owlv2"].exponent)
    expected = [[-21.413497, -21.612638], [-19.008193, -19.548841], [-20.958896, -21.382694]]
    np.testing.assert_allclose(np.log(probabilities / (1 - probabilities)), expected, atol=0.2)
    centre_x, centre_y, width = np.array(
        [[0.241309, 0.051896, 0.453267], [0.139474, 0.045701, 0.250660], [0.233022, 0.050479, 0.427671]]
    ).T
    own = found.boxes[:3] / 640  # of the padded square; clipped to the image, which cuts the left of these boxes
    np.testing.assert_allclose(own[:, 0], (centre_x - width / 2).clip(0), atol=0.003)
    np.testing.assert_allclose(own[:, 2], centre_x + width / 2, atol=0.003)
    assert (np.abs(own[:, 3] / 2 - centre_y) < 0.05).all()


# Mask models


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_b", "hf:facebook/sam-vit-base"])
def test_sam_vit_b(name: str):
    """transformers, tests/models/sam/test_modeling_sam.py."""
    pixels = image("car.png")
    sam = model_set("sam", name).sam
    ious = box_ious(sam, pixels, [[620, 900, 1000, 1255], [75, 275, 1725, 850]], multimask=True)
    np.testing.assert_allclose(ious, [[0.9773, 0.9881, 0.9522], [0.5996, 0.7661, 0.7937]], atol=0.01)
    ious = point_ious(sam, pixels, [[400, 650], [220, 470]])
    np.testing.assert_allclose(ious, [[0.9105, 0.9825, 0.9675], [0.7646, 0.7943, 0.7774]], atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_h", "hf:facebook/sam-vit-huge"])
def test_sam_vit_h(name: str):
    """transformers, models/sam/convert_sam_to_hf.py: the last of three masks."""
    pixels = image("car.png")
    sam = model_set("sam", name).sam
    box = box_ious(sam, pixels, [[75, 275, 1725, 850]], multimask=True)[0, -1]
    point = point_ious(sam, pixels, [[500, 375]])[0, -1]
    np.testing.assert_allclose([box, point], [0.8686015605926514, 0.9712603092193604], atol=0.01)


@pytest.mark.slow
def test_sam2():
    """transformers, tests/models/sam2/test_modeling_sam2.py: SAM 2.1 tiny."""
    pixels = image("truck.jpg")
    sam = model_set("sam", "hf:facebook/sam2.1-hiera-tiny").sam
    found = [[75, 275, 1725, 850], [425, 600, 700, 875], [1375, 550, 1650, 800], [1240, 675, 1400, 750]]
    ious = box_ious(sam, pixels, found, multimask=False)[:, 0]
    np.testing.assert_allclose(ious, [0.9904, 0.9689, 0.9770, 0.9079], atol=0.01)
    ious = np.sort(point_ious(sam, pixels, [[500, 375]])[0])
    np.testing.assert_allclose(ious, [0.0427, 0.4932, 0.9547], atol=0.01)


@pytest.mark.slow
def test_sam3():
    """transformers, tests/models/sam3/test_modeling_sam3.py: "ear"."""
    pixels = image("000000077595.jpg")
    sam3 = model_set("sam", "hf:facebook/sam3").sam3
    found = sam3.ask(sam3.embed(pixels), "ear")
    queries = Queries(found.boxes, found.scores, found.scores[:, None])
    assert not missing(queries, [Box(0.9210, (402.1755, 90.1420, 459.6165, 156.3702))])


# The helpers, with the miniatures


@pytest.fixture(scope="module")
def tiny() -> ModelSet:
    return ModelSet("tiny", "cpu")


def test_boxes_of_the_same_detector_are_found_and_those_of_another_image_are_not(tiny: ModelSet):
    found = tiny.detector.detect(picture(seed=0), [("house",)])
    best = np.argsort(-found.scores)[:4]
    expected = [Box(float(found.scores[i]), tuple(found.boxes[i].tolist())) for i in best]
    assert missing(found, expected, score=1e-6, pixels=1e-4) == []
    assert missing(found, [Box(expected[0].score + 0.1, expected[0].xyxy)])
    moved = tuple(value + 60.0 for value in expected[0].xyxy)
    (fault,) = missing(found, [Box(expected[0].score, moved)])
    assert fault[1] > 3


def test_clip_looks_at_the_central_square(tiny: ModelSet):
    pixels = picture(64, 128)
    assert central_square(pixels).tolist() == [[32, 0, 96, 64]]
    logits = clip_logits(tiny.clip, pixels, ["a house", "a tree"])
    pixels[:, :24], pixels[:, 104:] = 0, 255  # beyond what the bicubic filter reads at the edges of the square
    np.testing.assert_array_equal(logits, clip_logits(tiny.clip, pixels, ["a house", "a tree"]))
    pixels[:, 40:90] = 0
    assert np.abs(logits - clip_logits(tiny.clip, pixels, ["a house", "a tree"])).max() > 0.02


def test_ious_of_boxes_and_points(tiny: ModelSet):
    pixels = picture(64, 64)
    boxes = [[5, 5, 30, 30], [10, 20, 60, 50]]
    assert box_ious(tiny.sam, pixels, boxes, multimask=True).shape == (2, 3)
    single = box_ious(tiny.sam, pixels, boxes, multimask=False)
    np.testing.assert_array_equal(single, tiny.sam.decode_boxes(tiny.sam.embed(pixels), np.array(boxes, float)).iou)
    assert point_ious(tiny.sam, pixels, [[20, 20], [40, 40], [1, 1]]).shape == (3, 3)


def test_what_is_not_there_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WSSS_SEED_PUBLISHED_IMAGES", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match=r"no car\.png in the folder"):
        image("car.png")
    Image.fromarray(picture()).save(tmp_path / "car.png")
    np.testing.assert_array_equal(image("car.png"), picture())
    monkeypatch.setenv("WSSS_SEED_HOME", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="no weights of vit_h here; wsss-seed models pull vit_h"):
        model_set("sam", "vit_h")
    assert model_set("sam", "tiny").sam.name.endswith("tiny")
