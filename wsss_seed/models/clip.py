"""CLIP through open_clip: features of texts and image crops."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import open_clip
import torch
import transformers
from huggingface_hub.constants import HF_HUB_CACHE
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

from ..errors import CheckpointError, WsssError, one_line
from . import hub
from .cache import offline
from .merging import merged
from .precision import IMAGES, AdaptiveBatch, computing
from .torchscript import is_torchscript, read_torchscript
from .towers import ImageTower, LastBlock, Patches, TextTower, Tower
from .weight_files import UNREADABLE, check_sizes

_TEXTS = 64  # in one forward pass
_VIEWS = {"cpu": 4, "cuda": 64}  # the same; on a CPU, few enough for its cache: 3.0 s for 14 views instead of 3.9


class Clip:
    """A frozen CLIP on one device.

    Attributes:
        name: what it was loaded from.
        model: the open_clip model, float32, in evaluation mode.
        precision: precision of ``encode_views``: ``fp32`` or ``fp16``; texts, class activation maps and learned prompts
            are always float32. bf16 is replaced, because at a logit scale of 100 its rounding shifts logits by up to
            0.5, that of fp16 by an eighth of it: by fp16 on a GPU, by fp32 on a CPU, where fp16 is hundreds of times
            slower without instructions for it.
        tokenizer: maps texts to int64 (n, context_length).
        image_size: side R in pixels of the square input of the image tower.
        context_length: tokens per text, start and end included; longer texts are truncated.
        logit_scale: learned factor on cosine similarities (about 100 for OpenAI's weights).
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Callable[[list[str]], torch.Tensor],
        name: str = "clip",
        device: str | torch.device = "cpu",
        precision: str = "fp32",
    ):
        self.name = name
        self.device = torch.device(device)
        instead = "fp32" if self.device.type == "cpu" else "fp16"
        self.precision = instead if precision == "bf16" else precision
        self._views = AdaptiveBatch("views for CLIP")
        self.model = model.to(self.device).float().eval().requires_grad_(False)
        self.tokenizer = tokenizer
        size = model.visual.image_size
        height, width = size if isinstance(size, tuple | list) else (size, size)
        if height != width:
            raise CheckpointError(
                f"{name}: has inputs of {width} x {height} pixels; use a CLIP model with square inputs"
            )
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
        with computing(self.device):
            return torch.cat([_unit(self.model.encode_text(part)) for part in tokens.split(_TEXTS)])

    @torch.inference_mode()
    def encode_views(self, image: np.ndarray, boxes: np.ndarray) -> torch.Tensor:
        """Class-token features of crops of one image.

        Each crop is resized to R x R with PIL's bicubic filter regardless of its aspect ratio, as label-free
        classification and crop verification need it.

        Args:
            image: uint8 (H, W, 3) RGB.
            boxes: float (n, 4) x0 y0 x1 y1 in pixels, with subpixel accuracy, clipped to the image.

        Returns:
            float32 (n, D) of unit length, on the device.

        Raises:
            ValueError: a box without area inside the image.
        """
        if len(boxes) == 0:
            return self.encode_text([""])[:0]
        return self._encode_views(torch.from_numpy(resized_crops(image, boxes, self.image_size)).permute(0, 3, 1, 2))

    @merged
    @torch.inference_mode()
    def _encode_views(self, views: list[torch.Tensor]) -> list[torch.Tensor]:
        """Features (n, D) of the views uint8 (n, 3, R, R) of each image."""
        found: list[torch.Tensor] = []
        for start in range(0, len(views), IMAGES[self.device.type]):
            some = views[start : start + IMAGES[self.device.type]]
            with computing(self.device, self.precision):
                parts = self._views.map(self._encode_pixels, torch.cat(some), _VIEWS[self.device.type])
                found += torch.cat(list(parts)).split([len(of_image) for of_image in some])
        return found

    def _encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        return _unit(self.model.encode_image(self.normalise(pixels)))

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels 0..255 of any dtype as normalised float32 (N, 3, H, W) on the device."""
        return (pixels.to(self.device).float() / 255 - self._mean) / self._std

    def prepare(self, image: np.ndarray, max_side: int | None = None) -> torch.Tensor:
        """One whole image for ``encode_tokens``, float32 (1, 3, H, W).

        Each side is rounded up to a multiple of the patch size and the image resized to that with PIL's bicubic filter,
        as in FMA-WSSS and CLIP-ES.

        Args:
            image: uint8 (H, W, 3) RGB.
            max_side: limit on the longer side before rounding, as the memory of attention grows with its fourth power;
                None for no limit.
        """
        height, width = image.shape[:2]
        reduction = min(1.0, (max_side or np.inf) / max(height, width))
        patch = self.patch_size
        rows, columns = (max(1, -(-round(side * reduction) // patch)) for side in (height, width))
        size = (columns * patch, rows * patch)
        resized = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        return self.normalise(torch.from_numpy(resized).permute(2, 0, 1)[None])

    @cached_property
    def _image_tower(self) -> ImageTower:
        return ImageTower(self.model.visual, self.name)

    @cached_property
    def _text_tower(self) -> TextTower:
        return TextTower(self.model, self.name)

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels. Raises WsssError for an image tower without usable patch tokens."""
        return self._image_tower.patch_size

    def require_patches(self) -> None:
        """Raise WsssError for an image tower without usable patch tokens."""
        _ = self._image_tower

    @property
    def heads(self) -> int:
        """Attention heads of the image tower's last block."""
        return int(self._image_tower.blocks[-1].attn.num_heads)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all weights, which ties learned prompts to their model."""
        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.no_grad()
    def encode_tokens(self, pixels: torch.Tensor, attention_blocks: int = 0) -> Tower:
        """The image tower up to its last block, without gradients, for any open_clip vision transformer and input size.

        Args:
            pixels: float (N, 3, H, W), normalised; sides are multiples of ``patch_size``.
            attention_blocks: number of last blocks, the very last included, over which to average the attention that
                ``Tower.attention`` then has: 8 in FMA-WSSS; all if there are fewer.

        Raises:
            WsssError: an image tower that is not a plain vision transformer of open_clip.
            ValueError: sides that are not multiples of the patch size.
        """
        with computing(self.device):
            return self._image_tower.forward(pixels.to(self.device), attention_blocks)

    @torch.inference_mode()
    def encode_patches(self, image: np.ndarray, max_side: int | None = None) -> Patches:
        """What each patch of an image shows; see ``ImageTower.patches``. Always float32.

        Args:
            image: uint8 (H, W, 3) RGB.
            max_side: see ``prepare``.

        Raises:
            WsssError: an image tower that is not a plain vision transformer of open_clip.
        """
        with computing(self.device):
            return self._image_tower.patches(self.prepare(image, max_side))

    def last_block(self, tower: Tower) -> torch.Tensor:
        """Image features, float32 (N, D) of unit length: mean of the patch tokens after ``ln_post``, projected.

        Unlike ``encode_views``, which uses the class token.
        """
        return self._image_tower.features(tower)

    def open_last_block(self, tower: Tower) -> LastBlock:
        """The last block, for gradients with respect to the output of its first LayerNorm."""
        return LastBlock(self._image_tower, tower)

    def token_embedding(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token embeddings, float32 (..., Dt), of int64 tokens."""
        result: torch.Tensor = self._text_tower.table(tokens.to(self.device))
        return result

    def text_features(self, embeddings: torch.Tensor, eos: torch.Tensor) -> torch.Tensor:
        """Text features of unit length, float32 (G, D), differentiable in the embeddings.

        Args:
            embeddings: float (G, T, Dt) of the tokens, without positions.
            eos: int64 (G,) indices of the end tokens.

        Raises:
            WsssError: a text tower whose feature is not taken at the end token.
        """
        return self._text_tower.features(embeddings, eos.to(self.device))


def _unit(features: torch.Tensor) -> torch.Tensor:
    """Features as float32 of unit length."""
    return F.normalize(features.float(), dim=-1)


def resized_crops(image: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
    """Crops (n, 4) of an image uint8 (H, W, 3), resized bicubically to uint8 (n, size, size, 3).

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


def load_clip(spec: str, device: str | torch.device = "cpu", precision: str = "fp32") -> Clip:
    """Load CLIP weights.

    Args:
        spec: ``MODEL:PRETRAINED`` as open_clip lists them (``ViT-B-16-quickgelu:openai``), downloaded and cached by
            open_clip; ``MODEL:FILE`` with a local checkpoint, OpenAI's own files among them; or a folder with either
            ``clip.json`` (the arguments of open_clip's CLIP) and ``clip.safetensors``, or open_clip's own
            ``open_clip_config.json``.
        device: device of the model.
        precision: precision of ``encode_views``.

    Raises:
        WsssError: unknown names, or weights that are missing, damaged, of another model, or contain more than plain
            tensors (nothing but tensors is ever unpickled).
    """
    folder = Path(spec)
    if (folder / "clip.json").is_file():
        return Clip(*_read_folder(folder), spec, device, precision)
    if (folder / "open_clip_config.json").is_file():
        return Clip(*_from_library(f"local-dir:{spec}", None), spec, device, precision)
    return Clip(*_from_library(*_names(spec)), spec, device, precision)


def fetch_pretrained(spec: str) -> Path:
    """Download weights that open_clip lists, and what else ``load_clip`` takes from the hub: the tokenizer (SigLIP's,
    for one) and the configuration of some text towers. Afterwards the model loads without a network.

    Args:
        spec: ``MODEL:PRETRAINED``.

    Returns:
        The file of the weights, in the cache of open_clip or huggingface_hub.

    Raises:
        WsssError: unknown names, or a failed download.
    """
    model, pretrained = _names(spec)
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    _check_offline(spec, tag)
    try:
        with _download(spec, tag), _without_log():
            weights = Path(open_clip.download_pretrained(tag)) if tag else Path(pretrained)
            text = (open_clip.get_model_config(model) or {}).get("text_cfg", {})
            if text.get("hf_model_name"):
                transformers.AutoConfig.from_pretrained(text["hf_model_name"], trust_remote_code=False)
            open_clip.get_tokenizer(model)
            return weights
    except UNREADABLE as error:
        raise CheckpointError(_cannot_fetch(model, pretrained, tag, error)) from None


def cached_weights(spec: str) -> Path | None:
    """The file of weights that open_clip lists in huggingface_hub's cache; None if it has to be downloaded.

    Args:
        spec: ``MODEL:PRETRAINED``.

    Raises:
        WsssError: unknown names.
    """
    tag = open_clip.get_pretrained_cfg(*_names(spec)) or {}
    repository, _, file = tag.get("hf_hub", "").rpartition("/")
    for name in [file] if file else ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]:
        found = huggingface_hub.try_to_load_from_cache(repository, name) if repository else None
        if isinstance(found, str):
            return Path(found)
    return None


@contextmanager
def _download(spec: str, tag: Mapping[str, Any]) -> Iterator[None]:
    """Log that open_clip will download weights from the hub, if it will. Raises ConnectionError without a network."""
    repository = (tag or {}).get("hf_hub", "").rpartition("/")[0]
    if not repository or offline() or cached_weights(spec) is not None:
        yield
        return
    with hub.downloading(spec):
        hub.knock(repository)
        yield


def _names(spec: str) -> tuple[str, str]:
    """Split ``MODEL:PRETRAINED`` or ``MODEL:FILE`` and check that open_clip knows them."""
    model, _, pretrained = spec.partition(":")
    if Path(spec).exists() or not pretrained:
        raise CheckpointError(
            f"{spec}: not a CLIP model by itself; write MODEL:PRETRAINED or MODEL:FILE, "
            "for example ViT-B-16-quickgelu:openai"
        )
    if model not in open_clip.list_models():
        near = difflib.get_close_matches(model, open_clip.list_models(), 5, 0.3)
        raise CheckpointError(
            f"unknown CLIP model '{model}'; the nearest that open_clip has: {', '.join(near) or 'none'}"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained not in tags and not Path(pretrained).is_file():
        raise CheckpointError(
            f"'{pretrained}' is neither a file nor weights that open_clip has for {model}: {', '.join(tags) or 'none'}"
        )
    return model, pretrained


def _check_offline(spec: str, tag: dict[str, Any]) -> None:
    """Raise WsssError where open_clip would download although offline: only downloads from the hub respect that."""
    forbidden = offline()
    if forbidden and tag and not tag.get("hf_hub"):
        path = Path("~/.cache/clip").expanduser() / tag["url"].rpartition("/")[2]
        if not path.is_file():
            raise CheckpointError(
                f"{spec}: no file {path}, and offline (--offline or {forbidden} is set); put the file of "
                f"{tag['url']} there, or give a local file as MODEL:FILE"
            )


def _cannot_fetch(model: str, pretrained: str, tag: dict[str, Any], error: BaseException) -> str:
    named = f"{model}-quickgelu" if tag.get("quick_gelu") and "quickgelu" not in model else model
    repository = tag.get("hf_hub", "").rpartition("/")[0]
    forbidden = offline()
    if forbidden and repository:
        folder = Path(HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
        reason = f"not complete in {folder}, and offline (--offline or {forbidden} is set)"
    else:
        reason = f"open_clip could not fetch or read these weights ({one_line(error)})"
    return (
        f"{model}:{pretrained}: {reason}; fetch them with wsss-seed models pull {model}:{pretrained} where there is a "
        f"network, or give a local file as {named}:FILE"
    )


def _read_folder(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a ``clip.json``, whose ``bpe_path`` is relative to it."""
    weights = folder / "clip.safetensors"
    try:
        config = json.loads((folder / "clip.json").read_text("utf-8"))
        check_sizes(config, folder / "clip.json", weights)
        text = config["text_cfg"]
        tokenizer_kwargs = {**text["tokenizer_kwargs"], "context_length": text["context_length"]}
        tokenizer_kwargs["bpe_path"] = str(folder / tokenizer_kwargs["bpe_path"])
        tokenizer = open_clip.SimpleTokenizer(**tokenizer_kwargs)
        model = open_clip.CLIP(**config)
    except WsssError:
        raise
    except UNREADABLE as error:
        raise CheckpointError(f"{folder / 'clip.json'}: not the configuration of a CLIP ({one_line(error)})") from None
    try:
        model.load_state_dict(load_file(weights))
    except UNREADABLE as error:
        raise CheckpointError(f"{weights}: not the weights of {folder / 'clip.json'} ({one_line(error)})") from None
    return model, tokenizer


def _from_library(model: str, pretrained: str | None) -> tuple[Any, Any]:
    """Model and tokenizer from open_clip's factory; the activation follows the weights, not only the model's name."""
    tag = open_clip.get_pretrained_cfg(model, pretrained) if pretrained else {}
    quick_gelu = bool(tag.get("quick_gelu"))
    where = f"{model}:{pretrained}" if pretrained else model.removeprefix("local-dir:")
    _check_offline(where, tag)
    try:
        with _download(where, tag), _without_log():
            weights = _openai_weights(Path(pretrained)) if pretrained and not tag else None
            if weights is not None:
                built = open_clip.create_model(model)
                missing = built.load_state_dict(weights, strict=False).missing_keys
                if missing:
                    raise ValueError(f"{len(missing)} tensors are missing: {', '.join(missing[:3])}")
                return built, open_clip.get_tokenizer(model)
            built = open_clip.create_model(model, pretrained, force_quick_gelu=quick_gelu, require_pretrained=True)
            return built, open_clip.get_tokenizer(model)
    except UNREADABLE as error:
        if tag and pretrained:
            raise CheckpointError(_cannot_fetch(model, pretrained, tag, error)) from None
        raise CheckpointError(
            f"{where}: not plain tensors that fit this model ({one_line(error)}); give this model's weights, or fetch "
            "them again"
        ) from None


def _openai_weights(path: Path) -> dict[str, torch.Tensor] | None:
    """Tensors of a checkpoint in OpenAI's format: a TorchScript archive, which open_clip would not open safely, or a
    state dict with ``input_resolution`` and other numbers among the weights; None for any other file."""
    if is_torchscript(path):
        return read_torchscript(path)
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UNREADABLE:
        return None  # open_clip reads more formats, and reports errors
    inner = weights.get("state_dict", weights) if isinstance(weights, dict) else None
    if not isinstance(inner, dict) or not any(isinstance(value, torch.Tensor) for value in inner.values()):
        raise ValueError("it contains no named tensors")
    return weights if "input_resolution" in weights else None


@contextmanager
def _without_log() -> Iterator[None]:
    """Suppress what open_clip logs on top of raising it, where that would be printed without being asked for."""
    if logging.root.handlers:
        yield
        return
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
