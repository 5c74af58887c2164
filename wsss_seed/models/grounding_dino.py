"""Grounding DINO through groundingdino: an image is encoded once for any number of captions."""

from __future__ import annotations

import importlib.util
import json
import pickle
import sys
import threading
import warnings
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from tokenizers import BertWordPieceTokenizer
from torch import Tensor, nn
from transformers import AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from ..errors import CheckpointError, WsssError, one_line
from ._bert_compat import supply
from .detector import (
    Phrase,
    Queries,
    ScoreMap,
    class_scores,
    pixel_boxes,
    unique_phrases,
    write_captions,
)
from .detector import merged as merged_queries
from .grounding_dino_forward import Grid, Text, detect, encode_images, encode_text, grid_of, padded
from .merging import merged
from .precision import IMAGES, AdaptiveBatch, computing, store_half, with_memory
from .weight_files import UNREADABLE, check_sizes

A = TypeVar("A")
B = TypeVar("B")

_PACKAGE = "groundingdino.models.GroundingDINO"
_CONFIGS = Path(str(files(__package__))) / "configs"
_SIZES = {96: "grounding_dino_swint.json", 128: "grounding_dino_swinb.json"}  # by the width of the patch embedding
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TEXTS_KEPT, _SIZES_KEPT = 64, 4  # captions and sizes of images that are remembered
# What grounding_dino_forward relies on; the published models have it.
_REQUIRED = {
    "two_stage_type": "standard",
    "embed_init_tgt": True,
    "use_fusion_layer": True,
    "use_text_enhancer": True,
    "use_text_cross_attention": True,
    "sub_sentence_present": True,
}
# Not needed from a checkpoint: buffers that the model computes itself, and BERT's pooler, whose output is not used.
_NOT_NEEDED = ("relative_position_index", "position_ids", "pooler.dense.weight", "pooler.dense.bias")


# The library ------------------------------------------------------------------------------------------------------


@contextmanager
def _replaced(owner: Any, **values: Any) -> Iterator[None]:
    """Context manager that temporarily sets attributes of an object."""
    before = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings of torch and timm about deprecated calls in groundingdino."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _no_drawing() -> Iterator[None]:
    """Replace groundingdino's visualizer by an empty module while the model's modules are imported.

    They import a drawing class that they never use, and with it OpenCV, matplotlib and the system libraries these need.
    Later imports of the visualizer get the real one.
    """
    name = "groundingdino.util.visualizer"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = blank = ModuleType(name)
    blank.COCOVisualizer = None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del sys.modules[name]


@cache
def _library() -> SimpleNamespace:
    """The parts of groundingdino that build a model.

    Raises:
        WsssError: groundingdino, or a library it needs, cannot be imported.
    """
    try:
        with _no_drawing(), _quiet():
            from groundingdino.models.GroundingDINO import groundingdino as model
            from groundingdino.models.GroundingDINO import transformer
            from groundingdino.models.GroundingDINO.backbone import backbone, position_encoding, swin_transformer
            from groundingdino.models.GroundingDINO.bertwarper import (
                generate_masks_with_special_tokens_and_transfer_map,
            )
            from groundingdino.util.misc import NestedTensor
    except (ImportError, OSError) as error:
        raise CheckpointError(
            f"groundingdino cannot be imported ({one_line(error)}); a missing lib*.so is a system library "
            "(Debian, Ubuntu: apt-get install libgl1 libglib2.0-0), a missing module a Python package "
            "(pip install --force-reinstall groundingdino-py)"
        ) from None
    return SimpleNamespace(
        model=model,
        transformer=transformer,
        Joiner=backbone.Joiner,
        SwinTransformer=swin_transformer.SwinTransformer,
        build_position_encoding=position_encoding.build_position_encoding,
        NestedTensor=NestedTensor,
        phrases_of_tokens=generate_masks_with_special_tokens_and_transfer_map,
    )


def check_library() -> None:
    """Raise WsssError where groundingdino, or a library it needs, cannot be imported."""
    _library()


@cache
def _transformer_of_width(width: int) -> ModuleType:
    """groundingdino's transformer module for a hidden width.

    Its sine embeddings hard-code the width 256. Other widths get a copy of the module with two adapted embedding
    functions; the library's own module is not changed.
    """
    library = _library()
    if width == 256:
        result: ModuleType = library.transformer
        return result
    name = f"{_PACKAGE}._transformer_{width}"
    spec = importlib.util.spec_from_file_location(name, library.transformer.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    embed = module.get_sine_pos_embed

    def of_text(positions: Tensor, num_pos_feats: int = width, exchange_xy: bool = True) -> Tensor:
        result: Tensor = embed(positions, num_pos_feats=width, exchange_xy=exchange_xy)
        return result

    module.get_sine_pos_embed = of_text  # type: ignore[attr-defined]
    module.gen_sineembed_for_position = partial(embed, num_pos_feats=width // 2)  # type: ignore[attr-defined]
    return module


# The detector -----------------------------------------------------------------------------------------------------


class Resize(NamedTuple):
    """Size of resized images: shorter side ``short`` pixels, unless the longer side would exceed ``long``.

    An image whose shorter side would fall below ``least`` becomes ``long`` x ``least``: a thinner strip would have
    fewer feature cells than the model has queries.
    """

    short: int = 800
    long: int = 1333
    least: int = 64

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width for an image, with groundingdino's rounding (``RandomResize([short], max_size=long)``)."""
        low, high = min(height, width), max(height, width)
        short = self.short
        if high / low * short > self.long:
            short = round(self.long * low / high)
        long = int(short * high / low)
        if short < self.least:
            short, long = self.least, self.long
        return (long, short) if width < height else (short, long)


class GroundingDino:
    """A frozen Grounding DINO on one device.

    Attributes:
        name: what it was loaded from.
        model: groundingdino's model in evaluation mode; linear layers and convolutions in ``precision``, the
            rest in float32.
        device: device of the model.
        resize: size of resized images.
        precision: precision of the model: ``fp32``, ``bf16`` or ``fp16``.
    """

    def __init__(
        self,
        model: Any,
        resize: Resize | None = None,
        name: str = "grounding-dino",
        device: str | torch.device = "cpu",
        precision: str = "fp32",
    ):
        self.name = name
        self.precision = precision
        self.device = torch.device(device)
        self.resize = resize or Resize()
        self.model = model.float().eval().requires_grad_(False)
        store_half(self.model, precision)
        self.model.to(self.device)
        self._mean, self._std = (torch.tensor(v, device=self.device).view(3, 1, 1) for v in (_MEAN, _STD))
        self._texts: OrderedDict[str, Text] = OrderedDict()
        self._grids: OrderedDict[tuple[tuple[int, int], ...], Grid] = OrderedDict()
        self._last = threading.local()
        self._images, self._queries = AdaptiveBatch("images for Grounding DINO"), AdaptiveBatch("captions for it")

    def detect(
        self,
        image: np.ndarray,
        phrases: Sequence[Sequence[str]],
        *,
        joint: bool = True,
        score: ScoreMap = "span_mean_max",
    ) -> Queries:
        """Detect classes in one image; see ``Detector``.

        The image is resized and normalised as in groundingdino's own inference. The backbone runs once per image for
        any number of captions and of consecutive calls of a thread with the same array, which must not be modified in
        between; BERT runs once per caption for all images.

        Raises:
            WsssError: a phrase exceeds the length of the text encoder.
        """
        height, width = image.shape[:2]
        maps = self._feature_maps(image)
        named = unique_phrases(phrases)
        groups = [named]
        if not joint:
            groups = [[Phrase(p.text, (c,)) for p in named if c in p.classes] for c in range(len(phrases))]
        parts = []
        for caption in (c for group in groups for c in write_captions(group, self._count)):
            probabilities, boxes = self._ask((maps, caption.text))
            offsets = self.model.tokenizer(caption.text, return_offsets_mapping=True)["offset_mapping"]
            parts.append(
                Queries(
                    pixel_boxes(boxes, height, width),
                    probabilities.max(1),
                    class_scores(probabilities, caption, offsets, len(phrases), score),
                )
            )
        return merged_queries(parts, len(phrases))

    def _count(self, text: str) -> int:
        return len(self.model.tokenizer.tokenize(text))

    def _feature_maps(self, image: np.ndarray) -> list[Tensor]:
        """Feature maps of an image, float32 (1, C, h, w) per level; remembered for further calls of this thread."""
        if getattr(self._last, "image", None) is not image:
            self._last.maps = self._encode(self.resized(image))
            self._last.image = image
        maps: list[Tensor] = self._last.maps
        return maps

    def resized(self, image: np.ndarray) -> np.ndarray:
        """An image uint8 (H, W, 3), resized as in groundingdino's own inference."""
        height, width = self.resize.size(*image.shape[:2])
        return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))

    def normalised(self, images: Sequence[np.ndarray]) -> Tensor:
        """Images of equal size, uint8 (H, W, 3), as float32 (B, 3, H, W) on the device."""
        pixels = torch.from_numpy(np.stack(images)).to(self.device).permute(0, 3, 1, 2).float() / 255
        return (pixels - self._mean) / self._std

    @merged
    @torch.inference_mode()
    def _encode(self, images: list[np.ndarray]) -> list[list[Tensor]]:
        """Feature maps of each resized image; those of equal size are encoded together."""

        def encode(some: list[np.ndarray]) -> list[list[Tensor]]:
            maps = with_memory(lambda: encode_images(self.model, _library().NestedTensor, self.normalised(some)))
            return [list(levels) for levels in zip(*(level.split(1) for level in maps), strict=True)]

        with _quiet(), computing(self.device, self.precision):
            return self._by_size(self._images, encode, images, lambda image: image.shape)

    @merged
    @torch.inference_mode()
    def _ask(self, questions: list[tuple[list[Tensor], str]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """For the feature maps of an image and a caption: probabilities of its tokens, float32 (n, T), and boxes
        cx cy w h relative to the image, float32 (n, 4). Images of equal size are asked together."""

        def ask(some: list[tuple[list[Tensor], str]]) -> list[tuple[np.ndarray, np.ndarray]]:
            maps = [torch.cat(levels) for levels in zip(*(maps for maps, _ in some), strict=True)]
            texts = [self._text(caption) for _, caption in some]
            found = with_memory(lambda: detect(self.model, maps, self._grid(maps), padded(texts)))
            scores, boxes = (x.float().cpu().numpy() for x in found)
            return [(s[:, : t.real.shape[1]], b) for s, b, t in zip(scores, boxes, texts, strict=True)]

        with _quiet(), computing(self.device, self.precision):
            return self._by_size(self._queries, ask, questions, lambda question: question[0][0].shape)

    def _by_size(
        self,
        batch: AdaptiveBatch,
        function: Callable[[list[A]], list[B]],
        items: list[A],
        size: Callable[[A], Hashable],
    ) -> list[B]:
        """``function`` of items, those of equal size together; results in the order of the items."""
        same: dict[Hashable, list[int]] = {}
        for i, item in enumerate(items):
            same.setdefault(size(item), []).append(i)
        found: dict[int, B] = {}
        for rows in same.values():
            parts = batch.map(function, [items[i] for i in rows], IMAGES[self.device.type])
            found.update(zip(rows, (result for part in parts for result in part), strict=True))
        return [found[i] for i in range(len(items))]

    def _grid(self, maps: Sequence[Tensor]) -> Grid:
        shapes = tuple((level.shape[2], level.shape[3]) for level in maps)
        if shapes not in self._grids:
            _keep(self._grids, shapes, grid_of(self.model, _library().NestedTensor, maps), _SIZES_KEPT)
        return self._grids[shapes]

    def _text(self, caption: str) -> Text:
        if caption not in self._texts:
            tokens = self.model.tokenizer([caption], return_tensors="pt")
            related, positions, _ = _library().phrases_of_tokens(
                tokens, self.model.specical_tokens, self.model.tokenizer
            )
            inputs = (x.to(self.device) for x in (tokens["input_ids"], related, positions))
            _keep(self._texts, caption, encode_text(self.model, *inputs), _TEXTS_KEPT)
        return self._texts[caption]


def _keep(cache: OrderedDict[A, B], key: A, value: B, limit: int) -> None:
    """Remember a value, and forget the oldest ones beyond a limit."""
    cache[key] = value
    while len(cache) > limit:
        cache.popitem(last=False)


# Loading ----------------------------------------------------------------------------------------------------------


def build_grounding_dino(config: Mapping[str, Any], tokenizer: Any) -> nn.Module:
    """groundingdino's model with random weights.

    Args:
        config: ``model``, groundingdino's configuration with its own names; ``backbone``, the arguments of its
            SwinTransformer; ``text_encoder``, the arguments of transformers' BertConfig.
        tokenizer: a fast tokenizer of transformers.

    Raises ValueError for a configuration of another kind of model.
    """
    library = _library()
    args = Namespace(**config["model"])
    for key, value in _REQUIRED.items():
        if getattr(args, key) != value:
            raise ValueError(f"model.{key} = {getattr(args, key)}: a Grounding DINO has {value}")
    with _quiet():
        swin = library.SwinTransformer(**config["backbone"])
    joiner = library.Joiner(swin, library.build_position_encoding(args))
    joiner.num_channels = [swin.num_features[i] for i in swin.out_indices]
    bert = supply(BertModel(BertConfig(**config["text_encoder"])))
    transformer = _transformer_of_width(args.hidden_dim).build_transformer(args)
    texts = {"get_tokenlizer": lambda _: tokenizer, "get_pretrained_language_model": lambda _: bert}
    with _replaced(library.model.get_tokenlizer, **texts):  # else it would download bert-base-uncased
        result: nn.Module = library.model.GroundingDINO(
            joiner,
            transformer,
            num_queries=args.num_queries,
            aux_loss=False,
            iter_update=True,
            query_dim=args.query_dim,
            num_feature_levels=args.num_feature_levels,
            nheads=args.nheads,
            dec_pred_bbox_embed_share=args.dec_pred_bbox_embed_share,
            two_stage_type=args.two_stage_type,
            two_stage_bbox_embed_share=args.two_stage_bbox_embed_share,
            two_stage_class_embed_share=args.two_stage_class_embed_share,
            dn_number=0,
            sub_sentence_present=args.sub_sentence_present,
        )
        return result


def build_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """BERT's uncased tokenizer with a vocabulary in the order of its ids."""
    vocabulary = {word: i for i, word in enumerate(words)}
    special = {"unk_token": "[UNK]", "sep_token": "[SEP]", "cls_token": "[CLS]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=BertWordPieceTokenizer(vocab=vocabulary, lowercase=True, **special)._tokenizer,
        pad_token="[PAD]",
        mask_token="[MASK]",
        **special,
    )


def load_grounding_dino(spec: str | Path, device: str | torch.device = "cpu", precision: str = "fp32") -> GroundingDino:
    """Load a model.

    Args:
        spec: a folder with ``detector.json`` (see ``build_grounding_dino``, with ``vocabulary``, a file beside it, and
            ``resize``) and ``detector.safetensors``; or a checkpoint of groundingdino's Swin-T or Swin-B
            (such as ``groundingdino_swint_ogc.pth``), distinguished by their weights; BERT's ``vocab.txt`` is read from
            the same folder or else from transformers' cache or hub.
        device: device of the model.
        precision: precision of the model.

    Raises:
        WsssError: weights that are missing, damaged, of another model, or contain more than plain tensors (nothing but
            tensors is ever unpickled).
    """
    check_library()  # before any file could be blamed
    path = Path(spec)
    model, resize = _read_folder(path) if path.is_dir() else _read_checkpoint(path)
    return GroundingDino(model, resize, str(spec), device, precision)


def _read_folder(folder: Path) -> tuple[nn.Module, Resize]:
    path, weights = folder / "detector.json", folder / "detector.safetensors"
    try:
        config = json.loads(path.read_text("utf-8"))
        check_sizes({key: config[key] for key in config if key != "resize"}, path, weights)
        words = (folder / config["vocabulary"]).read_text("utf-8").splitlines()
        model = build_grounding_dino(config, build_tokenizer(words))
        resize = Resize(**config["resize"])
    except WsssError:
        raise
    except UNREADABLE as error:
        raise CheckpointError(f"{path}: not the configuration of a Grounding DINO ({one_line(error)})") from None
    try:
        load_weights(model, load_file(weights))
    except UNREADABLE as error:
        raise CheckpointError(f"{weights}: not the weights of {path} ({one_line(error)}); install it again") from None
    return model, resize


def _read_checkpoint(path: Path) -> tuple[nn.Module, Resize]:
    remedy = "download groundingdino_swint_ogc.pth or groundingdino_swinb_cogcoor.pth again"
    if not path.is_file():
        raise CheckpointError(f"{path}: no such Grounding DINO checkpoint; {remedy}")
    try:
        if path.suffix == ".safetensors":
            checkpoint = load_file(path)
        else:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: damaged, or contains more than plain tensors and was not opened; {remedy}"
        ) from None
    except UNREADABLE as error:
        raise CheckpointError(f"{path}: damaged Grounding DINO checkpoint ({one_line(error)}); {remedy}") from None
    weights = checkpoint.get("model", checkpoint) if isinstance(checkpoint, dict) else None
    weights = {str(k).removeprefix("module."): v for k, v in weights.items()} if isinstance(weights, dict) else {}
    first = weights.get("backbone.0.patch_embed.proj.weight")
    size = _SIZES.get(first.shape[0]) if isinstance(first, Tensor) and first.ndim == 4 else None
    if size is None:
        raise CheckpointError(f"{path}: not a checkpoint of Grounding DINO Swin-T or Swin-B; {remedy}")
    config = json.loads((_CONFIGS / size).read_text("utf-8"))
    model = build_grounding_dino(config, _published_tokenizer(path.parent / "vocab.txt", config["vocabulary"]))
    try:
        load_weights(model, weights)
    except UNREADABLE as error:
        raise CheckpointError(
            f"{path}: not the weights of {size.removesuffix('.json')} ({one_line(error)}); {remedy}"
        ) from None
    return model, Resize(**config["resize"])


def _published_tokenizer(beside: Path, name: str) -> Any:
    if beside.is_file():
        try:
            return build_tokenizer(beside.read_text("utf-8").splitlines())
        except UNREADABLE as error:
            raise CheckpointError(
                f"{beside}: not a vocabulary of BERT ({one_line(error)}); put the vocab.txt of {name} there"
            ) from None
    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except UNREADABLE as error:
        raise CheckpointError(
            f"{beside}: no such file, and transformers could not fetch the vocabulary of {name} ({one_line(error)}); "
            f"offline, put the vocab.txt of {name} there"
        ) from None


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load weights of any precision; a tensor with several names in the model may be given under any of them.

    Raises:
        ValueError: weights are missing.
        RuntimeError: weights have another shape.
    """
    missing = model.load_state_dict(weights, strict=False).missing_keys
    own = model.state_dict()
    given = {own[name].data_ptr() for name in weights if name in own}
    missing = [n for n in missing if own[n].data_ptr() not in given and not n.endswith(_NOT_NEEDED)]
    if missing:
        raise ValueError(f"{len(missing)} tensors are missing, first {missing[0]}")
