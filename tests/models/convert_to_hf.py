"""The miniatures' weights under the names that transformers gives the same tensors."""

import re

import torch
from transformers import (
    BertTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    SamConfig,
    SamImageProcessor,
    SamModel,
    SamProcessor,
)

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


_SWIN = "model.backbone.conv_encoder.model."
_DINO = [
    (r"^backbone\.(?:joiner\.)?0\.", "backbone.0."),
    (r"^backbone\.0\.patch_embed\.proj\.", f"{_SWIN}swin.embeddings.patch_embeddings.projection."),
    (r"^backbone\.0\.patch_embed\.norm\.", f"{_SWIN}swin.embeddings.norm."),
    (r"^backbone\.0\.layers\.", f"{_SWIN}swin.encoder.layers."),
    (r"(blocks\.\d+)\.norm1\.", r"\1.layernorm_before."),
    (r"(blocks\.\d+)\.norm2\.", r"\1.layernorm_after."),
    (r"attn\.relative_position_bias_table", "attention.relative_position_bias.relative_position_bias_table"),
    (r"(blocks\.\d+)\.attn\.(q|k|v)\.", r"\1.attention.\2_proj."),
    (r"(blocks\.\d+)\.attn\.proj\.", r"\1.attention.o_proj."),
    (r"^backbone\.0\.norm1\.", f"{_SWIN}hidden_states_norms.stage2."),
    (r"^backbone\.0\.norm2\.", f"{_SWIN}hidden_states_norms.stage3."),
    (r"^backbone\.0\.norm3\.", f"{_SWIN}hidden_states_norms.stage4."),
    (r"^input_proj\.", "model.input_proj_vision."),
    (r"^bert\.(?:bert\.)?", "model.text_backbone."),
    (r"^feat_map\.", "model.text_projection."),
    (r"^transformer\.", "model."),
    (r"\.tgt_embed\.", ".query_position_embeddings."),
    (r"\.enc_out_bbox_embed\.", ".encoder_output_bbox_embed."),
    (r"\.fusion_layers\.(\d+)\.", r".layers.\1.fusion_layer."),
    (r"gamma_v$", "vision_param"),
    (r"gamma_l$", "text_param"),
    (r"layer_norm_v\.", "layer_norm_vision."),
    (r"layer_norm_l\.", "layer_norm_text."),
    (r"fusion_layer\.attn\.(values_|out_)?v_proj", r"fusion_layer.attn.\1vision_proj"),
    (r"fusion_layer\.attn\.(values_|out_)?l_proj", r"fusion_layer.attn.\1text_proj"),
    (r"\.text_layers\.(\d+)\.", r".layers.\1.text_enhancer_layer."),
    (r"text_enhancer_layer\.norm1\.", "text_enhancer_layer.layer_norm_before."),
    (r"text_enhancer_layer\.norm2\.", "text_enhancer_layer.layer_norm_after."),
    (r"^model\.encoder\.layers\.(\d+)\.(self_attn|norm|linear)", r"model.encoder.layers.\1.deformable_layer.\2"),
    (r"deformable_layer\.norm1\.", "deformable_layer.self_attn_layer_norm."),
    (r"deformable_layer\.norm2\.", "deformable_layer.final_layer_norm."),
    (r"^model\.decoder\.norm\.", "model.decoder.layer_norm."),
    (r"\.ref_point_head\.", ".reference_points_head."),
    (r"(decoder\.layers\.\d+)\.cross_attn\.", r"\1.encoder_attn."),
    (r"(decoder\.layers\.\d+)\.norm1\.", r"\1.encoder_attn_layer_norm."),
    (r"(decoder\.layers\.\d+)\.norm2\.", r"\1.self_attn_layer_norm."),
    (r"(decoder\.layers\.\d+)\.norm3\.", r"\1.final_layer_norm."),
    (r"\.ca_text\.", ".encoder_attn_text."),
    (r"\.catext_norm\.", ".encoder_attn_text_layer_norm."),
    (r"\.linear(\d)\.", r".fc\1."),
    (r"((?:self_attn|encoder_attn_text))\.q\.", r"\1.query."),
    (r"((?:self_attn|encoder_attn_text))\.k\.", r"\1.key."),
    (r"((?:self_attn|encoder_attn_text))\.v\.", r"\1.value."),
]
# Buffers that transformers computes itself, and BERT's pooler, whose output nobody reads.
_LEFT_OUT = ("relative_position_index", "position_ids", "pooler.dense.weight", "pooler.dense.bias")


def _divided(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The projections of attention that the one library keeps as one tensor and the other as three."""
    out = {}
    for name, tensor in weights.items():
        whole = re.fullmatch(r"(.*)\.(?:qkv\.|in_proj_)(weight|bias)", name)
        if whole:
            out |= {f"{whole[1]}.{part}.{whole[2]}": t for part, t in zip("qkv", tensor.chunk(3), strict=True)}
        else:
            out[name] = tensor
    return out


def dino_to_hf(
    model: torch.nn.Module, config: dict, words: list[str]
) -> tuple[GroundingDinoForObjectDetection, GroundingDinoProcessor]:
    """groundingdino's model, made from such a configuration as detector.json, as transformers'."""
    own, swin = config["model"], config["backbone"]
    converted = GroundingDinoForObjectDetection(
        GroundingDinoConfig(
            backbone_config={
                "model_type": "swin",
                "image_size": swin["pretrain_img_size"],
                "patch_size": swin["patch_size"],
                "embed_dim": swin["embed_dim"],
                "depths": swin["depths"],
                "num_heads": swin["num_heads"],
                "window_size": swin["window_size"],
                "out_indices": [i + 1 for i in swin["out_indices"]],
            },
            text_config={"model_type": "bert", **config["text_encoder"]},
            d_model=own["hidden_dim"],
            num_queries=own["num_queries"],
            num_feature_levels=own["num_feature_levels"],
            encoder_layers=own["enc_layers"],
            encoder_ffn_dim=own["dim_feedforward"],
            encoder_attention_heads=own["nheads"],
            encoder_n_points=own["enc_n_points"],
            decoder_layers=own["dec_layers"],
            decoder_ffn_dim=own["dim_feedforward"],
            decoder_attention_heads=own["nheads"],
            decoder_n_points=own["dec_n_points"],
            positional_embedding_temperature=own["pe_temperatureH"],
        )
    )
    weights = {n: t for n, t in model.state_dict().items() if not n.endswith(_LEFT_OUT)}
    report = converted.load_state_dict(renamed(_divided(weights), _DINO), strict=False)
    assert not report.unexpected_keys, report.unexpected_keys
    assert all("swin.layernorm" in n for n in report.missing_keys), report.missing_keys  # of the last layer, not read
    resize = config["resize"]
    images = GroundingDinoImageProcessor(size={"shortest_edge": resize["short"], "longest_edge": resize["long"]})
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(words)}, do_lower_case=True)
    return converted.eval(), GroundingDinoProcessor(images, tokenizer)
