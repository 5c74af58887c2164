"""``wsss-seed predict``: label maps by a trained segmenter, written to a run folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from ..io.source import Source, location, recorded, redacted
from . import options, show
from .generate import Shard, conclude, parse_shard, warn_of_truth

if TYPE_CHECKING:
    from ..data.base import Dataset
    from ..data.classes import ClassSet


def predict(
    ctx: typer.Context,
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT", help="Output of train-seg: best.pt, last.pt, or their folder.", show_default=False
        ),
    ],
    folder: Annotated[
        str | None,
        typer.Argument(
            metavar="FOLDER", help="Folder of images, searched recursively; or a list, or tars.", show_default=False
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        options.option("--dataset", "-d", help="Dataset instead of a folder of images: voc, coco or toyland."),
    ] = None,
    root: options.Root = None,
    list: options.ListFile = None,
    images: options.Images = None,
    split: options.Split = None,
    classes: options.Classes = None,
    scales: Annotated[
        str | None,
        options.option("--scales", help='Scale factors of multi-scale prediction, e.g. "0.5, 1, 1.5". Default: 1.'),
    ] = None,
    flip: Annotated[
        bool, options.option("--flip", help="Average with the prediction of the horizontally flipped image.")
    ] = False,
    window: Annotated[
        int | None,
        options.option(
            "--window", help="Side in pixels of the sliding window for larger images. Default: 2048.", min=1
        ),
    ] = None,
    sharpen: Annotated[bool, options.option("--sharpen", help="Refine outlines with SAM's mask proposals.")] = False,
    sam: options.Sam = None,
    device: options.Devices = "auto",
    engine: options.Engine = "local",
    address: options.Address = None,
    workers: options.Workers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    cpus_per_worker: options.CpusPerWorker = None,
    shards: options.Shards = None,
    out: Annotated[
        str | None,
        options.option(
            "--out", "-o", help="Run folder, or a URL such as s3://bucket/run. Default: predictions/DATASET-SPLIT."
        ),
    ] = None,
    limit: Annotated[int | None, options.option("--limit", help="Process only the first N images.", min=1)] = None,
    shard: Shard = None,
    orientation: options.Orientation = "stored",
    layout: options.Layout = None,
    overwrite: Annotated[bool, options.option("--overwrite", help="Regenerate finished label maps.")] = False,
    seed: Annotated[int, options.option("--seed", help="Random seed of toyland's images.", min=0)] = 0,
    difficulty: options.Difficulty = "standard",
    voc_archive: Annotated[
        Path | None,
        options.option(
            "--voc-archive",
            help="Archive of the label maps for the VOC evaluation server: .tar.gz, .tgz, .tar or .zip.",
        ),
    ] = None,
    competition: Annotated[
        str,
        options.option("--competition", help="Competition of the VOC server: comp5 (trained on VOC only) or comp6."),
    ] = "comp6",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Setting, e.g. overlap=0.5, sharpen.background_exponent=2."),
    ] = None,
    offline: options.Offline = False,
    json: options.Json = False,
    config: options.Config = None,
) -> None:
    """Predict a label map per image with a trained segmenter, and score the maps if there is ground truth.

    Running the same command again resumes an interrupted run.
    """
    part = parse_shard(shard)
    values = _values(options.settings_of(ctx, set_ or []), scales, flip, window)

    from ..config import flatten, full_key, override
    from ..data.orientation import check_orientation
    from ..data.voc_layout import check_layout
    from ..io.progress import Progress
    from ..run.plan import split_devices
    from ..run.predict import PredictPlan
    from ..run.predict import predict as run
    from ..seeding.clip_sams import proposal_settings
    from ..segmenter.checkpoint import load_segmenter, require_classes
    from ..segmenter.predict import PredictSettings

    masks_match = check_orientation(orientation)
    values = {full_key(key, flatten(PredictSettings())): value for key, value in values.items()}
    of_proposals = {key: values.pop(key) for key in [*values] if key.startswith("proposals.")}
    settings = override(PredictSettings(), values)
    if not sharpen and (of_proposals or sam or any(key.startswith("sharpen.") for key in values)):
        raise UsageError("--sam and the settings of sharpen and proposals need --sharpen")
    segmenter = load_segmenter(checkpoint)
    data = _open(folder, dataset, root, list, images, split, classes, seed, difficulty, segmenter.class_set)
    require_classes(checkpoint, segmenter.class_set, data.class_set)
    if voc_archive is not None:
        from ..output.voc_server import check

        if out is not None and isinstance(location(out), Source):
            raise UsageError("--voc-archive needs a local folder as --out")
        check(voc_archive, data.class_set, competition)
    warn_of_truth(data, lambda: data.samples[:limit][part[0] :: part[1]])
    device, cluster = options.placement(engine, device, address, workers, gpus_per_worker, cpus_per_worker)
    devices = split_devices(device)
    models = options.model_set(None, data.class_set.name, devices[0], sam=sam)
    if sharpen:
        models.require("sam")
    place = location(out) if out else Path("predictions") / f"{data.name}-{data.split}"
    by_sam = f", sharpened by SAM '{models.names['sam']}'" if sharpen else ""
    show.message(
        f"{len(data)} images of {data.title}, {len(data.class_set.names)} classes; {checkpoint} on "
        f"{options.place(models, devices, cluster)}{by_sam}"
    )
    if data.passed_over:
        show.message(data.passed_over)
    plan = PredictPlan(
        dataset=data,
        checkpoint=checkpoint,
        settings=settings,
        models=models,
        out=place,
        proposals=proposal_settings(data.class_set, models, of_proposals) if sharpen else None,
        devices=tuple(devices),
        cluster=cluster,
        shards=shards,
        limit=limit,
        orientation=masks_match,
        layout=check_layout(layout),
        overwrite=overwrite,
        command=recorded(sys.argv),
    )
    result = run(plan, part, Progress(show.err, verb="predicting"), segmenter)
    more = {}
    if voc_archive is not None and result.exit_status:
        show.error("no archive was written: some images have no label map")
    elif voc_archive is not None and isinstance(place, Path):
        from ..output.voc_server import pack

        packed = pack(place, voc_archive, data.class_set, data.ids, competition)
        more["archive"] = str(packed.path)
        if packed.with_ignore:
            show.warning(f"ignored pixels of {packed.with_ignore} label maps became background in {packed.path}")
    conclude(result, data, masks_match, json, more, trains=False)


def _values(values: dict[str, Any], scales: str | None, flip: bool, window: int | None) -> dict[str, Any]:
    """The settings; options override --set."""
    if scales is not None:
        try:
            values["scales"] = [float(part) for part in scales.split(",")]
        except ValueError:
            raise UsageError(
                f'--scales {scales}: expected numbers separated by commas, such as "0.5, 1, 1.5"'
            ) from None
    if flip:
        values["flip"] = True
    if window is not None:
        values["window"] = window
    return values


def _open(
    folder: str | None,
    dataset: str | None,
    root: str | None,
    list: str | None,
    images: int | None,
    split: str | None,
    classes: str | None,
    seed: int,
    difficulty: str,
    class_set: ClassSet,
) -> Dataset:
    """The dataset to predict; images without classes of their own take the segmenter's."""
    from ..data import images_in, open_dataset

    if dataset not in (None, "folder"):
        if folder is not None:
            raise UsageError(
                f"give either the folder {redacted(folder)} or --dataset {dataset} (its folder with --root)"
            )
        own: str | ClassSet | None = class_set if dataset == "webdataset" and classes is None else classes
        return open_dataset(dataset or "", root, split, own, "none", images, seed, difficulty, list)
    if folder is None and root is None and list is None:
        raise UsageError("predict needs a folder of images after the segmenter, or --dataset NAME")
    if folder is not None and (root is not None or list is not None):
        other = f"--root {root}" if root is not None else f"--list {list}"
        raise UsageError(redacted(f"give either the folder {folder} or {other}"))
    if split not in (None, "all"):
        raise UsageError("--split is for --dataset voc, coco or toyland; a folder of images has none")
    if images is not None or difficulty != "standard":
        raise UsageError("--images and --difficulty are for --dataset toyland")
    given = {"name": "folder", "root": root, "list": list} if folder is None else images_in(folder)
    return open_dataset(**given, classes=class_set, labels="none")
