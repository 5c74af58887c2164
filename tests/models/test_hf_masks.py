"""transformers' mask models against their own processors, and SAM in both libraries."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.models.convert_to_hf import sam_to_hf
from tests.rounding import FLIPPED, assert_same
from tests.small_hf import MASK_MODELS, picture, sam2, sam2_video, sam_hq, saved
from wsss_seed.data.toyland import draw
from wsss_seed.models.hf_masks import HfMasks, load_hf_masks
from wsss_seed.models.sam import load_sam
from wsss_seed.models.zoo import TINY
from wsss_seed.proposals.generate import ProposalSettings, generate_proposals

SIZES = [(70, 110), (110, 70), (64, 64), (20, 300)]


@pytest.fixture(scope="module", params=sorted(MASK_MODELS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def own(kind):
    """transformers' model and processor."""
    return MASK_MODELS[kind]()


@pytest.fixture(scope="module")
def ours(kind, tmp_path_factory):
    return load_hf_masks(str(saved(tmp_path_factory.mktemp(kind), *MASK_MODELS[kind]())))


def some_boxes(h, w, n=5, seed=0):
    corners = np.random.default_rng(seed).uniform(0, 1, (n, 2, 2)) * (w, h)
    return np.concatenate([corners.min(1), corners.max(1)], 1)


@torch.no_grad()
def own_answer(own, image, multimask, **prompts):
    """Low-resolution logits (n, M, h, w), predicted IoU (n, M) and full logits, by the family's own means."""
    model, processor = own
    inputs = processor(images=image, **prompts, return_tensors="pt")
    inputs = {k: v.float() if v.is_floating_point() else v for k, v in inputs.items()}
    sizes = [inputs.pop(k).tolist() for k in ("original_sizes", "reshaped_input_sizes") if k in inputs]
    out = model(**inputs, multimask_output=multimask)
    full = processor.post_process_masks(out.pred_masks, *sizes, binarize=False)
    return out.pred_masks[0], out.iou_scores[0], full[0]


def by_iou(masks, iou):
    """Masks (n, M, ...) by falling predicted IoU, as SAM-HQ of transformers orders them."""
    order = iou.argsort(1, descending=True)
    return torch.stack([m[o] for m, o in zip(masks, order, strict=True)]), iou.gather(1, order)


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_boxes_become_the_masks_of_the_own_processor(kind, own, ours, size, multimask):
    image, boxes = picture(*size), some_boxes(*size)
    low, iou, full = own_answer(own, image, multimask, input_boxes=[boxes.tolist()])
    embedding = ours.embed(image)
    got = ours.decode_boxes(embedding, boxes, multimask=multimask, chunk=2)
    logits = ours.logits(embedding, got.low_res)
    assert got.low_res.shape == (5, 3 if multimask else 1, *low.shape[-2:])
    assert logits.shape[-2:] == size
    if kind == "sam_hq" and multimask:
        logits, _ = by_iou(logits, got.iou)
        got = by_iou(got.low_res, got.iou)
    assert_same(got[0], low)
    assert_same(got[1], iou)
    assert_same(logits, full)
    assert full.std() > 0.01


def test_points_become_the_masks_of_the_own_processor(kind, own, ours):
    image = picture()
    points = np.random.default_rng(1).uniform(0, 1, (5, 2)) * (110, 70)
    prompts = {"input_points": [[[p] for p in points.tolist()]], "input_labels": [[[1]] * 5]}
    low, iou, _ = own_answer(own, image, True, **prompts)
    answers = list(ours.decode_points(ours.embed(image), points, chunk=3))
    assert [len(a.iou) for a in answers] == [3, 2]
    everything = [a.low_res(torch.ones(len(a.iou), 3, dtype=torch.bool)).view(-1, 3, *low.shape[-2:]) for a in answers]
    got = torch.cat(everything), torch.cat([a.iou for a in answers])
    if kind == "sam_hq":
        got = by_iou(*got)
    assert_same(got[0], low)
    assert_same(got[1], iou)
    chosen = torch.tensor([[False, True, False], [True, False, True], [False] * 3])
    picked = answers[0].low_res(chosen)
    assert_same(picked, everything[0][chosen])


PROMPTS = {
    "point": ([[20.5, 30]], [True], None),
    "points": ([[20.5, 30], [100, 60], [5, 5]], [True, True, False], None),
    "box": ([], [], [10.5, 8, 90, 60.25]),
    "box and points": ([[20.5, 30], [85, 10]], [True, False], [10.5, 8, 90, 60.25]),
}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_prompts_of_one_object_become_the_mask_of_the_own_processor(kind, own, ours, prompt):
    points, positive, box = prompt
    image = picture()
    given = {"input_points": [[points]], "input_labels": [[[int(p) for p in positive]]]} if points else {}
    given |= {} if box is None else {"input_boxes": [[box]]}
    low, iou, full = own_answer(own, image, len(points) == 1, **given)
    embedding = ours.embed(image)
    got = ours.decode_prompt(embedding, np.array(points), np.array(positive), None if box is None else np.array(box))
    logits = ours.logits(embedding, got.low_res)
    if kind == "sam_hq" and len(points) == 1:
        logits, _ = by_iou(logits, got.iou)
        got = by_iou(got.low_res, got.iou)
    assert_same(got[0], low)
    assert_same(got[1], iou)
    assert_same(logits, full)


def test_a_prompt_without_points_and_box_is_refused(ours):
    with pytest.raises(ValueError, match="points or a box"):
        ours.decode_prompt(ours.embed(picture()), np.zeros((0, 2)), np.zeros(0, bool))


def test_levels_of_sam_hq_are_in_their_own_order():
    """transformers sorts them by predicted IoU; here each stays where the decoder's tokens have it."""
    model, processor = sam_hq()
    head = model.mask_decoder.iou_prediction_head.proj_out
    with torch.no_grad():  # the head's own order: sub-part worst, whole best
        head.bias.copy_(torch.tensor([0.0, -9.0, 0.0, 9.0]))
    ours = HfMasks(model, processor)
    embedding, boxes = ours.embed(picture()), some_boxes(70, 110)
    got = ours.decode_boxes(embedding, boxes, multimask=True)
    assert (got.iou.diff(dim=1) > 0).all()
    with torch.no_grad():  # another prediction, other order in transformers, the same masks here
        head.bias.copy_(torch.tensor([0.0, 9.0, 0.0, -9.0]))
    again = ours.decode_boxes(embedding, boxes, multimask=True)
    assert (again.iou.diff(dim=1) < 0).all()
    assert torch.equal(got.low_res, again.low_res)
    assert not torch.allclose(got.low_res[:, 0], got.low_res[:, 2])


@pytest.mark.parametrize("size", [(70, 110), (20, 300), (5, 3)])
def test_windows_hold_all_that_is_above_the_floor(ours, size):
    embedding = ours.embed(picture(*size))
    low_res = ours.decode_boxes(embedding, some_boxes(*size, 9), multimask=True).low_res[:, 1]
    low_res = low_res - low_res.flatten(1).median(1).values[:, None, None]
    low_res[0], low_res[1] = -5, 5
    want = ours.logits(embedding, low_res)
    got = torch.full_like(want, -100)
    seen = []
    for which, top, left, logits in ours.upsampled_windows(embedding, low_res, 0.0):
        height, width = logits.shape[1:]
        seen += which.tolist()
        got[which, top : top + height, left : left + width] = logits
    assert seen == sorted(set(seen) - {0})
    inside = got > -100
    assert_same(got[inside], want[inside])
    assert (want[~inside] <= 1e-4).all()


def test_the_part_for_images_of_a_model_for_videos(tmp_path):
    """SAM 2.1 is published as a model for videos; what is loaded of it is what SamModel has, with the same weights."""
    model, processor = sam2_video()
    loaded = load_hf_masks(str(saved(tmp_path, model, processor))).model
    assert type(loaded) is type(sam2()[0])
    whole, part = model.state_dict(), loaded.state_dict()
    assert 200 < len(part) < len(whole)
    assert all(torch.equal(value, whole[name]) for name, value in part.items())


def test_an_image_is_encoded_once(own, ours):
    looks = []
    handle = ours.model.vision_encoder.register_forward_hook(lambda *_: looks.append(1))
    embedding = ours.embed(picture())
    ours.decode_boxes(embedding, some_boxes(70, 110, 9), chunk=4)
    list(ours.decode_points(embedding, np.array([[3.0, 4.0], [50, 60]])))
    handle.remove()
    assert len(looks) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (600, 2), (3, 40)])
def test_strange_images_are_seen(ours, size):
    embedding = ours.embed(np.full((*size, 3), 90, np.uint8))
    got = ours.decode_boxes(embedding, np.array([[0, 0, size[1], size[0]]]))
    logits = ours.logits(embedding, got.low_res[:, 0])
    assert logits.shape == (1, *size)
    assert logits.isfinite().all()


def test_no_box_is_no_mask(ours):
    embedding = ours.embed(picture())
    got, one = (ours.decode_boxes(embedding, np.zeros((n, 4)), multimask=True) for n in (0, 1))
    assert got.low_res.shape == (0, *one.low_res.shape[1:])
    assert ours.logits(embedding, got.low_res).shape == (0, 3, 70, 110)
    assert not list(ours.decode_points(embedding, np.zeros((0, 2))))


# The miniature in both libraries


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The bundled SAM through segment_anything and through transformers."""
    tiny = load_sam(TINY)
    folder = saved(tmp_path_factory.mktemp("tiny"), *sam_to_hf(tiny.model, json.loads((TINY / "sam.json").read_text())))
    return tiny, load_hf_masks(str(folder))


@pytest.fixture(scope="module")
def scene():
    """A drawn image that both libraries see as it is, for its longer side is the model's."""
    return np.array(Image.fromarray(draw(6).image).resize((128, 96)))


@pytest.mark.parametrize("multimask", [False, True])
def test_the_miniature_gives_the_same_masks_in_both_libraries(both, scene, multimask):
    tiny, converted = both
    boxes = some_boxes(96, 128, 12)
    a, b = (m.embed(scene) for m in both)
    assert_same(b.features["image_embeddings"], a.features)
    want, got = tiny.decode_boxes(a, boxes, multimask=multimask), converted.decode_boxes(b, boxes, multimask=multimask)
    assert_same(got.iou, want.iou)
    want, got = tiny.logits(a, want.low_res), converted.logits(b, got.low_res)
    assert_same(got, want)
    assert ((got > 0) != (want > 0)).float().mean() < FLIPPED
    assert 0.02 < (want > 0).float().mean() < 0.98


def test_the_miniature_proposes_the_same_masks_in_both_libraries(both, scene):
    settings = ProposalSettings(
        points_per_side=8, crop_n_layers=0, min_mask_region_area=8, pred_iou_thresh=0.3, stability_score_thresh=0.5
    )
    want, got = (generate_proposals(m, scene, settings) for m in both)
    assert len(want) > 2
    assert (got.dense() != want.dense()).mean() < FLIPPED
    np.testing.assert_array_equal(got.level, want.level)
    assert_same(got.predicted_iou, want.predicted_iou)
