"""``wsss-seed sheet``: a contact sheet of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options, show
from .summary import warn_of_corrections


def sheet(
    run: options.Run,
    out: Annotated[
        Path | None, options.option("--out", "-o", help="PNG to write. Default: sheet.png in the run folder.")
    ] = None,
    limit: Annotated[
        int | None, options.option("--limit", metavar="N", help="Show the first N images. Default: 24.", min=1)
    ] = None,
    sample: Annotated[
        int | None, options.option("--sample", metavar="N", help="Show N random images instead.", min=1)
    ] = None,
    seed: Annotated[int, options.option("--seed", help="Random seed of --sample.", min=0)] = 0,
    gt: Annotated[Path | None, typer.Option("--gt", help="Folder of ground-truth index PNGs to show as well.")] = None,
    dataset: Annotated[
        str | None,
        options.option(
            "--dataset", "-d", help="Dataset with ground truth, instead of --gt; not needed for runs over toyland."
        ),
    ] = None,
    root: options.Root = None,
    split: options.Split = None,
    classes: options.Classes = None,
    original: options.Original = False,
    json: options.Json = False,
) -> None:
    """Draw images of a run with names, masks, confidence and a legend of the classes into one PNG.

    The run folder has its images: no dataset is needed.
    """
    from ..api import open_run

    if dataset == "toyland":  # the run names its split, seed and difficulty
        dataset = None
    truth = options.ground_truth(gt, dataset, root, split, classes)
    result = open_run(run, corrected=not original).sheet(out, gt=truth, limit=limit, sample=sample, seed=seed)
    warn_of_corrections(run, original)
    show.failures(result.failed)
    if result.gaps:
        show.warning(f"some images of the run may be missing: {result.gaps}")
    if json:
        show.as_json(result.to_json())
    else:
        show.result(f"{len(result.shown)} images, classes: {', '.join(result.names) or 'none'}")
        show.result(f"sheet: {result.out}")
    raise typer.Exit(result.exit_status)
