"""What other projects do with the same weights, to measure beside it: the libraries' own code, in float32.

Sources: ``SamAutomaticMaskGenerator`` and ``SamPredictor`` of segment_anything; ``predict`` of groundingdino, in the
loop of Grounded-SAM's demo (arXiv 2401.14159); the maps of CLIP-ES (arXiv 2212.09506) as in its released code.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling.image_encoder import Attention
from torch.nn import functional as F
from torchvision.ops import box_convert

from ..errors import CheckpointError, one_line
from .clip import Clip
from .grounding_dino import _MEAN, _STD, GroundingDino, _quiet
from .sam import Sam

_BOX, _TEXT = 0.35, 0.25  # thresholds of groundingdino's demo


def library_sam(sam: Sam) -> Any:
    """A copy in float32 with segment_anything's own attention."""
    model = copy.deepcopy(sam.model).float()
    for block in model.image_encoder.blocks:
        block.attn.__class__ = Attention
    return model


def image_encoder(model: Any) -> Callable[[np.ndarray], torch.Tensor]:
    """The embedding of an image by SamPredictor, float32 (1, C, h, w).

    Args:
        model: from ``library_sam``.
    """
    predictor = SamPredictor(model)

    @torch.inference_mode()
    def run(image: np.ndarray) -> torch.Tensor:
        predictor.set_image(image)
        found: torch.Tensor = predictor.get_image_embedding()
        return found

    return run


def mask_generator(model: Any, **settings: Any) -> Callable[[np.ndarray], Any]:
    """Mask proposals of an image by segment_anything's generator.

    Args:
        model: from ``library_sam``.
        settings: arguments of ``SamAutomaticMaskGenerator``.
    """
    generator = SamAutomaticMaskGenerator(model, output_mode="coco_rle", **settings)
    return lambda image: generator.generate(image)


def grounded_sam(
    detector: GroundingDino, model: Any, phrases: Sequence[str], best: int | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """The loop of Grounded-SAM's demo: groundingdino's ``predict``, then SamPredictor on its boxes.

    Args:
        detector: the detector.
        model: from ``library_sam``.
        phrases: phrases of the caption.
        best: keep this number of boxes instead of those above the demo's thresholds; for random weights.

    Returns:
        A function from an image to its masks, bool (n, H, W).
    """
    try:
        import groundingdino.datasets.transforms as T
        from groundingdino.util.inference import predict
    except (ImportError, OSError) as error:
        raise CheckpointError(
            f"groundingdino's own inference cannot be imported ({one_line(error)}); leave out `peers`"
        ) from None
    library = copy.deepcopy(detector.model).float()
    library.bert.register_forward_pre_hook(
        lambda _, args, options: (args, {**options, "return_dict": True}), with_kwargs=True
    )
    asked = library if best is None else _Best(library, best)
    box, text = (_BOX, _TEXT) if best is None else (0.0, 0.0)
    resize = T.RandomResize([detector.resize.short], max_size=detector.resize.long)
    transform = T.Compose([resize, T.ToTensor(), T.Normalize(list(_MEAN), list(_STD))])
    caption = " . ".join(phrases)
    predictor = SamPredictor(model)

    def run(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        pixels, _ = transform(Image.fromarray(image), None)
        with _quiet():
            boxes, _, _ = predict(asked, pixels, caption, box, text, device=str(detector.device))
        predictor.set_image(image)
        xyxy = box_convert(boxes * torch.tensor([width, height, width, height]), "cxcywh", "xyxy")
        if not len(xyxy):
            return np.zeros((0, height, width), bool)
        scaled = predictor.transform.apply_boxes_torch(xyxy, (height, width)).to(detector.device)
        masks, _, _ = predictor.predict_torch(None, None, scaled, multimask_output=False)
        found: np.ndarray = masks[:, 0].cpu().numpy()
        return found

    return run


class _Best:
    """groundingdino's model, of whose queries only the best have logits above minus infinity."""

    def __init__(self, model: Any, best: int) -> None:
        self._model, self._best = model, best
        self.tokenizer = model.tokenizer

    def to(self, device: Any) -> _Best:
        self._model.to(device)
        return self

    def __call__(self, *args: Any, **options: Any) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = self._model(*args, **options)
        logits = found["pred_logits"]
        rows = logits[0].amax(1).topk(min(self._best, logits.shape[1])).indices
        kept = torch.full_like(logits, -torch.inf)
        kept[0, rows] = logits[0, rows]
        return {**found, "pred_logits": kept}


def clip_es_maps(clip: Clip, text: torch.Tensor, classes: Sequence[int]) -> Callable[[np.ndarray], torch.Tensor]:
    """The maps of CLIP-ES: the image tower once, then for each class the last block forward and backward.

    Args:
        clip: the model.
        text: float32 (G, D) of unit length, of the classes present and of background prompts.
        classes: rows of ``text`` to make maps of.

    Returns:
        A function from an image to its maps, float32 (C, h, w).
    """
    visual = clip.model.visual
    last = visual.transformer.resblocks[-1]

    def run(image: np.ndarray) -> torch.Tensor:
        tower = clip.encode_tokens(clip.prepare(image), 8)
        found = []
        for c in classes:
            with torch.enable_grad(), torch.autocast(clip.device.type, enabled=False):
                activations = last.ln_1(tower.tokens).requires_grad_()
                x = tower.tokens + last.attention(activations)
                x = x + last.mlp(last.ln_2(x))
                feature = F.normalize(visual.ln_post(x)[:, 1:].mean(1) @ visual.proj, dim=-1)
                probability = (clip.logit_scale * feature @ text.T).softmax(1)[0, c]
                (gradient,) = torch.autograd.grad(probability, activations)
            found.append((activations.detach()[0, 1:] @ gradient[0, 1:].mean(0)).view(tower.grid))
        return torch.stack(found)

    return run
