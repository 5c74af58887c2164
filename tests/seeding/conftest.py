"""Small models of the real classes with random weights."""

import open_clip
import pytest
import torch

from tests.seeding.rectangles import CLASSES, OPEN, ColourDetector
from wsss_seed.config import override
from wsss_seed.models.clip import Clip
from wsss_seed.models.sam import Sam, build_sam
from wsss_seed.models.zoo import TINY
from wsss_seed.seeding.dino_sam import DinoSam, Settings


@pytest.fixture(scope="session")
def clip() -> Clip:
    tokenizer = open_clip.SimpleTokenizer(bpe_path=str(TINY / "bpe.txt.gz"), context_length=24)
    torch.manual_seed(0)
    model = open_clip.CLIP(
        embed_dim=16,
        vision_cfg={"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
        text_cfg={
            "context_length": 24,
            "vocab_size": tokenizer.vocab_size,
            "width": 32,
            "heads": 2,
            "layers": 2,
        },
    )
    return Clip(model, tokenizer)


@pytest.fixture(scope="session")
def sam() -> Sam:
    torch.manual_seed(0)
    config = {
        "image_encoder": {
            "depth": 2,
            "embed_dim": 32,
            "img_size": 128,
            "mlp_ratio": 2,
            "num_heads": 2,
            "patch_size": 16,
            "qkv_bias": True,
            "use_rel_pos": True,
            "global_attn_indexes": [1],
            "window_size": 4,
            "out_chans": 32,
        },
        "prompt_encoder": {
            "embed_dim": 32,
            "image_embedding_size": [8, 8],
            "input_image_size": [128, 128],
            "mask_in_chans": 8,
        },
        "transformer": {"depth": 2, "embedding_dim": 32, "mlp_dim": 64, "num_heads": 2},
        "mask_decoder": {
            "num_multimask_outputs": 3,
            "transformer_dim": 32,
            "iou_head_depth": 3,
            "iou_head_hidden_dim": 32,
        },
        "pixel_mean": [123.675, 116.28, 103.53],
        "pixel_std": [58.395, 57.12, 57.375],
    }
    model = build_sam(config)
    with torch.no_grad():  # random heads predict an IoU about 0, where every mask would be dropped
        model.mask_decoder.iou_prediction_head.layers[-1].bias.fill_(0.9)
    return Sam(model)


@pytest.fixture
def make(clip, sam):
    """Build dino-sam for the world of flat rectangles."""

    def build(detector=None, classes=CLASSES, **settings):
        changed = {**OPEN, **{k.replace("__", "."): v for k, v in settings.items()}}
        return DinoSam(classes, clip, sam, detector or ColourDetector(), override(Settings(), changed))

    return build
