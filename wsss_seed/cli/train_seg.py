"""``wsss-seed train-seg``: train a segmenter on pseudo-masks."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ..errors import DataError, UsageError
from . import options, show
from .summary import warn_of_masks

if TYPE_CHECKING:
    from ..data.base import Dataset
    from ..segmenter.settings import Recipe


def train_seg(
    ctx: typer.Context,
    masks: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_VOC_TREE", help="A run folder, or any folder in VOC layout.", show_default=False
        ),
    ],
    split: Annotated[
        str | None,
        options.option("--split", help="Name of a list in ImageSets/Segmentation. Default: train, or the only one."),
    ] = None,
    classes: options.Classes = None,
    recipe: Annotated[
        str | None,
        options.option(
            "--recipe",
            help="mask2former-voc, mask2former-coco, deeplabv3plus-voc, deeplabv3plus-coco, tiny, or a TOML file. "
            "Default: tiny for toyland, deeplabv3plus-coco for COCO's classes, else deeplabv3plus-voc.",
        ),
    ] = None,
    network: Annotated[
        str | None,
        options.option("--network", help="deeplabv3plus, upernet, segformer, hf-segformer or mask2former."),
    ] = None,
    encoder: Annotated[
        str | None,
        options.option("--encoder", help="Encoder of the network, e.g. resnet50, mit_b2, tu-convnext_tiny, swin-tiny."),
    ] = None,
    encoder_weights: Annotated[
        str | None,
        options.option(
            "--encoder-weights", help="Weights of the encoder: imagenet, none, or a file. Default: as in the recipe."
        ),
    ] = None,
    val_dataset: Annotated[
        str | None, options.option("--val-dataset", help="Validation dataset with ground truth: voc, coco or toyland.")
    ] = None,
    val_root: Annotated[Path | None, options.option("--val-root", help="Folder of the validation dataset.")] = None,
    val_split: Annotated[
        str | None, options.option("--val-split", help="Split of the validation dataset. Default: val.")
    ] = None,
    val_images: Annotated[
        Path | None, options.option("--val-images", help="Folder of validation images; needs --val-masks.")
    ] = None,
    val_masks: Annotated[
        Path | None,
        options.option(
            "--val-masks", help="Folder of their ground truth: index PNGs named like the images of --val-images."
        ),
    ] = None,
    val_count: Annotated[
        int | None,
        options.option("--val-count", help="Number of toyland images to draw for validation (default 100).", min=1),
    ] = None,
    val_difficulty: Annotated[
        str, options.option("--val-difficulty", help="Toyland's images for validation: standard or hard.")
    ] = "standard",
    rounds: Annotated[
        int,
        options.option(
            "--rounds",
            help="Rounds of self-training; from the second on, train on the labels on which the seeds and the previous "
            "segmenter agree.",
            min=1,
        ),
    ] = 1,
    device: options.Device = "auto",
    workers: Annotated[
        int, options.option("--workers", help="Data-loading processes; 0 loads in the main process.", min=0)
    ] = 2,
    out: Annotated[
        Path | None,
        options.option(
            "--out", "-o", help="Output folder. Default: segmenters/NAME-SPLIT, with the name of the mask folder."
        ),
    ] = None,
    overwrite: Annotated[bool, options.option("--overwrite", help="Start over.")] = False,
    seed: Annotated[int, options.option("--seed", help="Random seed.", min=0)] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Setting, e.g. train.max_iters=2000, optimizer.lr=0.005."),
    ] = None,
    original: options.Original = False,
    offline: options.Offline = False,
    json: options.Json = False,
    config: options.Config = None,
) -> None:
    """Train an off-the-shelf segmenter on pseudo-masks; ignored pixels do not contribute to the loss.

    Running the same command again resumes interrupted training. On several GPUs: accelerate launch -m wsss_seed
    train-seg ...
    """
    from ..data import open_dataset

    overrides = options.settings_of(ctx, set_ or [])
    overrides |= {k: v for k, v in {"network.name": network, "network.encoder": encoder}.items() if v is not None}
    data = open_dataset("voc", masks, split, classes, "none", corrected=not original)
    if val_images is None and val_masks is None:
        val = _validation(masks, classes, val_dataset, val_root, val_split, val_count, val_difficulty)
    elif (val_dataset, val_root, val_split, val_count, val_difficulty) == (None, None, None, None, "standard"):
        val = _pairs(val_images, val_masks, data)
    else:
        raise UsageError(
            "--val-images and --val-masks name the validation images; leave out the other options of --val"
        )

    from ..io.progress import Progress
    from ..segmenter.settings import load_recipe, recipe_for
    from ..segmenter.train import train_segmenter

    warn_of_masks(masks)
    for text in data.remarks:
        show.warning(text)
    out = out or Path("segmenters") / f"{masks.resolve().name}-{data.split}"
    of_rounds = {key: overrides.pop(key) for key in [*overrides] if key.startswith("agreement.")}
    chosen = load_recipe(recipe or recipe_for(data.class_set), overrides)
    common: dict[str, Any] = {
        "weights": encoder_weights,
        "val": val,
        "seed": seed,
        "device": device,
        "workers": workers,
        "overwrite": overwrite,
        "progress": lambda verb, unit: Progress(show.err, verb, unit),
        "say": show.message,
    }
    if rounds > 1:
        _in_rounds(data, out, chosen, rounds, of_rounds, common, json)
    if of_rounds:
        raise UsageError(f"setting {next(iter(of_rounds))} applies to self-training; give --rounds 2 or more")
    result = train_segmenter(data, out, chosen, **common)
    if not result.first:
        raise typer.Exit(130 if result.interrupted else 0)
    if result.empty:
        shown = ", ".join(result.empty[:5]) + (", ..." if len(result.empty) > 5 else "")
        show.warning(f"{len(result.empty)} masks contain only ignored pixels and were left out: {shown}")
    if json:
        show.as_json(
            {
                "out": str(result.out),
                "best": result.best and str(result.best),
                "last": str(result.last),
                "iterations": result.iterations,
                "miou": result.miou,
                "best_miou": result.best_miou,
                "best_iteration": result.best_iteration or None,
                "left_out": list(result.empty),
                "seconds": round(result.seconds, 3),
                "interrupted": result.interrupted,
            }
        )
    elif not result.interrupted:
        if val is not None:
            show.result(
                f"mIoU on {val.title}, {len(val)} images: {show.percent(result.best_miou)} % (best, "
                f"iteration {result.best_iteration}), {show.percent(result.miou)} % (last)"
            )
        show.result(f"{result.iterations} iterations, {result.seconds:.1f} s; curves: {result.out / 'metrics.png'}")
        show.result(f"segmenter: {result.best or result.last}")
        show.message(_next(result.out))
    if result.interrupted:
        show.error("interrupted; run the same command again to resume")
    raise typer.Exit(130 if result.interrupted else 0)


def _in_rounds(
    data: Dataset, out: Path, recipe: Recipe, rounds: int, values: dict[str, Any], common: dict[str, Any], json: bool
) -> NoReturn:
    """Run self-training, report each round, and exit."""
    from ..config import override
    from ..data.voc import Voc
    from ..run.rounds import train_rounds
    from ..segmenter.agreement import AgreementSettings

    assert isinstance(data, Voc)
    values = {key.removeprefix("agreement."): value for key, value in values.items()}
    settings = override(AgreementSettings(), values)
    result = train_rounds(data, out, recipe, rounds, settings=settings, **common)
    if not result.rounds[-1].training.first:
        raise typer.Exit(130 if result.interrupted else 0)
    rows: list[dict[str, Any]] = []
    for number, done in enumerate(result.rounds, 1):
        show.failures(done.failed, before=f"round {number}: ")
        training = done.training
        rows.append(
            {
                "round": number,
                "masks": str(done.masks),
                "agreed": done.agreed,
                "kept": done.kept,
                "segmenter": str(training.best or training.last),
                "best_miou": training.best_miou,
                "miou": training.miou,
                "failed": [{"id": name, "error": error} for name, error in done.failed],
            }
        )
    if json:
        show.as_json({"out": str(out), "rounds": rows, "interrupted": result.interrupted})
    else:
        show.table(
            "Rounds, in %",
            ["round", "agreed", "not ignored", "best mIoU", "last mIoU", "segmenter"],
            [
                [
                    str(r["round"]),
                    *(show.percent(r[k]) for k in ("agreed", "kept", "best_miou", "miou")),
                    r["segmenter"],
                ]
                for r in rows
            ],
        )
        if len(rows) > 1:
            show.result(
                "agreed: pixels with the same label in the seeds and in the prediction of the previous round; "
                "not ignored: pixels of the masks that the round trains on"
            )
        if not result.interrupted:
            show.message(_next(result.rounds[-1].training.out))
    if result.interrupted:
        show.error("interrupted; run the same command again to resume")
    raise typer.Exit(130 if result.interrupted else 1 if any(r["failed"] for r in rows) else 0)


def _next(out: Path) -> str:
    """The command that uses the segmenter."""
    return f"next: wsss-seed predict {shlex.quote(str(out))} photos --out predictions (photos: any folder of images)"


def _pairs(images: Path | None, masks: Path | None, data: Dataset) -> Dataset:
    """The validation images of a pair of folders, with the classes of the training."""
    if images is None or masks is None:
        raise UsageError("--val-images and --val-masks belong together; give both")
    from ..data.check import truth_faults
    from ..data.folder import ImagesAndMasks

    pairs = ImagesAndMasks(images, masks, data.class_set)
    if pairs.passed_over:
        show.message(pairs.passed_over)
    for fault in truth_faults(pairs, pairs.samples):
        raise DataError(fault)
    return pairs


def _validation(
    masks: Path,
    classes: str | None,
    name: str | None,
    root: Path | None,
    split: str | None,
    images: int | None,
    difficulty: str,
) -> Dataset | None:
    """The validation dataset that the options name; None if they name none."""
    from ..data import open_dataset
    from ..data.voc_layout import RUN

    if (name, root, split, images, difficulty) == (None, None, None, None, "standard"):
        return None
    if name in (None, "voc") and root is None:
        if (masks / RUN).exists():
            raise UsageError(
                f"{masks}: a run folder has no ground truth; give a folder with ground truth with --val-root"
            )
        root = masks
    split = split or (None if name == "coco" else "val")
    return open_dataset(name or "voc", root, split, classes, "none", images, difficulty=difficulty)
