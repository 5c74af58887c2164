"""The SAM room against segment_anything's own SamPredictor, on small models with random weights."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from segment_anything import SamPredictor, sam_model_registry

from tests.rounding import assert_same
from wsss_seed.data.toyland import draw
from wsss_seed.errors import WsssError
from wsss_seed.models import sam as room
from wsss_seed.models import upsample
from wsss_seed.models.sam import Sam, build_sam, load_sam

CONFIG = {
    "image_encoder": {
        "img_size": 64,
        "patch_size": 8,
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
        "mlp_ratio": 2,
        "out_chans": 32,
        "qkv_bias": True,
        "use_rel_pos": True,
        "window_size": 3,
        "global_attn_indexes": [1],
    },
    "prompt_encoder": {
        "embed_dim": 32,
        "image_embedding_size": [8, 8],
        "input_image_size": [64, 64],
        "mask_in_chans": 4,
    },
    "transformer": {"depth": 2, "embedding_dim": 32, "mlp_dim": 48, "num_heads": 2},
    "mask_decoder": {
        "num_multimask_outputs": 3,
        "transformer_dim": 32,
        "iou_head_depth": 2,
        "iou_head_hidden_dim": 16,
    },
    "pixel_mean": [123.675, 116.28, 103.53],
    "pixel_std": [58.395, 57.12, 57.375],
}
BUNDLED = Path(room.__file__).parent / "tiny"


def random_model(seed=0):
    torch.manual_seed(seed)
    model = build_sam(CONFIG)
    with torch.no_grad():
        for p in model.parameters():  # zeros, such as the relative positions, would hide mistakes
            p.copy_(torch.randn_like(p) * 0.3)
    return model


@pytest.fixture(scope="module")
def sam():
    return Sam(random_model())


def picture(h, w, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)


def some_boxes(h, w, n, seed=0):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 1, (n, 2, 2)) * (w, h)
    return np.concatenate([corners.min(1), corners.max(1)], 1)


def predicted(sam, image, boxes, multimask):
    """SamPredictor's logits at original size, predicted IoU and low-resolution logits."""
    predictor = SamPredictor(sam.model)
    predictor.set_image(image)
    moved = torch.as_tensor(predictor.transform.apply_boxes(boxes, image.shape[:2]), dtype=torch.float)
    return predictor.predict_torch(None, None, moved, multimask_output=multimask, return_logits=True)


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (60, 91), (203, 48), (1, 1), (5, 3), (1, 100), (400, 600)])
def test_equals_sam_predictor(sam, size, multimask):
    image, boxes = picture(*size), some_boxes(*size, 5)
    want, want_iou, want_low = predicted(sam, image, boxes, multimask)
    embedding = sam.embed(image)
    low_res, iou = sam.decode_boxes(embedding, boxes, multimask=multimask)
    assert low_res.shape == (5, 3 if multimask else 1, 32, 32)
    assert iou.shape == low_res.shape[:2]
    assert low_res.dtype == iou.dtype == torch.float32
    assert torch.equal(low_res, want_low)
    assert torch.equal(iou, want_iou)
    assert_same(sam.logits(embedding, low_res), want)
    for level in range(low_res.shape[1]):
        logits = sam.logits(embedding, low_res[:, level])
        assert logits.shape == (5, *size)
        assert_same(logits, want[:, level])


def test_equals_sam_predictor_for_a_single_numpy_box(sam):
    image = picture(70, 120)
    box = np.array([10.5, 8, 90, 60.25])
    predictor = SamPredictor(sam.model)
    predictor.set_image(image)
    want, want_iou, _ = predictor.predict(box=box, multimask_output=False)
    embedding = sam.embed(image)
    low_res, iou = sam.decode_boxes(embedding, box[None].astype(np.float32))
    assert np.array_equal((sam.logits(embedding, low_res[:, 0]) > 0).numpy(), want)
    assert np.array_equal(iou[0].numpy(), want_iou)


PROMPTS = {
    "point": ([[20.5, 30]], [True], None),
    "points": ([[20.5, 30], [100, 60], [5, 5]], [True, True, False], None),
    "box": ([], [], [10.5, 8, 90, 60.25]),
    "box and points": ([[20.5, 30], [85, 10]], [True, False], [10.5, 8, 90, 60.25]),
    "box and point": ([[20.5, 30]], [True], [10.5, 8, 90, 60.25]),
}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_prompts_of_one_object_equal_sam_predictor(sam, prompt):
    points, positive, box = prompt
    image = picture(70, 120)
    predictor = SamPredictor(sam.model)
    predictor.set_image(image)
    alone = len(points) == 1 and box is None
    want, want_iou, want_low = predictor.predict(
        point_coords=np.array(points) if points else None,
        point_labels=np.array(positive, int) if points else None,
        box=None if box is None else np.array(box),
        multimask_output=alone,
    )
    embedding = sam.embed(image)
    low_res, iou = sam.decode_prompt(
        embedding, np.array(points), np.array(positive), None if box is None else np.array(box)
    )
    assert low_res.shape == (1, 3 if alone else 1, 32, 32)
    assert_same(low_res[0], torch.from_numpy(want_low))
    assert_same(iou[0], torch.from_numpy(want_iou))
    assert np.array_equal((sam.logits(embedding, low_res)[0] > 0).numpy(), want)


def test_a_prompt_without_points_and_box_is_refused(sam):
    with pytest.raises(ValueError, match="points or a box"):
        sam.decode_prompt(sam.embed(picture(8, 8)), np.zeros((0, 2)), np.zeros(0, bool))


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (2, 3001)])
def test_very_thin_images_keep_a_row(sam, size):
    """Their short side would round to nothing, at which SamPredictor fails."""
    embedding = sam.embed(picture(*size))
    low_res, _ = sam.decode_boxes(embedding, some_boxes(*size, 2))
    logits = sam.logits(embedding, low_res[:, 0])
    assert logits.shape == (2, *size)
    assert logits.isfinite().all()


def test_chunks_do_not_change_the_masks(sam):
    image, boxes = picture(80, 60), some_boxes(80, 60, 70)
    embedding = sam.embed(image)
    whole = sam.decode_boxes(embedding, boxes, multimask=True, chunk=1000)
    for chunk in (1, 3, 64):
        low_res, iou = sam.decode_boxes(embedding, boxes, multimask=True, chunk=chunk)
        assert_same(low_res, whole.low_res)
        assert_same(iou, whole.iou)


def test_enlarging_in_portions_gives_the_same_logits(sam, monkeypatch):
    embedding = sam.embed(picture(80, 60))
    low_res, _ = sam.decode_boxes(embedding, some_boxes(80, 60, 7), multimask=True)
    whole = sam.logits(embedding, low_res)
    assert whole.shape == (7, 3, 80, 60)
    monkeypatch.setattr(upsample, "_LOGIT_PIXELS", 2 * 3 * 80 * 60)
    assert torch.equal(sam.logits(embedding, low_res), whole)


@pytest.mark.parametrize("multimask", [False, True])
def test_no_boxes(sam, multimask):
    embedding = sam.embed(picture(40, 50))
    low_res, iou = sam.decode_boxes(embedding, np.zeros((0, 4)), multimask=multimask)
    assert low_res.shape == (0, 3 if multimask else 1, 32, 32)
    assert iou.shape == (0, 3 if multimask else 1)
    assert sam.logits(embedding, low_res[:, 0]).shape == (0, 40, 50)


def write_folder(folder, model, dtype=torch.float16):
    (folder / "sam.json").write_text(json.dumps(CONFIG))
    save_file({k: v.to(dtype).contiguous() for k, v in model.state_dict().items()}, folder / "sam.safetensors")
    return folder


def test_folder_with_half_precision_weights(tmp_path):
    model = random_model(1)
    loaded = load_sam(write_folder(tmp_path, model))
    for (name, got), want in zip(loaded.model.state_dict().items(), model.state_dict().values(), strict=True):
        assert got.dtype == torch.float32, name
        assert torch.equal(got, want.half().float()), name
    assert not loaded.model.training
    image, boxes = picture(50, 64), some_boxes(50, 64, 4)
    exact = Sam(model)
    got, want = (s.decode_boxes(s.embed(image), boxes).low_res for s in (loaded, exact))
    assert ((got > 0) == (want > 0)).float().mean() > 0.97


def write_damaged(path, how):
    """A file that is no SAM checkpoint."""
    if how == "empty":
        path.write_bytes(b"")
    elif how == "web page":
        path.write_text("<!DOCTYPE html><html><title>404</title></html>")
    elif how == "truncated":
        torch.save(random_model().state_dict(), path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "another model":
        torch.save(torch.nn.Linear(3, 4).state_dict(), path)
    elif how == "a list":
        torch.save([torch.zeros(3)], path)
    elif how == "no tensors":
        torch.save({}, path)
    elif how == "numbers":
        torch.save({1: 2, "image_encoder.pos_embed": 3}, path)
    elif how == "unknown size":
        torch.save(random_model().state_dict(), path)


@pytest.mark.parametrize(
    "how",
    ["missing", "empty", "web page", "truncated", "another model", "a list", "no tensors", "numbers", "unknown size"],
)
def test_damaged_checkpoints_are_named(tmp_path, how):
    path = tmp_path / "sam_vit_x.pth"
    write_damaged(path, how)
    with pytest.raises(WsssError) as caught:
        load_sam(path)
    message = str(caught.value)
    assert str(path) in message
    assert "sam_vit_b_01ec64.pth" in message
    assert "\n" not in message


class Malicious:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("write", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_code_in_a_checkpoint_does_not_run(tmp_path, write):
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    write({"image_encoder.pos_embed": Malicious(trace)}, path)
    with pytest.raises(WsssError, match=r"evil\.pth.*plain tensors"):
        load_sam(path)
    assert not trace.exists()


@pytest.mark.parametrize("how", ["no json", "broken json", "wrong json", "no weights", "truncated", "other weights"])
def test_damaged_folders_are_named(tmp_path, how):
    write_folder(tmp_path, random_model())
    config, weights = tmp_path / "sam.json", tmp_path / "sam.safetensors"
    if how == "no json":
        config.unlink()
    elif how == "broken json":
        config.write_text("{")
    elif how == "wrong json":
        config.write_text(json.dumps({**CONFIG, "transformer": {"layers": 3}}))
    elif how == "no weights":
        weights.unlink()
    elif how == "truncated":
        weights.write_bytes(weights.read_bytes()[:5000])
    else:
        save_file({"a": torch.zeros(3)}, weights)
    with pytest.raises(WsssError) as caught:
        load_sam(tmp_path)
    assert str(config if "json" in how else weights) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_library_checkpoint_of_the_papers_size(tmp_path):
    """A ViT-B checkpoint as segment_anything stores it, with random weights; one with a tensor missing is refused."""
    path = tmp_path / "sam_vit_b.pth"
    weights = sam_model_registry["vit_b"](checkpoint=None).state_dict()
    torch.save(weights, path)
    loaded = load_sam(path).model
    assert loaded.image_encoder.img_size == 1024
    assert all(torch.equal(v, weights[k]) for k, v in loaded.state_dict().items())
    del weights["mask_decoder.iou_token.weight"]
    torch.save(weights, path)
    with pytest.raises(WsssError, match="not the weights of SAM vit_b"):
        load_sam(path)


def test_import_needs_neither_opencv_nor_matplotlib():
    code = (
        "import sys, wsss_seed.models.sam; "
        "sys.exit(', '.join({'cv2', 'matplotlib', 'pycocotools', 'transformers'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_bundled_model_finds_objects_from_their_boxes():
    sam = load_sam(BUNDLED)
    ious = []
    for index in range(20):
        scene = draw(index, "test", seed=3)
        embedding = sam.embed(scene.image)
        low_res, _ = sam.decode_boxes(embedding, scene.boxes)
        found = (sam.logits(embedding, low_res[:, 0]) > 0).numpy()
        for i, mask in enumerate(found):
            true = scene.instances == i + 1
            ious.append((mask & true).sum() / (mask | true).sum())
    assert np.mean(ious) > 0.8
