"""CLIP through open_clip: texts and views of an image as unit vectors in one space."""

from __future__ import annotations

import difflib
import json
import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..errors import WsssError

_BATCH = 64  # texts or views in one forward pass
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    pickle.UnpicklingError,
    SafetensorError,
)


class Clip:
    """A frozen CLIP on one device.

    Attributes:
        name: what it was loaded from.
        model: the open_clip model, float32, in evaluation mode.
        tokenizer: its tokenizer, texts to int64 (n, context_length).
        image_size: side R in pixels of the square that the image tower sees.
        context_length: tokens of a text, start and end included; longer texts are cut.
        logit_scale: learned factor of the cosines in a softmax (about 100 for OpenAI's weights).
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Callable[[list[str]], torch.Tensor],
        name: str = "clip",
        device: str | torch.device = "cpu",
    ):
        self.name = name
        self.device = torch.device(device)
        self.model = model.to(self.device).float().eval().requires_grad_(False)
        self.tokenizer = tokenizer
        size = model.visual.image_size
        height, width = size if isinstance(size, tuple | list) else (size, size)
        if height != width:
            raise WsssError(f"{name}: sees {width} x {height} pixels; use a CLIP model with square images")
        self.image_size = int(height)
        self.context_length = int(model.context_length)
        self.logit_scale = float(model.logit_scale.exp())
        mean = getattr(model.visual, "image_mean", None) or open_clip.OPENAI_DATASET_MEAN
        std = getattr(model.visual, "image_std", None) or open_clip.OPENAI_DATASET_STD
        self._mean, self._std = (torch.tensor(v, device=self.device).view(3, 1, 1) for v in (mean, std))

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Text features, float32 (n, D) of unit length, on the device."""
        tokens = self.tokenizer(list(texts)).to(self.device)
        return torch.cat([self.model.encode_text(part, normalize=True).float() for part in tokens.split(_BATCH)])

    @torch.inference_mode()
    def encode_views(self, image: np.ndarray, boxes: np.ndarray) -> torch.Tensor:
        """Standard (class-token) image features of parts of one image.

        Every box is cut out and stretched to R x R by PIL's bicubic filter, whatever its aspect ratio, as label-free
        classification (B2.3) and crop verification (B6.1) do.

        Args:
            image: uint8 (H, W, 3) RGB.
            boxes: float (n, 4) x0 y0 x1 y1 in pixels; fractions count, what lies outside the image is cut off.

        Returns:
            float32 (n, D) of unit length, on the device.

        Raises:
            ValueError: a box without area inside the image.
        """
        if len(boxes) == 0:
            return self.encode_text([""])[:0]
        pixels = torch.from_numpy(stretched(image, boxes, self.image_size)).permute(0, 3, 1, 2)
        features = []
        for part in pixels.split(_BATCH):
            normalised = (part.to(self.device).float() / 255 - self._mean) / self._std
            features.append(self.model.encode_image(normalised, normalize=True).float())
        return torch.cat(features)


def stretched(image: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
    """Each box (n, 4) of an image uint8 (H, W, 3), stretched bicubically to uint8 (n, size, size, 3).

    Raises:
        ValueError: a box without area inside the image.
    """
    source = Image.fromarray(image)
    limits = np.array([source.width, source.height] * 2, float)
    boxes = np.clip(np.asarray(boxes, float).reshape(-1, 4), 0, limits)
    if (boxes[:, 2:] <= boxes[:, :2]).any():
        raise ValueError("a view needs a box with area inside the image")
    out = np.empty((len(boxes), size, size, 3), np.uint8)
    for view, box in zip(out, boxes, strict=True):
        view[:] = np.asarray(source.resize((size, size), Image.Resampling.BICUBIC, box=tuple(box)))
    return out


def load_clip(spec: str, device: str | torch.device = "cpu") -> Clip:
    """Load CLIP weights.

    Args:
        spec: ``MODEL:PRETRAINED`` as open_clip lists them (``ViT-B-16-quickgelu:openai``), fetched and kept by
            open_clip; ``MODEL:FILE`` with a local checkpoint; or a folder with either ``clip.json``
            (the arguments of open_clip's CLIP) and ``clip.safetensors``, or open_clip's own ``open_clip_config.json``.
        device: where to put the model.

    Raises:
        WsssError: unknown names, and weights that are missing, damaged, of another model, or more than plain tensors
            (nothing is ever unpickled but tensors).
    """
    folder = Path(spec)
    if (folder / "clip.json").is_file():
        return Clip(*_read_folder(folder), name=spec, device=device)
    if (folder / "open_clip_config.json").is_file():
        return Clip(*_from_library(f"local-dir:{spec}", None), name=spec, device=device)
    model, _, pretrained = spec.partition(":")
    if folder.exists() or not pretrained:
        raise WsssError(
            f"{spec}: not a CLIP model by itself; write MODEL:PRETRAINED or MODEL:FILE, "
            "for example ViT-B-16-quickgelu:openai"
        )
    if model not in open_clip.list_models():
        near = difflib.get_close_matches(model, open_clip.list_models(), 5, 0.3)
        raise WsssError(f"unknown CLIP model '{model}'; the nearest that open_clip has: {', '.join(near) or 'none'}")
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained not in tags and not Path(pretrained).is_file():
        raise WsssError(
            f"'{pretrained}' is neither a file nor weights that open_clip has for {model}: {', '.join(tags) or 'none'}"
        )
    return Clip(*_from_library(model, pretrained), name=spec, device=device)


def _read_folder(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a ``clip.json``, whose ``bpe_path`` is relative to it."""
    weights = folder / "clip.safetensors"
    try:
        config = json.loads((folder / "clip.json").read_text("utf-8"))
        text = config["text_cfg"]
        tokenizer_kwargs = {**text["tokenizer_kwargs"], "context_length": text["context_length"]}
        tokenizer_kwargs["bpe_path"] = str(folder / tokenizer_kwargs["bpe_path"])
        tokenizer = open_clip.SimpleTokenizer(**tokenizer_kwargs)
        model = open_clip.CLIP(**config)
    except (*_UNREADABLE, AttributeError) as error:
        raise WsssError(f"{folder / 'clip.json'}: not the configuration of a CLIP ({_line(error)})") from None
    try:
        model.load_state_dict(load_file(weights))
    except _UNREADABLE as error:
        raise WsssError(f"{weights}: not the weights of {folder / 'clip.json'} ({_line(error)})") from None
    return model, tokenizer


def _from_library(model: str, pretrained: str | None) -> tuple[Any, Any]:
    """Model and tokenizer by open_clip's factory; the activation follows the weights, not only the model's name."""
    tag = open_clip.get_pretrained_cfg(model, pretrained) if pretrained else {}
    quick_gelu = bool(tag.get("quick_gelu"))
    where = f"{model}:{pretrained}" if pretrained else model.removeprefix("local-dir:")
    try:
        with _without_log():
            built = open_clip.create_model(model, pretrained, force_quick_gelu=quick_gelu, require_pretrained=True)
            return built, open_clip.get_tokenizer(model)
    except (*_UNREADABLE, ImportError) as error:
        if tag:
            named = model if not quick_gelu or "quickgelu" in model else f"{model}-quickgelu"
            raise WsssError(
                f"{where}: open_clip could not fetch or read these weights ({_line(error)}); "
                f"without a network give a local file as {named}:FILE"
            ) from None
        raise WsssError(f"{where}: not plain tensors that fit this model ({_line(error)})") from None


@contextmanager
def _without_log() -> Iterator[None]:
    """open_clip writes to the root logger what it also raises; the user gets one line, ours."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _line(error: BaseException) -> str:
    """The first sentence of an error, on one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip()[:200]
