"""Segmentation networks of segmentation_models_pytorch and transformers behind one interface."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from ..config import NonNegativeFloat, NonNegativeInt, PositiveInt
from ..data.classes import IGNORE
from ..errors import CheckpointError, WsssError, one_line, out_of_memory, unknown_name
from ..io.extras import install_command
from ..models.cache import offline

STRIDE = 32
"""Inputs have sides that are multiples of this; ``Network.forward`` pads to them."""


@dataclass(frozen=True)
class NetworkSettings:
    """Network architecture.

    Attributes:
        name: ``deeplabv3plus``, ``upernet``, ``segformer``, ``hf-segformer`` or ``mask2former``.
        encoder: encoder of the network, by its name in the library that provides it.
        decoder_channels: width of the decoder; 0 for the library's default.
        output_stride: output stride of the encoder of deeplabv3plus, 8 or 16.
        atrous_rates: three dilation rates of the atrous convolutions of deeplabv3plus.
        aux_loss_weight: weight of the loss of an auxiliary FCN head on the encoder's second-last feature map; 0 for no
            auxiliary head.
        num_queries: object queries of mask2former.
    """

    OWNER: ClassVar[str] = "train-seg"
    name: str = "deeplabv3plus"
    encoder: str = "resnet101"
    decoder_channels: NonNegativeInt = 0
    output_stride: PositiveInt = 16
    atrous_rates: tuple[PositiveInt, ...] = (12, 24, 36)
    aux_loss_weight: NonNegativeFloat = 0.0
    num_queries: PositiveInt = 100


class Network(nn.Module):
    """A network from normalised images float32 (N, 3, H, W) of any size to logits (N, C, H, W).

    Attributes:
        backbone: prefix of the names of the encoder's parameters.
        weighted: whether ``loss`` supports weights per pixel.
    """

    backbone: str
    weighted = True

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits of C classes, background first, at the size of the input; softmax gives probabilities."""
        height, width = pixels.shape[-2:]
        padded = F.pad(pixels, (0, -width % STRIDE, 0, -height % STRIDE))
        return self.logits(padded)[..., :height, :width]

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """``forward`` for sides that are multiples of ``STRIDE``."""
        raise NotImplementedError

    def loss(self, pixels: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """Loss terms by name, whose sum is minimised.

        Args:
            pixels: float32 (N, 3, H, W), normalised; H and W multiples of ``STRIDE``.
            labels: int64 (N, H, W), 255 ignore.
            weights: float32 (N, H, W) of each pixel; None for uniform weights.
        """
        return {"loss": pixel_loss(self.logits(pixels), labels, weights)}


def pixel_loss(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Weighted mean of the cross-entropy over labelled pixels; 0 where there are none."""
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    shares = (labels != IGNORE).to(losses.dtype) if weights is None else weights * (labels != IGNORE)
    return (losses * shares).sum() / shares.sum().clamp(min=1e-6)


class SmpNetwork(Network):
    """A model of segmentation_models_pytorch, optionally with an auxiliary FCN head for training."""

    backbone = "model.encoder."

    def __init__(self, model: Any, classes: int, auxiliary: float) -> None:
        super().__init__()
        self.model, self.weight = model, auxiliary
        if auxiliary:
            from torchvision.models.segmentation.fcn import FCNHead

            self.auxiliary = FCNHead(model.encoder.out_channels[-2], classes)

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.model(pixels)
        return out

    def loss(self, pixels: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> dict[str, torch.Tensor]:
        if not self.weight:
            return super().loss(pixels, labels, weights)
        features = self.model.encoder(pixels)
        logits = self.model.segmentation_head(self.model.decoder(features))
        auxiliary = F.interpolate(self.auxiliary(features[-2]), labels.shape[-2:], mode="bilinear")
        return {
            "loss": pixel_loss(logits, labels, weights),
            "loss_auxiliary": self.weight * pixel_loss(auxiliary, labels, weights),
        }


class HfSegformer(Network):
    """SegFormer of transformers; its logits, at a quarter of the size, are upsampled."""

    backbone = "model.segformer."

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        return F.interpolate(self.model(pixels).logits, pixels.shape[-2:], mode="bilinear")


class Mask2Former(Network):
    """Mask2Former (arXiv 2112.01527) of transformers, with one target mask per class.

    Inference is its semantic post-processing: the score of a class at a pixel is the sum over the queries of class
    probability times mask probability. ``logits`` are the logarithms of these scores, so that argmax is unchanged and
    softmax normalises them.
    """

    backbone = "model.model.pixel_level_module.encoder."
    weighted = False

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        out = self.model(pixels)
        masks = F.interpolate(out.masks_queries_logits.float(), pixels.shape[-2:], mode="bilinear")
        classes = out.class_queries_logits.float().softmax(-1)[..., :-1]
        return torch.einsum("nqc,nqhw->nchw", classes, masks.sigmoid()).clamp(min=1e-8).log()

    def loss(self, pixels: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """The set loss of the library, with ignored pixels.

        The library does not support an ignore label. Here mask logits at ignored pixels are replaced by a large
        negative constant, which is correct for every target, so that matching, loss and gradient do not depend on them.
        """
        out = self.model(pixels, output_auxiliary_logits=True)
        known = [i for i in range(len(labels)) if (labels[i] != IGNORE).any()]
        if not known:
            return {"loss": (out.masks_queries_logits.sum() + out.class_queries_logits.sum()) * 0}
        present = [torch.unique(labels[i][labels[i] != IGNORE]) for i in known]
        targets = [
            (labels[i][None] == classes[:, None, None]).float() for i, classes in zip(known, present, strict=True)
        ]
        ignored = (labels[known] == IGNORE)[:, None].float()
        ignored = F.adaptive_max_pool2d(ignored, out.masks_queries_logits.shape[-2:]) > 0

        def masked(masks: torch.Tensor) -> torch.Tensor:
            return masks[known].float().masked_fill(ignored, -20.0)

        auxiliary = [
            {
                "masks_queries_logits": masked(layer["masks_queries_logits"]),
                "class_queries_logits": layer["class_queries_logits"][known].float(),
            }
            for layer in out.auxiliary_logits
        ]
        parts = self.model.get_loss_dict(
            masked(out.masks_queries_logits), out.class_queries_logits[known].float(), targets, present, auxiliary
        )
        kinds = {"loss_classes": "cross_entropy", "loss_masks": "loss_mask", "loss_dice": "dice"}
        return {name: sum(value for key, value in parts.items() if kind in key) for name, kind in kinds.items()}


def build(settings: NetworkSettings, classes: int, weights: str = "none") -> Network:
    """Build a network.

    Args:
        settings: network settings.
        classes: C, background included.
        weights: encoder weights: ``imagenet`` for the published ones, downloaded or from the library's cache, ``none``
            for random ones, or a file of encoder weights (segmentation_models_pytorch) or a folder of a transformers
            model.

    Raises:
        WsssError: an unknown network or encoder, a library that is not installed, or weights that cannot be loaded.
    """
    if settings.name not in NETWORKS:
        raise unknown_name("network", settings.name, NETWORKS)
    try:
        network = NETWORKS[settings.name](settings, classes, weights)
    except ImportError as error:
        remedy = install_command("segmenter")
        raise CheckpointError(f"network {settings.name} needs {error.name or error}: {remedy}") from None
    return network.to(memory_format=torch.channels_last)  # faster convolutions on GPUs


def _smp(settings: NetworkSettings, classes: int, weights: str) -> Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm's, about its own deprecated names
        import segmentation_models_pytorch as smp
        import timm

        name = settings.encoder
        known = [*smp.encoders.encoders, *(f"tu-{model}" for model in timm.list_models())]
        if name not in known and name.split(".")[0] not in known:
            raise _unknown_encoder(settings, [*smp.encoders.encoders, "tu-<model of timm>"], known)
        options: dict[str, Any] = {}
        if settings.name == "deeplabv3plus":
            options = {"encoder_output_stride": settings.output_stride, "decoder_atrous_rates": settings.atrous_rates}
        width = "decoder_segmentation_channels" if settings.name == "segformer" else "decoder_channels"
        if settings.decoder_channels:
            options[width] = settings.decoder_channels
        architecture = {"deeplabv3plus": smp.DeepLabV3Plus, "upernet": smp.UPerNet, "segformer": smp.Segformer}[
            settings.name
        ]
        try:
            model = architecture(name, encoder_weights=None, classes=classes, **options)
        except (KeyError, ValueError, RuntimeError, NotImplementedError, AttributeError) as error:
            why = one_line(error)
            raise CheckpointError(
                f"network {settings.name} does not support encoder {name} ({why}); choose another"
            ) from None
        if weights == "imagenet":
            model = _pretrained(
                name, weights, lambda: architecture(name, encoder_weights=weights, classes=classes, **options)
            )
    if weights not in ("imagenet", "none"):
        _load_encoder(model.encoder, Path(weights), name)
    return SmpNetwork(model, classes, settings.aux_loss_weight)


_SWIN_SIZES: dict[str, dict[str, Any]] = {
    "swin-tiny": {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7},
    "swin-small": {"embed_dim": 96, "depths": [2, 2, 18, 2], "num_heads": [3, 6, 12, 24], "window_size": 7},
    "swin-base": {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": 12},
    "swin-large": {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48], "window_size": 12},
}
_SWIN_WEIGHTS = {
    "swin-tiny": "microsoft/swin-tiny-patch4-window7-224",
    "swin-small": "microsoft/swin-small-patch4-window7-224",
    "swin-base": "microsoft/swin-base-patch4-window12-384-in22k",
    "swin-large": "microsoft/swin-large-patch4-window12-384-in22k",
}


def _mask2former(settings: NetworkSettings, classes: int, weights: str) -> Network:
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinBackbone, SwinConfig

    size = _SWIN_SIZES.get(settings.encoder)
    if size is None:
        raise _unknown_encoder(settings, _SWIN_SIZES)
    stages = {"drop_path_rate": 0.3, "out_features": ["stage1", "stage2", "stage3", "stage4"]}
    backbone = SwinConfig(**{**size, **stages})
    options: dict[str, Any] = {"num_labels": classes, "num_queries": settings.num_queries}
    if settings.decoder_channels:
        options |= dict.fromkeys(("hidden_dim", "feature_size", "mask_feature_size"), settings.decoder_channels)
    config = Mask2FormerConfig(backbone_config=backbone, **options)
    model = _quiet(lambda: Mask2FormerForUniversalSegmentation(config))
    if weights != "none":
        source = _SWIN_WEIGHTS.get(settings.encoder, weights) if weights == "imagenet" else weights
        encoder = _pretrained(
            settings.encoder,
            source,
            lambda: SwinBackbone.from_pretrained(source, config=backbone, trust_remote_code=False),
        )
        model.model.pixel_level_module.encoder = encoder
    return Mask2Former(model)


_MIT_SIZES: dict[str, dict[str, Any]] = {
    f"mit-b{i}": {
        "depths": depths,
        "hidden_sizes": [32, 64, 160, 256] if i == 0 else [64, 128, 320, 512],
        "decoder_hidden_size": 256 if i < 2 else 768,
    }
    for i, depths in enumerate(([2, 2, 2, 2], [2, 2, 2, 2], [3, 4, 6, 3], [3, 4, 18, 3], [3, 8, 27, 3], [3, 6, 40, 3]))
}


def _hf_segformer(settings: NetworkSettings, classes: int, weights: str) -> Network:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerModel

    size = _MIT_SIZES.get(settings.encoder)
    if size is None:
        raise _unknown_encoder(settings, _MIT_SIZES)
    width = {"decoder_hidden_size": settings.decoder_channels} if settings.decoder_channels else {}
    config = SegformerConfig(**{**size, **width, "num_labels": classes})
    model = _quiet(lambda: SegformerForSemanticSegmentation(config))
    if weights != "none":
        source = f"nvidia/{settings.encoder}" if weights == "imagenet" else weights
        model.segformer = _pretrained(
            settings.encoder,
            source,
            lambda: SegformerModel.from_pretrained(source, config=config, trust_remote_code=False),
        )
    return HfSegformer(model)


NETWORKS: Mapping[str, Callable[[NetworkSettings, int, str], Network]] = {
    "deeplabv3plus": _smp,
    "upernet": _smp,
    "segformer": _smp,
    "hf-segformer": _hf_segformer,
    "mask2former": _mask2former,
}


def _unknown_encoder(settings: NetworkSettings, shown: Any, known: Any = None) -> WsssError:
    import difflib

    near = difflib.get_close_matches(settings.encoder, list(known or shown), 1, 0.5)
    hint = f". Did you mean '{near[0]}'?" if near else ""
    return CheckpointError(f"unknown encoder '{settings.encoder}' of {settings.name}; known: {', '.join(shown)}{hint}")


def _pretrained(encoder: str, source: str, load: Callable[[], Any]) -> Any:
    try:
        return _quiet(load)
    except ImportError:
        raise
    except Exception as error:
        forbidden = offline()
        why = one_line(error)
        if forbidden and not Path(source).exists():
            why = f"not in the cache, and offline (--offline or {forbidden} is set)"
        raise CheckpointError(
            f"pretrained weights of encoder {encoder} ({source}) cannot be loaded: {why}; give "
            "`encoder_weights` a file, or none to train from random weights"
        ) from None


def _quiet(make: Callable[[], Any]) -> Any:
    """``make()`` without the library's warnings about unused weights."""
    log = logging.getLogger("transformers")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        return make()
    finally:
        log.setLevel(level)


def _load_encoder(encoder: nn.Module, path: Path, name: str) -> None:
    remedy = "give `encoder_weights` weights of this encoder"
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file of encoder weights; give `encoder_weights` imagenet, none or a file"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        encoder.load_state_dict(state)
    except Exception as error:
        if out_of_memory(error):
            raise
        raise CheckpointError(f"{path}: not the weights of encoder {name} ({one_line(error)}); {remedy}") from None
