"""``wsss-seed proposals``: generate SAM's mask proposals once and store them for later runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options, show
from .generate import Shard, parse_shard


def proposals(
    ctx: typer.Context,
    dataset: options.Dataset,
    root: options.Root = None,
    list: options.ListFile = None,
    split: options.Split = None,
    classes: options.Classes = None,
    preset: options.ClipSamsPreset = None,
    models: options.Models = None,
    sam: options.Sam = None,
    device: options.Devices = "auto",
    engine: options.Engine = "local",
    address: options.Address = None,
    workers: options.Workers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    cpus_per_worker: options.CpusPerWorker = None,
    shards: options.Shards = None,
    precision: options.Precision = "auto",
    compile: options.Compile = False,
    offline: options.Offline = False,
    out: Annotated[
        Path | None,
        options.option("--out", "-o", help="Folder of the proposal store. Default: the store that generate uses."),
    ] = None,
    images: options.Images = None,
    limit: Annotated[int | None, options.option("--limit", help="Process only the first N images.", min=1)] = None,
    shard: Shard = None,
    overwrite: Annotated[bool, options.option("--overwrite", help="Regenerate stored proposals.")] = False,
    seed: Annotated[int, options.option("--seed", help="Random seed of toyland's images.", min=0)] = 0,
    difficulty: options.Difficulty = "standard",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Setting, e.g. proposals.points_per_side=16."),
    ] = None,
    json: options.Json = False,
    config: options.Config = None,
) -> None:
    """Generate and store the mask proposals that clip-sams uses.

    generate makes missing proposals itself; this command makes them beforehand, also on several machines, where
    processes of the same command share the images. Running it again resumes. Stored proposals are looked up by image
    content, settings and SAM weights.
    """
    from ..data import open_dataset

    part = parse_shard(shard)
    overrides = options.settings_of(ctx, set_ or [])
    data = open_dataset(dataset, root, split, classes, "none", images, seed, difficulty, list)

    from ..io.progress import Progress
    from ..models.zoo import home
    from ..run.plan import split_devices
    from ..run.proposals import ProposalPlan, execute
    from ..seeding.clip_sams import proposal_settings

    device, cluster = options.placement(engine, device, address, workers, gpus_per_worker, cpus_per_worker)
    devices = split_devices(device)
    model_set = options.model_set(models, data.class_set.name, devices[0], precision, compile, preset=preset, sam=sam)
    model_set = model_set.for_backend("clip-sams")
    settings = proposal_settings(data.class_set, model_set, overrides, preset)
    folder = out or home() / "proposals"
    where = options.place(model_set, devices, cluster)
    show.message(f"{len(data)} images of {data.title}; SAM '{model_set.names['sam']}' on {where}")
    if data.passed_over:
        show.message(data.passed_over)
    plan = ProposalPlan(
        dataset=data,
        models=model_set,
        settings=settings,
        out=folder,
        precision=precision,
        devices=tuple(devices),
        cluster=cluster,
        shards=shards,
        limit=limit,
        overwrite=overwrite,
    )
    result = execute(plan, part, Progress(show.err, verb="segmenting"))
    show.failures(result.failed)
    if result.turned:
        show.message(
            f"{result.turned} of {result.images} images were turned upright according to EXIF; generate looks for the "
            "proposals of the upright images"
        )
    if json:
        show.as_json(
            {
                "out": str(folder),
                "images": result.images,
                "made": result.made,
                "skipped": result.skipped,
                "empty": result.empty,
                "masks": result.masks,
                "turned": result.turned,
                "failed": [{"id": name, "error": error} for name, error in result.failed],
                "seconds": round(result.seconds, 3),
                "interrupted": result.interrupted,
            }
        )
    else:
        before = f", {result.skipped} already in the store" if result.skipped else ""
        failed = f", {len(result.failed)} failed" if result.failed else ""
        show.result(f"mask proposals of {result.made} images generated{before}{failed}, in {result.seconds:.1f} s")
        show.result(f"{result.masks} masks in total; {result.empty} images have none")
        show.result(f"store: {folder}")
    if result.interrupted:
        show.error("interrupted; run the same command again to resume")
    raise typer.Exit(result.exit_status)
