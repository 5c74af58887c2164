"""Full-size models from files in the publishers' formats, with random weights, beside the libraries' own predictors.

One photograph, twice: as the library reads and runs the file, and as wsss-seed does.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from segment_anything import SamPredictor, sam_model_registry

from tests.rounding import assert_same
from wsss_seed.models import grounding_dino as detector_room
from wsss_seed.models import sam as sam_room
from wsss_seed.models._bert_compat import supply
from wsss_seed.models.clip import load_clip
from wsss_seed.models.grounding_dino import build_grounding_dino, build_tokenizer, load_grounding_dino
from wsss_seed.models.sam import load_sam

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photograph(real_data: Path) -> Path:
    return sorted((real_data / "voc" / "JPEGImages").glob("*.jpg"))[0]


@pytest.fixture(scope="module")
def pixels(photograph: Path) -> np.ndarray:
    return np.array(Image.open(photograph).convert("RGB"))


def stir(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Noise on weights that begin as a constant, which would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.numel() > 1 and p.std() == 0:
                p.add_(0.02 * torch.randn(p.shape, generator=generator))
    return model


def boxes_of(pixels: np.ndarray, n: int = 5) -> np.ndarray:
    h, w = pixels.shape[:2]
    corners = np.random.default_rng(1).uniform(0, 1, (n, 2, 2)) * (w, h)
    return np.concatenate([corners.min(1), corners.max(1)], 1)


# SAM


@pytest.fixture(scope="module")
def sam_file(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("sam") / "sam_vit_b_01ec64.pth"
    torch.save(stir(sam_model_registry["vit_b"](checkpoint=None)).state_dict(), path)
    return path


def test_sam_is_sam_predictor(sam_file: Path, pixels: np.ndarray):
    """Masks of boxes and of points; our encoder fuses its attention, so up to rounding."""
    predictor = SamPredictor(sam_model_registry["vit_b"](checkpoint=str(sam_file)).eval())
    predictor.set_image(pixels)
    size, boxes = pixels.shape[:2], boxes_of(pixels)
    sam = load_sam(sam_file)
    embedding = sam.embed(pixels)
    assert_same(embedding.features, predictor.features)
    moved = torch.as_tensor(predictor.transform.apply_boxes(boxes, size), dtype=torch.float)
    for multimask in (False, True):
        want, want_iou, _ = predictor.predict_torch(None, None, moved, multimask_output=multimask, return_logits=True)
        low_res, iou = sam.decode_boxes(embedding, boxes, multimask=multimask)
        check_masks(sam.logits(embedding, low_res), want)
        assert_same(iou, want_iou)
    points = np.random.default_rng(2).uniform(0, 1, (6, 2)) * (size[1], size[0])
    moved = torch.as_tensor(predictor.transform.apply_coords(points, size), dtype=torch.float)[:, None]
    want, want_iou, _ = predictor.predict_torch(moved, torch.ones(6, 1), return_logits=True)
    answers = list(sam.decode_points(embedding, points))
    assert_same(torch.cat([answer.iou for answer in answers]), want_iou)
    low_res = torch.cat([answer.low_res(torch.ones_like(answer.iou, dtype=torch.bool)) for answer in answers])
    check_masks(sam.logits(embedding, low_res).view(want.shape), want)


def check_masks(got: torch.Tensor, want: torch.Tensor) -> None:
    assert_same(got, want)
    assert ((got > 0) == (want > 0)).float().mean() > 0.9999
    assert 0.001 < (want > 0).float().mean() < 0.999  # else there would be nothing to compare


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_sam_reads_every_size(name: str, monkeypatch):
    """Which size a checkpoint has is read from its weights, and each finds all its keys; without memory for them."""
    with torch.device("meta"):
        weights = sam_model_registry[name](checkpoint=None).state_dict()
    monkeypatch.setattr(sam_room.torch, "load", lambda *_, **__: weights)
    with torch.device("meta"):
        model = sam_room._read_checkpoint(Path(__file__))
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in weights.items()}
    depth = {"vit_b": 12, "vit_l": 24, "vit_h": 32}[name]
    assert len(model.image_encoder.blocks) == depth


# CLIP


@pytest.fixture(scope="module", params=["torchscript archive", "state dict"])
def clip_file(request: pytest.FixtureRequest, tmp_path_factory) -> Path:
    """A ViT-B/16 in half precision as OpenAI publishes it, or as people keep it."""
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-16-quickgelu")
    open_clip.convert_weights_to_fp16(model)
    path = tmp_path_factory.mktemp("clip") / "ViT-B-16.pt"
    for name, value in (("input_resolution", 224), ("context_length", 77), ("vocab_size", 49408)):
        if hasattr(model, name):
            delattr(model, name)
        model.register_buffer(name, torch.tensor(value))
    if request.param == "state dict":
        torch.save(model.state_dict(), path)
    else:
        torch.jit.save(archive_of(model), path)
    return path


class Leaf(torch.nn.Module):
    def forward(self) -> None:
        pass


def archive_of(model: torch.nn.Module) -> torch.jit.ScriptModule:
    """TorchScript with the names and tensors of a model and without its program."""
    root = Leaf()
    for name, value in model.state_dict().items():
        *folders, last = name.split(".")
        at = root
        for folder in folders:
            if folder not in dict(at.named_children()):
                at.add_module(folder, Leaf())
            at = at.get_submodule(folder)
        if value.is_floating_point():
            at.register_parameter(last, torch.nn.Parameter(value))
        else:
            at.register_buffer(last, value)
    return torch.jit.script(root)


def test_clip_is_open_clips(clip_file: Path, photograph: Path):
    theirs = open_clip.load_openai_model(str(clip_file), precision="fp32", device="cpu").eval()
    clip = load_clip(f"ViT-B-16-quickgelu:{clip_file}")
    texts = ["a photo of a cat.", "a clean origami dog.", "sky"]
    image = Image.open(photograph).convert("RGB")
    with torch.inference_mode():
        want = theirs.encode_text(open_clip.get_tokenizer("ViT-B-16")(texts), normalize=True)
        assert_same(clip.encode_text(texts), want)
        square = image.resize((224, 224), Image.Resampling.BICUBIC)
        preprocess = open_clip.image_transform(224, is_train=False, mean=open_clip.OPENAI_DATASET_MEAN,
                                               std=open_clip.OPENAI_DATASET_STD)  # fmt: skip
        want = theirs.encode_image(preprocess(square)[None], normalize=True)
        got = clip.encode_views(np.array(image), np.array([[0, 0, *image.size]]))
        assert_same(got, want)
    assert clip.logit_scale == pytest.approx(theirs.logit_scale.detach().exp().item())


# Grounding DINO

CAPTION_WORDS = ["cat", "dog", "dining", "table", "person"]


def vocabulary() -> list[str]:
    """As long as BERT's, with BERT's places of special tokens and full stop."""
    words = [f"[unused{i}]" for i in range(30522)]
    for place, word in {
        0: "[PAD]",
        100: "[UNK]",
        101: "[CLS]",
        102: "[SEP]",
        103: "[MASK]",
        1012: ".",
        1029: "?",
    }.items():
        words[place] = word
    words[2000 : 2000 + len(CAPTION_WORDS)] = CAPTION_WORDS
    return words


def library_model(folder: Path, size: str, monkeypatch) -> tuple[torch.nn.Module, Path]:
    """groundingdino's own model from its own configuration, whose text encoder lies in a folder instead of the hub."""
    import groundingdino
    from groundingdino.models import build_model
    from groundingdino.models.GroundingDINO import groundingdino as module
    from groundingdino.util.slconfig import SLConfig
    from transformers import BertConfig, BertModel

    text = folder / "bert-base-uncased"
    build_tokenizer(vocabulary()).save_pretrained(text)
    BertModel(BertConfig()).save_pretrained(text)
    own = Path(groundingdino.__file__).parent / "config" / f"GroundingDINO_{size}.py"
    config = folder / own.name
    config.write_text(re.sub(r"text_encoder_type = .*", f"text_encoder_type = {str(text)!r}", own.read_text()))
    read = module.get_tokenlizer.get_pretrained_language_model
    # Without this the library does not run with transformers 5.
    monkeypatch.setattr(module.get_tokenlizer, "get_pretrained_language_model", lambda name: supply(read(name)))
    args = SLConfig.fromfile(str(config))
    args.device = "cpu"
    return build_model(args), config


def test_grounding_dino_is_groundingdinos_predict(tmp_path: Path, photograph: Path, pixels: np.ndarray, monkeypatch):
    from groundingdino.util.inference import load_image, load_model, predict

    torch.manual_seed(0)
    model, config = library_model(tmp_path, "SwinT_OGC", monkeypatch)
    weights = {f"module.{name}": tensor.half() for name, tensor in stir(model).state_dict().items()}
    path = tmp_path / "groundingdino_swint_ogc.pth"
    torch.save({"model": weights}, path)
    del model
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary()))

    theirs = load_model(str(config), str(path), device="cpu")
    boxes, scores, _ = predict(theirs, load_image(str(photograph))[1], "cat . dining table . person .", 0.0, 2.0, "cpu")
    detector = load_grounding_dino(path)
    got = detector.detect(pixels, [["cat"], ["dining table"], ["person"]])
    assert len(boxes) == len(got.boxes) == 900
    h, w = pixels.shape[:2]
    centre, half = boxes[:, :2].numpy(), boxes[:, 2:].numpy() / 2
    want = np.clip(np.concatenate([centre - half, centre + half], 1), 0, 1) * [w, h, w, h]
    assert_same(got.boxes, want)
    assert_same(got.scores, scores)
    assert got.boxes.std(0).min() > 1
    assert got.scores.std() > 1e-4


def shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_grounding_dino_swin_b_finds_all_its_keys(tmp_path: Path, monkeypatch):
    """Those that groundingdino's own Swin-B has; on the CPU, as its Swin takes numbers out of tensors when built."""
    theirs = shapes(library_model(tmp_path, "SwinB_cfg", monkeypatch)[0])
    assert detector_room._SIZES[theirs["backbone.0.patch_embed.proj.weight"][0]] == "grounding_dino_swinb.json"
    config = json.loads((detector_room._CONFIGS / "grounding_dino_swinb.json").read_text())
    assert shapes(build_grounding_dino(config, build_tokenizer(vocabulary()))) == theirs
