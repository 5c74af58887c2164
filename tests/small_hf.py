"""Small models of transformers' classes with random weights, saved in folders as their publishers save theirs."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import (
    BertTokenizer,
    CLIPTokenizer,
    DetrImageProcessor,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    OmDetTurboConfig,
    OmDetTurboForObjectDetection,
    OmDetTurboProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    Owlv2Processor,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessor,
    OwlViTProcessor,
    Sam2Config,
    Sam2ImageProcessor,
    Sam2Model,
    Sam2Processor,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam3Config,
    Sam3ImageProcessor,
    Sam3Model,
    Sam3Processor,
    Sam3TrackerConfig,
    Sam3TrackerModel,
    Sam3TrackerProcessor,
    Sam3VideoConfig,
    Sam3VideoModel,
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
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


# Tokenizers


def bert_tokenizer() -> BertTokenizer:
    """BERT's, with the special tokens where Grounding DINO looks for them, and few words beside the letters."""
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = iter(["table", "dining", "cat", "dog", "hot", "air", "##plane", *letters, *(f"##{c}" for c in letters)])
    names = [special.get(i) or next(words, f"[unused{i}]") for i in range(1030)]
    return BertTokenizer(vocab={name: i for i, name in enumerate(names)}, do_lower_case=True)


def clip_tokenizer(length: int) -> CLIPTokenizer:
    """CLIP's, with few words beside the letters; the end of a text has the highest number, by which it is found."""
    letters = [*"abcdefghijklmnopqrstuvwxyz.,"]
    merges = [("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>")]
    names = ["!", *letters, *(f"{c}</w>" for c in letters), *("".join(pair) for pair in merges)]
    names += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: i for i, name in enumerate(names)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token="!", model_max_length=length)


CLIP_WORDS = len(clip_tokenizer(32))

# Mask models

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
    return randomised(SamModel(config)), SamProcessor(_padding())


def sam_hq() -> tuple[SamHQModel, SamHQProcessor]:
    decoder = {**_DECODER, "vit_dim": 32}
    config = SamHQConfig(vision_config=_VIT, prompt_encoder_config=_PROMPTS, mask_decoder_config=decoder)
    return randomised(SamHQModel(config)), SamHQProcessor(_padding())


def _padding() -> SamImageProcessor:
    side = {"height": SIDE, "width": SIDE}
    return SamImageProcessor(size={"longest_edge": SIDE}, pad_size=side)


_SAM2 = {
    "vision_config": {
        "model_type": "sam2_vision_model",
        "backbone_config": {"model_type": "sam2_hiera_det_model", **_HIERA},
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
    },
    "prompt_encoder_config": {**_PROMPTS, "patch_size": 16},
    "mask_decoder_config": _DECODER,
}


def sam2() -> tuple[Sam2Model, Sam2Processor]:
    config = Sam2Config(**_SAM2)
    images = Sam2ImageProcessor(size={"height": SIDE, "width": SIDE})
    return randomised(Sam2Model(config)), Sam2Processor(images)


def sam2_video() -> tuple[Sam2VideoModel, Sam2Processor]:
    """As SAM 2.1 is published."""
    memory = dict.fromkeys(
        (
            "memory_attention_hidden_size",
            "memory_attention_feed_forward_hidden_size",
            "memory_encoder_hidden_size",
            "memory_fuser_embed_dim",
            "memory_fuser_intermediate_dim",
            "mask_downsampler_embed_dim",
        ),
        32,
    )
    shape = {"image_size": SIDE, "memory_attention_num_layers": 1, "memory_encoder_output_channels": 8}
    return randomised(Sam2VideoModel(Sam2VideoConfig(**_SAM2, **memory, **shape))), sam2()[1]


def sam3_tracker() -> tuple[Sam3TrackerModel, Sam3TrackerProcessor]:
    config = Sam3TrackerConfig(vision_config=SAM3_VISION, prompt_encoder_config=_PROMPTS, mask_decoder_config=_DECODER)
    images = Sam3ImageProcessor(size={"height": SIDE, "width": SIDE})
    return randomised(Sam3TrackerModel(config)), Sam3TrackerProcessor(images)


MASK_MODELS = {"sam": sam, "sam_hq": sam_hq, "sam2": sam2, "sam3_tracker": sam3_tracker}

# Detectors

_DINO = {
    "backbone_config": {
        "model_type": "swin",
        "image_size": SIDE,
        "embed_dim": 16,
        "depths": [1, 2, 1, 1],
        "num_heads": [2, 2, 2, 2],
        "window_size": 4,
        "out_indices": [2, 3, 4],
    },
    "text_config": {
        "model_type": "bert",
        "vocab_size": 1030,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 256,
    },
    "d_model": 64,
    "num_queries": 12,
    "num_feature_levels": 3,
    "encoder_layers": 1,
    "encoder_ffn_dim": 64,
    "encoder_attention_heads": 4,
    "encoder_n_points": 2,
    "decoder_layers": 2,
    "decoder_ffn_dim": 64,
    "decoder_attention_heads": 4,
    "decoder_n_points": 2,
}
_TEXT = {
    "vocab_size": CLIP_WORDS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "bos_token_id": CLIP_WORDS - 2,
    "eos_token_id": CLIP_WORDS - 1,
}
_PATCHES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 16,
}


def grounding_dino() -> tuple[GroundingDinoForObjectDetection, GroundingDinoProcessor]:
    images = GroundingDinoImageProcessor(size={"shortest_edge": SIDE, "longest_edge": 96})
    model = GroundingDinoForObjectDetection(GroundingDinoConfig(**_DINO))
    return randomised(model), GroundingDinoProcessor(images, bert_tokenizer())


def mm_grounding_dino() -> tuple[MMGroundingDinoForObjectDetection, GroundingDinoProcessor]:
    _, processor = grounding_dino()
    return randomised(MMGroundingDinoForObjectDetection(MMGroundingDinoConfig(**_DINO))), processor


def owlv2() -> tuple[Owlv2ForObjectDetection, Owlv2Processor]:
    config = Owlv2Config(text_config=_TEXT, vision_config=_PATCHES, projection_dim=32)
    images = Owlv2ImageProcessor(size={"height": SIDE, "width": SIDE})
    return randomised(Owlv2ForObjectDetection(config)), Owlv2Processor(images, clip_tokenizer(32))


def owlvit() -> tuple[OwlViTForObjectDetection, OwlViTProcessor]:
    config = OwlViTConfig(text_config=_TEXT, vision_config=_PATCHES, projection_dim=32)
    images = OwlViTImageProcessor(size={"height": SIDE, "width": SIDE})
    return randomised(OwlViTForObjectDetection(config)), OwlViTProcessor(images, clip_tokenizer(32))


def omdet_turbo(timm: bool = False) -> tuple[OmDetTurboForObjectDetection, OmDetTurboProcessor]:
    """With a small Swin transformer of transformers, or with timm's, as published."""
    swin = {"model_type": "timm_backbone", "backbone": "swin_tiny_patch4_window7_224", "out_indices": [1, 2, 3]}
    config = OmDetTurboConfig(
        backbone_config={**swin, "img_size": SIDE, "always_partition": True} if timm else _DINO["backbone_config"],
        apply_layernorm_after_vision_backbone=timm,
        text_config={"model_type": "clip_text_model", **_TEXT, "max_position_embeddings": 77},
        image_size=SIDE,
        text_projection_in_dim=32,
        text_projection_out_dim=32,
        task_encoder_hidden_dim=64,
        class_embed_dim=32,
        num_queries=12,
        encoder_hidden_dim=64,
        vision_features_channels=[64, 64, 64],
        encoder_in_channels=[192, 384, 768] if timm else [32, 64, 128],
        encoder_attention_heads=4,
        encoder_dim_feedforward=48,
        decoder_hidden_dim=64,
        decoder_num_heads=4,
        decoder_num_layers=2,
        decoder_dim_feedforward=48,
        decoder_num_points=2,
    )
    images = DetrImageProcessor(size={"height": SIDE, "width": SIDE}, do_pad=False)
    return randomised(OmDetTurboForObjectDetection(config)), OmDetTurboProcessor(images, clip_tokenizer(77))


DETECTORS = {
    "grounding-dino": grounding_dino,
    "mm-grounding-dino": mm_grounding_dino,
    "omdet-turbo": omdet_turbo,
    "owlv2": owlv2,
    "owlvit": owlvit,
}

# SAM 3


_SHARED = {"hidden_size": 32, "num_attention_heads": 4}
_LAYERS = {**_SHARED, "num_layers": 2, "intermediate_size": 48}
_SAM3 = {
    "vision_config": SAM3_VISION,
    "text_config": {"model_type": "clip_text_model", **_TEXT, "max_position_embeddings": 32, "projection_dim": 32},
    "geometry_encoder_config": _LAYERS,
    "detr_encoder_config": _LAYERS,
    "detr_decoder_config": {**_LAYERS, "num_queries": 8},
    "mask_decoder_config": _SHARED,
}


def sam3(seed: int = 0) -> tuple[Sam3Model, Sam3Processor]:
    images = Sam3ImageProcessor(size={"height": SIDE, "width": SIDE})
    return randomised(Sam3Model(Sam3Config(**_SAM3)), seed), Sam3Processor(images, clip_tokenizer(32))


def saved_sam3_video(folder: Path) -> Path:
    """SAM 3 as facebook/sam3 has it: the model for videos, whose parts have the names they have in it."""
    tracker = {
        "vision_config": SAM3_VISION,
        "prompt_encoder_config": _PROMPTS,
        "mask_decoder_config": _DECODER,
        "image_size": SIDE,
        "memory_attention_hidden_size": 32,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 32,
        "memory_attention_rope_feat_sizes": [8, 8],
        "memory_encoder_hidden_size": 32,
        "memory_encoder_output_channels": 16,
        "mask_downsampler_embed_dim": 32,
        "memory_fuser_num_layers": 1,
        "memory_fuser_embed_dim": 32,
        "memory_fuser_intermediate_dim": 32,
    }
    config = Sam3VideoConfig(
        detector_config={"model_type": "sam3", **_SAM3},
        tracker_config={"model_type": "sam3_tracker_video", **tracker},
    )
    model = randomised(Sam3VideoModel(config))
    model.config.save_pretrained(folder)
    weights = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})  # save_pretrained would rename some
    sam3()[1].save_pretrained(folder)
    return folder
