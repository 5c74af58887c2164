"""A data root and configuration files for mmsegmentation 1.x.

::

    OUT/images/train/<id>.jpg       images; mmsegmentation requires one suffix, and its decoders go by content
    OUT/masks/train/<id>.png        index PNGs
    OUT/train.txt                   ids
    OUT/deeplabv3plus.py            for tools/train.py; likewise mask2former.py

and the same with ``val`` if there is a validation part. The configurations inherit model, optimizer and schedule from
mmsegmentation's own and replace the data: ``tools/train.py OUT/deeplabv3plus.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...io.files import write_text
from ..finished import FinishedRun
from .parts import Part

USE = "python tools/train.py {out}/deeplabv3plus.py    (in mmsegmentation; or mask2former.py)"


@dataclass(frozen=True)
class Recipe:
    """A stock configuration and the changes to it.

    Attributes:
        base: path of mmsegmentation's configuration.
        about: description, for the first line of the file.
        heads: Python code of the arguments of ``model``, with ``{classes}`` for their number.
        resize: the first augmentation of the pipeline.
        batch: images per GPU and step.
        iterations: length of the schedule.
        interval: iterations between checkpoints, and between validations.
        last: final learning rate.
        extra: further Python code.
    """

    base: str
    about: str
    heads: str
    resize: dict[str, Any]
    batch: int
    iterations: int
    interval: int
    last: float
    extra: str = ""


CROP = (512, 512)

RECIPES = {
    "deeplabv3plus": Recipe(
        base="mmseg::deeplabv3plus/deeplabv3plus_r101-d8_4xb4-40k_voc12aug-512x512.py",
        about="DeepLabV3+, ResNet-101, output stride 8; stock schedule: 40k iterations on 4 GPUs with 4 images each.",
        heads="decode_head=dict(num_classes={classes}), auxiliary_head=dict(num_classes={classes})",
        resize={"type": "RandomResize", "scale": (2048, 512), "ratio_range": (0.5, 2.0), "keep_ratio": True},
        batch=4,
        iterations=40_000,
        interval=4_000,
        last=1e-4,
    ),
    "mask2former": Recipe(
        base="mmseg::mask2former/mask2former_swin-l-in22k-384x384-pre_8xb2-160k_ade20k-640x640.py",
        about="Mask2Former, Swin-L of ImageNet-22k, needs mmdet; stock recipe at 512 x 512 and 80k iterations, 2 GPUs "
        "with 2 images each.",
        heads="decode_head=dict(num_classes={classes}, loss_cls=dict(class_weight=[1.0] * {classes} + [0.1]))",
        resize={
            "type": "RandomChoiceResize",
            "scales": [512 * tenths // 10 for tenths in range(5, 21)],
            "resize_type": "ResizeShortestEdge",
            "max_size": 2048,
        },
        batch=2,
        iterations=80_000,
        interval=5_000,
        last=0.0,
        extra="custom_imports = dict(imports='mmdet.models', allow_failed_imports=False)\n",
    ),
}


def write(folder: Path, run: FinishedRun, parts: Sequence[Part]) -> None:
    """Write the export to the folder. Raises OSError."""
    for part in parts:
        for picture in part:
            picture.put_image(folder / "images" / part.name / f"{picture.entry.id}.jpg")
            picture.put_mask(folder / "masks" / part.name / f"{picture.entry.id}.png")
        write_text(folder / f"{part.name}.txt", "".join(f"{id}\n" for id in part.done))
    for name, recipe in RECIPES.items():
        write_text(folder / f"{name}.py", config(recipe, run, validated=len(parts) > 1))


def config(recipe: Recipe, run: FinishedRun, validated: bool) -> str:
    """The text of a configuration file, which finds the data relative to itself, so that the folder can be moved."""
    classes = len(run.names)
    return f"""# {recipe.about}
_base_ = {recipe.base!r}
{recipe.extra}
classes = {_literal(run.names)}
palette = {_literal(run.palette[:classes])}
data_root = '{{{{ fileDirname }}}}'
crop_size = {CROP}

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict({_arguments(recipe.resize)}),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    dict(type='LoadAnnotations'),  # after Resize: ground truth keeps its size
    dict(type='PackSegInputs'),
]
{_dataset("train", "train_pipeline")}
train_dataloader = dict(
    _delete_=True,
    batch_size={recipe.batch},  # per GPU
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=train_dataset)
{_validation() if validated else _NO_VALIDATION}
model = dict(
    data_preprocessor=dict(size=crop_size, seg_pad_val=255),
    {recipe.heads.format(classes=classes)})
param_scheduler = [
    dict(type='PolyLR', eta_min={recipe.last}, power=0.9, begin=0, end={recipe.iterations}, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters={recipe.iterations}, val_interval={recipe.interval})
default_hooks = dict(
    checkpoint=dict(
        _delete_=True, type='CheckpointHook', by_epoch=False, interval={recipe.interval}, max_keep_ckpts=2,
        save_best={"'mIoU'" if validated else None}))
"""


_NO_VALIDATION = """
# Pseudo-masks only, so there is no ground truth to validate against; export again with --val to add it.
val_dataloader = None
val_cfg = None
val_evaluator = None
test_dataloader = None
test_cfg = None
test_evaluator = None
"""


def _validation() -> str:
    return f"""
{_dataset("val", "test_pipeline")}
val_dataloader = dict(
    _delete_=True,
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=val_dataset)
val_cfg = dict(type='ValLoop')
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'], ignore_index=255)
test_dataloader = val_dataloader
test_cfg = dict(type='TestLoop')
test_evaluator = val_evaluator
"""


def _dataset(part: str, pipeline: str) -> str:
    return f"""{part}_dataset = dict(
    type='BaseSegDataset',
    data_root=data_root,
    ann_file='{part}.txt',
    data_prefix=dict(img_path='images/{part}', seg_map_path='masks/{part}'),
    img_suffix='.jpg',
    seg_map_suffix='.png',
    metainfo=dict(classes=classes, palette=palette),
    reduce_zero_label=False,
    ignore_index=255,
    pipeline={pipeline})"""


def _arguments(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in values.items())


def _literal(value: Any) -> str:
    """Python code of a constant, without double braces, in which mmengine would look for placeholders."""
    return repr(value).replace("{{", "{\\x7b")
