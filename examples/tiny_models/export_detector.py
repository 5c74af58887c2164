"""Convert a detector trained with transformers to groundingdino's names and write it in the bundled format.

    python export_detector.py --checkpoint runs/detector/checkpoint.pt --out ../../wsss_seed/models/tiny

Writes detector.json (the full configuration), detector.safetensors (half precision) and vocab.txt.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detector_model import build, vocabulary
from safetensors.torch import save
from torch import Tensor

from wsss_seed.models.grounding_dino import build_grounding_dino, build_tokenizer, load_weights

# Applied in order to each name; transformers' q, k and v are one tensor in groundingdino.
_IN = r"^model\.backbone\.conv_encoder\.model\."
_SWIN = (
    (_IN + r"hidden_states_norms\.stage1\.", "backbone.0.norm0."),
    (_IN + r"hidden_states_norms\.stage2\.", "backbone.0.norm1."),
    (_IN + r"hidden_states_norms\.stage3\.", "backbone.0.norm2."),
    (_IN + r"hidden_states_norms\.stage4\.", "backbone.0.norm3."),
    (_IN + r"swin\.embeddings\.patch_embeddings\.projection\.", "backbone.0.patch_embed.proj."),
    (_IN + r"swin\.embeddings\.", "backbone.0.patch_embed."),
    (_IN + r"swin\.encoder\.", "backbone.0."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.relative_position_bias\.", ".attn."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.attention\.([qkv])_proj\.", r".attn.<\1>qkv."),
)
_DETECTOR = (
    (r"^model\.input_proj_vision\.", "input_proj."),
    (r"^model\.text_projection\.", "feat_map."),
    (r"^model\.query_position_embeddings\.", "transformer.tgt_embed."),
    (r"^model\.encoder_output_bbox_embed\.", "transformer.enc_out_bbox_embed."),
    (r"^model\.(level_embed$|enc_output)", r"transformer.\1"),
    (r"^model\.encoder\.layers\.(\d+)\.text_enhancer_layer\.", r"transformer.encoder.text_layers.\1."),
    (r"^model\.encoder\.layers\.(\d+)\.fusion_layer\.", r"transformer.encoder.fusion_layers.\1."),
    (r"^model\.encoder\.layers\.(\d+)\.deformable_layer\.", r"transformer.encoder.layers.\1."),
    (r"^model\.decoder\.layer_norm\.", "transformer.decoder.norm."),
    (r"^model\.decoder\.reference_points_head\.", "transformer.decoder.ref_point_head."),
    (r"^model\.decoder\.", "transformer.decoder."),
    (r"(text_layers\.\d+\.)layer_norm_before\.", r"\1norm1."),
    (r"(text_layers\.\d+\.)layer_norm_after\.", r"\1norm2."),
    (r"(fusion_layers\.\d+\.)vision_param", r"\1gamma_v"),
    (r"(fusion_layers\.\d+\.)text_param", r"\1gamma_l"),
    (r"(fusion_layers\.\d+\.layer_norm_)vision", r"\1v"),
    (r"(fusion_layers\.\d+\.layer_norm_)text", r"\1l"),
    (r"(fusion_layers\.\d+\.attn\.(?:values_|out_)?)vision_proj", r"\1v_proj"),
    (r"(fusion_layers\.\d+\.attn\.(?:values_|out_)?)text_proj", r"\1l_proj"),
    (r"(\.encoder\.layers\.\d+\.)self_attn_layer_norm\.", r"\1norm1."),
    (r"(\.encoder\.layers\.\d+\.)final_layer_norm\.", r"\1norm2."),
    (r"(decoder\.layers\.\d+\.)encoder_attn_text_layer_norm\.", r"\1catext_norm."),
    (r"(decoder\.layers\.\d+\.)encoder_attn_text\.", r"\1ca_text."),
    (r"(decoder\.layers\.\d+\.)encoder_attn_layer_norm\.", r"\1norm1."),
    (r"(decoder\.layers\.\d+\.)encoder_attn\.", r"\1cross_attn."),
    (r"(decoder\.layers\.\d+\.)self_attn_layer_norm\.", r"\1norm2."),
    (r"(decoder\.layers\.\d+\.)final_layer_norm\.", r"\1norm3."),
    (r"\.fc1\.", ".linear1."),
    (r"\.fc2\.", ".linear2."),
    (r"((?:ca_text|self_attn)\.)([qkv])(?:uery|ey|alue)\.", r"\1<\2>in_proj_"),
)


def to_groundingdino(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of transformers' GroundingDinoForObjectDetection (5.23) under groundingdino-py 0.4.0's names."""
    out: dict[str, Tensor] = {}
    split: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        if ".swin.layernorm." in name:  # belongs to a pooled output that the detector does not use
            continue
        if name.startswith("model.text_backbone."):
            out[name.replace("model.text_backbone.", "bert.", 1)] = tensor
            continue
        for pattern, new in _SWIN if ".conv_encoder." in name else _DETECTOR:
            name = re.sub(pattern, new, name)
        if part := re.search("<([qkv])>", name):
            split.setdefault(name.replace(part[0], ""), {})[part[1]] = tensor
        else:
            out[name] = tensor
    return out | {name: torch.cat([parts[c] for c in "qkv"]) for name, parts in split.items()}


def configuration(model: Any) -> dict[str, Any]:
    """groundingdino's configuration of a model of transformers, as ``build_grounding_dino`` takes it."""
    c, swin, bert = model.config, model.config.backbone_config, model.config.text_config
    return {
        "model": {
            "hidden_dim": c.d_model, "num_queries": c.num_queries, "num_feature_levels": c.num_feature_levels,
            "enc_layers": c.encoder_layers, "dec_layers": c.decoder_layers, "dim_feedforward": c.encoder_ffn_dim,
            "nheads": c.encoder_attention_heads, "enc_n_points": c.encoder_n_points, "dec_n_points": c.decoder_n_points,
            "query_dim": c.query_dim, "num_patterns": 0, "dropout": 0.0, "text_dropout": 0.0, "fusion_dropout": 0.0,
            "fusion_droppath": 0.0, "transformer_activation": c.activation_function, "pre_norm": False,
            "position_embedding": c.position_embedding_type, "pe_temperatureH": c.positional_embedding_temperature,
            "pe_temperatureW": c.positional_embedding_temperature, "two_stage_type": "standard",
            "two_stage_bbox_embed_share": False, "two_stage_class_embed_share": False,
            "dec_pred_bbox_embed_share": c.decoder_bbox_embed_share, "embed_init_tgt": c.embedding_init_target,
            "use_text_enhancer": True, "use_fusion_layer": True, "use_text_cross_attention": True,
            "use_checkpoint": False, "use_transformer_ckpt": False, "sub_sentence_present": True,
        },
        "backbone": {
            "pretrain_img_size": swin.image_size, "patch_size": swin.patch_size, "embed_dim": swin.embed_dim,
            "depths": swin.depths, "num_heads": swin.num_heads, "window_size": swin.window_size, "drop_path_rate": 0.0,
            "out_indices": [int(name.removeprefix("stage")) - 1 for name in swin.out_features],
        },
        "text_encoder": {
            "vocab_size": bert.vocab_size, "hidden_size": bert.hidden_size, "num_hidden_layers": bert.num_hidden_layers,
            "num_attention_heads": bert.num_attention_heads, "intermediate_size": bert.intermediate_size,
            "max_position_embeddings": bert.max_position_embeddings,
        },
        "vocabulary": "vocab.txt",
        "resize": {"short": 128, "long": 128, "least": 32},
    }  # fmt: skip


def export(weights: Mapping[str, Tensor], out: Path) -> None:
    """Write weights of ``detector_model.build`` as a folder that ``load_grounding_dino`` reads."""
    config = configuration(build())
    model = build_grounding_dino(config, build_tokenizer(vocabulary()))
    load_weights(model, to_groundingdino(weights))
    out.mkdir(parents=True, exist_ok=True)
    kept, seen = {}, set()
    for name, tensor in model.state_dict().items():
        if "pooler" in name or not tensor.is_floating_point():
            continue
        if tensor.data_ptr() not in seen:  # the box head is stored under several names
            seen.add(tensor.data_ptr())
            kept[name] = tensor.half().contiguous()
    (out / "detector.json").write_text(json.dumps(config, indent=1) + "\n")
    (out / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
    (out / "detector.safetensors").write_bytes(save(kept))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/detector/checkpoint.pt"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "wsss_seed/models/tiny")
    args = parser.parse_args()
    state = torch.load(args.checkpoint, weights_only=True, map_location="cpu")
    export(state["mean"], args.out)
    print(f"{args.out}: weights after step {state['step']}")
