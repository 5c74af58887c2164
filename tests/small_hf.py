"""Small models of transformers' classes with random weights, saved in folders as their publishers save theirs."""

from pathlib import Path

import numpy as np
import torch
from transformers import (
    Sam2Config,
    Sam2ImageProcessor,
    Sam2Model,
    Sam2Processor,
    Sam3ImageProcessor,
    Sam3TrackerConfig,
    Sam3TrackerModel,
    Sam3TrackerProcessor,
    SamConfig,
    SamHQConfig,
    SamHQModel,
    SamHQProcessor,
    SamImageProcessor,
    SamModel,
    SamProcessor,
)

SIDE = 64


def randomised(model: torch.nn.Module, seed: int = 0, scale: float = 0.15) -> torch.nn.Module:
    """Random weights from NumPy's frozen generator; nothing stays zero, which would hide mistakes."""
    random = np.random.RandomState(seed)
    drawn = {n: b for n, b in model.named_buffers() if n.endswith("positional_embedding")}  # SAM 2 draws it by chance
    with torch.no_grad():
        for name, p in sorted([*model.named_parameters(), *drawn.items()]):
            value = torch.from_numpy(random.standard_normal(tuple(p.shape)).astype(np.float32)).reshape(p.shape)
            p.copy_(1 + 0.2 * value if "norm" in name.lower() and name.endswith("weight") else scale * value)
    return model.eval()


def picture(height: int = 70, width: int = 110, seed: int = 0) -> np.ndarray:
    """uint8 (height, width, 3)."""
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def saved(folder: Path, model: torch.nn.Module, processor: object) -> Path:
    model.save_pretrained(folder)  # type: ignore[operator]
    processor.save_pretrained(folder)  # type: ignore[attr-defined]
    return folder


_PROMPTS = {"hidden_size": 32, "image_size": SIDE, "patch_size": 8, "mask_input_channels": 4}
_DECODER = {
    "hidden_size": 32,
    "mlp_dim": 48,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "iou_head_hidden_dim": 16,
}
_VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
    "output_channels": 32,
    "window_size": 3,
    "global_attn_indexes": [1],
    "num_pos_feats": 16,
    "mlp_dim": 64,
}
_HIERA = {
    "hidden_size": 8,
    "image_size": [SIDE, SIDE],
    "blocks_per_stage": [1, 1, 2, 1],
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 2, 2, 2],
    "window_size_per_stage": [8, 4, 4, 4],
    "global_attention_blocks": [3],
}
SAM3_VISION = {
    "backbone_config": {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 8,
        "window_size": 4,
        "global_attn_indexes": [1],
        "pretrain_image_size": 32,
    },
    "fpn_hidden_size": 32,
    "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
}


def sam() -> tuple[SamModel, SamProcessor]:
    config = SamConfig(vision_config=_VIT, prompt_encoder_config=_PROMPTS, mask_decoder_config=_DECODER)
    return randomised(SamModel(config)), SamProcessor(_padding())  # type: ignore[return-value]


def sam_hq() -> tuple[SamHQModel, SamHQProcessor]:
    decoder = {**_DECODER, "vit_dim": 32}
    config = SamHQConfig(vision_config=_VIT, prompt_encoder_config=_PROMPTS, mask_decoder_config=decoder)
    return randomised(SamHQModel(config)), SamHQProcessor(_padding())  # type: ignore[return-value]


def _padding() -> SamImageProcessor:
    side = {"height": SIDE, "width": SIDE}
    return SamImageProcessor(size={"longest_edge": SIDE}, pad_size=side)


def sam2() -> tuple[Sam2Model, Sam2Processor]:
    vision = {
        "backbone_config": {"model_type": "sam2_hiera_det_model", **_HIERA},
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
    }
    prompts = {**_PROMPTS, "patch_size": 16}
    config = Sam2Config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=_DECODER)
    images = Sam2ImageProcessor(size={"height": SIDE, "width": SIDE})
    return randomised(Sam2Model(config)), Sam2Processor(images)  # type: ignore[return-value]


def sam3_tracker() -> tuple[Sam3TrackerModel, Sam3TrackerProcessor]:
    config = Sam3TrackerConfig(vision_config=SAM3_VISION, prompt_encoder_config=_PROMPTS, mask_decoder_config=_DECODER)
    images = Sam3ImageProcessor(size={"height": SIDE, "width": SIDE})
    return randomised(Sam3TrackerModel(config)), Sam3TrackerProcessor(images)  # type: ignore[return-value]


MASK_MODELS = {"sam": sam, "sam_hq": sam_hq, "sam2": sam2, "sam3_tracker": sam3_tracker}
