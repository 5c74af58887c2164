"""A small Grounding DINO with weights that are the same wherever NumPy runs."""

import numpy as np
import torch

from wsss_seed.models.grounding_dino import build_grounding_dino, build_tokenizer

CONFIG = {
    "model": {
        "hidden_dim": 64,
        "num_queries": 12,
        "num_feature_levels": 3,
        "enc_layers": 1,
        "dec_layers": 2,
        "dim_feedforward": 64,
        "nheads": 4,
        "enc_n_points": 2,
        "dec_n_points": 2,
        "query_dim": 4,
        "num_patterns": 0,
        "dropout": 0.0,
        "text_dropout": 0.0,
        "fusion_dropout": 0.0,
        "fusion_droppath": 0.0,
        "transformer_activation": "relu",
        "pre_norm": False,
        "position_embedding": "sine",
        "pe_temperatureH": 20,
        "pe_temperatureW": 20,
        "two_stage_type": "standard",
        "two_stage_bbox_embed_share": False,
        "two_stage_class_embed_share": False,
        "dec_pred_bbox_embed_share": True,
        "embed_init_tgt": True,
        "use_text_enhancer": True,
        "use_fusion_layer": True,
        "use_text_cross_attention": True,
        "use_checkpoint": False,
        "use_transformer_ckpt": False,
        "sub_sentence_present": True,
    },
    "backbone": {
        "pretrain_img_size": 64,
        "patch_size": 4,
        "embed_dim": 16,
        "depths": [1, 2, 1, 1],
        "num_heads": [2, 2, 2, 2],
        "window_size": 4,
        "drop_path_rate": 0.0,
        "out_indices": [1, 2, 3],
    },
    "text_encoder": {
        "vocab_size": 1030,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 256,
    },
    "vocabulary": "vocab.txt",
    "resize": {"short": 64, "long": 96, "least": 32},
}
WORDS = ["table", "dining", "##room", "cat", "dog", "hot", "air", "##plane", "tennis", "racket"]
WORDS += "abcdefghijklmnopqrstuvwxyz"
WORDS += [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"]
SPECIAL = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}


def vocabulary() -> list[str]:
    words = iter(WORDS)
    return [SPECIAL.get(i) or next(words, f"[unused{i}]") for i in range(1030)]


def fill(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random weights from NumPy's frozen generator; nothing stays zero, which would hide mistakes."""
    random = np.random.RandomState(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            value = torch.from_numpy(random.standard_normal(tuple(p.shape)).astype(np.float32))
            p.copy_(1 + 0.2 * value if "norm" in name.lower() and name.endswith("weight") else 0.15 * value)
    return model


def small_model(seed: int = 0) -> torch.nn.Module:
    return fill(build_grounding_dino(CONFIG, build_tokenizer(vocabulary())), seed).eval()


def picture(height: int = 70, width: int = 110, seed: int = 0) -> np.ndarray:
    """uint8 (height, width, 3)."""
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)
