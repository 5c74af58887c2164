"""The miniature Grounding DINO as transformers builds it, its vocabulary, and batches of toyland for its training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

from wsss_seed.data.toyland import CLASSES, PLACES

# Both libraries split phrases at these four tokens, which they identify by their ids in bert-base-uncased.
CLS, SEP, DOT, QUESTION = 101, 102, 1012, 1029
UNK, MASK = 100, 103
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1) * 255
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) * 255
OTHER_WORDS = [
    "a", "an", "the", "and", "of", "in", "on", "with", "to", "at", "by",
    "photo", "picture", "drawing", "image", "pattern", "toy", "scene", "object", "thing",
]  # fmt: skip
PIECES = [*"abcdefghijklmnopqrstuvwxyz0123456789-'", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789")]


def vocabulary() -> list[str]:
    """The 1030 tokens in order: toyland's words, single letters for all other words, and BERT's special tokens.

    Ids 101, 102, 1012 and 1029 are the same tokens as in bert-base-uncased; unused ids are filled up.
    """
    special = {0: "[PAD]", UNK: "[UNK]", CLS: "[CLS]", SEP: "[SEP]", MASK: "[MASK]", DOT: ".", QUESTION: "?"}
    words = iter(dict.fromkeys([*CLASSES, *PLACES, *OTHER_WORDS, *PIECES]))
    return [special.get(i) or next(words, f"[unused{i}]") for i in range(QUESTION + 1)]


def build() -> GroundingDinoForObjectDetection:
    """The untrained miniature (2.2 million parameters)."""
    swin = SwinConfig(
        image_size=128, patch_size=4, embed_dim=32, depths=[2, 2, 2, 1], num_heads=[2, 4, 4, 8], window_size=4,
        drop_path_rate=0.0, out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    bert = BertConfig(
        vocab_size=QUESTION + 1, hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=256, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return GroundingDinoForObjectDetection(
        GroundingDinoConfig(
            backbone_config=swin, text_config=bert, d_model=64, num_queries=60, num_feature_levels=3,
            encoder_layers=2, encoder_ffn_dim=256, encoder_attention_heads=4, encoder_n_points=2,
            decoder_layers=3, decoder_ffn_dim=256, decoder_attention_heads=4, decoder_n_points=4,
            dropout=0.0, fusion_droppath=0.0, fusion_dropout=0.0, text_enhancer_dropout=0.0,
            max_text_len=256, two_stage=True, embedding_init_target=True,
        )
    )  # fmt: skip


class Batch(NamedTuple):
    """Images of one shape: ``pixels`` float32 (b, 3, h, w) normalised; ``instances`` uint8 (b, h, w); ``classes``
    uint8 (b, 4) with 255 for no object; ``boxes`` float32 (b, 4, 4) cx cy w h relative to the image."""

    pixels: torch.Tensor
    instances: torch.Tensor
    classes: np.ndarray
    boxes: torch.Tensor


class Batches:
    """Augmented batches. Images of similar aspect ratio are resized to one shape, so that nothing is padded, as in
    inference on single images."""

    def __init__(self, world: dict[str, np.ndarray], size: int, neighbours: int = 300):
        self.world, self.size, self.neighbours = world, size, neighbours
        self.sizes = world["sizes"].astype(int)
        self.order = np.argsort(self.sizes[:, 1] / self.sizes[:, 0], kind="stable")

    def draw(self, rng: np.random.Generator, side: int = 128) -> Batch:
        """A batch with its longest side at ``side``."""
        at = int(rng.integers(len(self.order))) + rng.integers(-self.neighbours, self.neighbours, self.size)
        chosen = np.sort(self.order[np.clip(at, 0, len(self.order) - 1)])
        shape = tuple(int(v * side / 128 + 0.5) for v in self.sizes[chosen[0]])
        rows = [self._one(i, shape, rng) for i in chosen]
        classes = self.world["classes"][chosen].copy()
        boxes = torch.zeros(self.size, 4, 4)
        for b, (_, instances) in enumerate(rows):
            for k in range(4):
                on = instances == k + 1
                if classes[b, k] == 255 or self._hidden(on, chosen[b], k):
                    classes[b, k] = 255
                    continue
                y, x = on.any(1).nonzero()[:, 0], on.any(0).nonzero()[:, 0]
                x0, y0, x1, y1 = int(x[0]), int(y[0]), int(x[-1]) + 1, int(y[-1]) + 1
                boxes[b, k] = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])
        boxes /= torch.tensor([shape[1], shape[0]] * 2)
        pixels = torch.stack([p for p, _ in rows])
        gain = torch.from_numpy(rng.uniform(0.8, 1.2, (self.size, 3, 1, 1)).astype(np.float32))
        pixels = ((pixels * gain).clamp(0, 255) - MEAN) / STD
        return Batch(pixels, torch.stack([i for _, i in rows]), classes, boxes)

    def _hidden(self, on: torch.Tensor, index: int, k: int) -> bool:
        """Whether too little of an object is left after the crop: under 20 pixels or a third of its area."""
        whole = int((self.world["instances"][index] == k + 1).sum())
        return int(on.sum()) < max(20, 0.33 * whole * on.numel() / int(self.sizes[index].prod()))

    def _one(self, index: int, shape: Sequence[int], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        h, w = self.sizes[index]
        zoom = rng.uniform(0.75, 1.0) if rng.random() < 0.6 else 1.0
        ch, cw = round(h * zoom), round(w * zoom)
        y, x = int(rng.integers(h - ch + 1)), int(rng.integers(w - cw + 1))
        image = torch.from_numpy(np.array(self.world["images"][index, y : y + ch, x : x + cw])).permute(2, 0, 1).float()
        instances = torch.from_numpy(np.array(self.world["instances"][index, y : y + ch, x : x + cw]))
        image = F.interpolate(image[None], shape, mode="bilinear", align_corners=False)[0]
        instances = F.interpolate(instances[None, None], shape, mode="nearest-exact")[0, 0]
        if rng.random() < 0.5:
            image, instances = image.flip(2), instances.flip(1)
        return image, instances
