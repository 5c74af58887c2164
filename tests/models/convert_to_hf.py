"""The miniatures' weights under the names that transformers gives the same tensors."""

import re

import torch
from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

_SAM = [
    (r"^image_encoder\.", "vision_encoder."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"\.blocks\.", ".layers."),
    (r"neck\.0\.", "neck.conv1."),
    (r"neck\.1\.", "neck.layer_norm1."),
    (r"neck\.2\.", "neck.conv2."),
    (r"neck\.3\.", "neck.layer_norm2."),
    (r"\.norm(\d|_final_attn)\.", r".layer_norm\1."),
    (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"mask_downscaling\.6\.", "mask_embed.conv3."),
    (r"point_embeddings\.", "point_embed."),
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"output_upscaling\.3\.", "upscale_conv2."),
    (r"((?:mlps\.\d+|iou_prediction_head))\.layers\.0\.", r"\1.proj_in."),
    (r"((?:mlps\.\d+|iou_prediction_head))\.layers\.2\.", r"\1.proj_out."),
    (r"((?:mlps\.\d+|iou_prediction_head))\.layers\.1\.", r"\1.layers.0."),
]


def renamed(weights: dict[str, torch.Tensor], rules: list[tuple[str, str]]) -> dict[str, torch.Tensor]:
    out = {}
    for name, tensor in weights.items():
        for pattern, to in rules:
            name = re.sub(pattern, to, name)
        assert name not in out, name
        out[name] = tensor
    return out


def sam_to_hf(model: torch.nn.Module, config: dict) -> tuple[SamModel, SamProcessor]:
    """segment_anything's model, made from such a configuration as sam.json, as transformers' SamModel."""
    encoder, prompts, decoder = config["image_encoder"], config["prompt_encoder"], config["mask_decoder"]
    side = encoder["img_size"]
    own = SamModel(
        SamConfig(
            vision_config={
                "hidden_size": encoder["embed_dim"],
                "num_hidden_layers": encoder["depth"],
                "num_attention_heads": encoder["num_heads"],
                "mlp_ratio": float(encoder["mlp_ratio"]),
                "image_size": side,
                "patch_size": encoder["patch_size"],
                "output_channels": encoder["out_chans"],
                "window_size": encoder["window_size"],
                "global_attn_indexes": encoder["global_attn_indexes"],
                "num_pos_feats": prompts["embed_dim"] // 2,
            },
            prompt_encoder_config={
                "hidden_size": prompts["embed_dim"],
                "image_size": side,
                "patch_size": encoder["patch_size"],
                "mask_input_channels": prompts["mask_in_chans"],
            },
            mask_decoder_config={
                "hidden_size": prompts["embed_dim"],
                "num_hidden_layers": config["transformer"]["depth"],
                "num_attention_heads": config["transformer"]["num_heads"],
                "mlp_dim": config["transformer"]["mlp_dim"],
                "iou_head_depth": decoder["iou_head_depth"],
                "iou_head_hidden_dim": decoder["iou_head_hidden_dim"],
                "layer_norm_eps": 1e-5,  # segment_anything's; transformers' default is another
            },
        )
    )
    weights = renamed(model.state_dict(), _SAM)
    weights["shared_image_embedding.positional_embedding"] = weights[
        "prompt_encoder.shared_embedding.positional_embedding"
    ]
    own.load_state_dict(weights)
    images = SamImageProcessor(
        size={"longest_edge": side},
        pad_size={"height": side, "width": side},
        image_mean=[v / 255 for v in config["pixel_mean"]],
        image_std=[v / 255 for v in config["pixel_std"]],
    )
    return own.eval(), SamProcessor(images)
