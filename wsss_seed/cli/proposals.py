"""``wsss-seed proposals``: SAM's masks of whole images, made once and kept for every run that needs them."""

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
    split: options.Split = None,
    classes: options.Classes = None,
    preset: options.Preset = None,
    models: options.Models = None,
    sam: options.Sam = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    out: Annotated[
        Path | None,
        options.option("--out", "-o", help="Folder of the store. Default: the one that generate looks into."),
    ] = None,
    images: options.Images = None,
    limit: Annotated[int | None, options.option("--limit", help="Do the first N images only.", min=1)] = None,
    shard: Shard = None,
    overwrite: Annotated[bool, options.option("--overwrite", help="Make those in the store again.")] = False,
    seed: Annotated[int, options.option("--seed", help="Random seed of toyland's world.", min=0)] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting, e.g. proposals.points_per_side=16."),
    ] = None,
    json: options.Json = False,
    config: options.Config = None,
) -> None:
    """Make the mask proposals of a dataset, as clip-sams needs them, and keep them.

    A run of generate makes those that are missing, so this command is for making them beforehand: in shards, or on
    another machine. Running it again goes on where it stopped. Files are found by the image's content, the settings
    and SAM's weights.
    """
    from ..data import open_dataset

    part = parse_shard(shard)
    overrides = options.settings_of(ctx, set_ or [])
    data = open_dataset(dataset, root, split, classes, "none", images, seed)

    from ..io.progress import Progress
    from ..models.zoo import home
    from ..run.proposals import propose
    from ..seeding.clip_sams import proposal_settings, proposal_weights

    model_set = options.model_set(models, data.class_set.name, device, precision, preset=preset, sam=sam).for_backend(
        "clip-sams"
    )
    settings = proposal_settings(data.class_set, model_set, overrides, preset)
    folder = out or home() / "proposals"
    show.message(
        f"{len(data)} images of {data.name} {data.split}; SAM '{model_set.names['sam']}' on {model_set.device}"
    )
    result = propose(
        data,
        lambda: model_set.sam,
        proposal_weights(model_set),
        settings,
        folder,
        limit=limit,
        shard=part,
        overwrite=overwrite,
        progress=Progress(show.err, verb="segmenting"),
    )
    show.failures(result.failed)
    if json:
        show.as_json(
            {
                "out": str(folder),
                "images": result.images,
                "made": result.made,
                "skipped": result.skipped,
                "empty": result.empty,
                "masks": result.masks,
                "failed": [{"id": name, "error": error} for name, error in result.failed],
                "seconds": round(result.seconds, 3),
                "interrupted": result.interrupted,
            }
        )
    else:
        before = f", {result.skipped} in the store before" if result.skipped else ""
        failed = f", {len(result.failed)} failed" if result.failed else ""
        show.result(f"mask proposals of {result.made} images made{before}{failed}, in {result.seconds:.1f} s")
        show.result(f"{result.masks} masks in all; {result.empty} images have none")
        show.result(f"store: {folder}")
    if result.interrupted:
        show.error("interrupted; run the same command again to go on")
    raise typer.Exit(result.exit_status)
