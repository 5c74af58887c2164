"""Numbers of a small Grounding DINO under transformers 4.57, the last line that had the methods of _bert_compat itself.

pip install "transformers==4.57.*"   # in an environment of its own
python -m tests.data.make_bert457   # in the repository root
"""

from pathlib import Path

import numpy as np
import torch
import transformers

from tests.models.small_detector import picture, small_model

CAPTION = "dining table . cat . a hot dog . airplane ."


def numbers() -> dict[str, np.ndarray]:
    """Text features, token logits (without padding) and boxes for one caption and one picture."""
    from groundingdino.util.misc import nested_tensor_from_tensor_list

    from wsss_seed.models.grounding_dino import GroundingDino, Resize

    model = small_model()
    texts = []
    model.bert.register_forward_hook(lambda module, args, out: texts.append(out["last_hidden_state"]))
    detector = GroundingDino(model, Resize(64, 96, 32))
    pixels = detector.normalised([detector.resized(picture())])
    with torch.inference_mode():
        out = model(nested_tensor_from_tensor_list(pixels), captions=[CAPTION])
    tokens = texts[0].shape[1]
    return {
        "text": texts[0][0].numpy(),
        "logits": out["pred_logits"][0, :, :tokens].numpy(),
        "boxes": out["pred_boxes"][0].numpy(),
    }


if __name__ == "__main__":
    from transformers import BertModel

    assert transformers.__version__.startswith("4.57"), transformers.__version__
    assert hasattr(BertModel, "get_head_mask")
    np.savez_compressed(Path(__file__).with_name("bert457.npz"), **numbers())
    print({k: v.shape for k, v in numbers().items()})
