"""``wsss-seed report``: write an HTML report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options, show
from .summary import warn_of_corrections


def report(
    run: options.Run,
    out: Annotated[
        Path | None, options.option("--out", "-o", help="HTML file to write. Default: report.html in the run folder.")
    ] = None,
    gt: Annotated[Path | None, typer.Option("--gt", help="Folder of ground-truth index PNGs.")] = None,
    dataset: Annotated[
        str | None,
        options.option(
            "--dataset", "-d", help="Dataset with ground truth, instead of --gt; not needed for runs over toyland."
        ),
    ] = None,
    root: options.Root = None,
    split: options.Split = None,
    classes: options.Classes = None,
    images: options.Images = None,
    seed: Annotated[int, options.option("--seed", help="Random seed of toyland's images.", min=0)] = 0,
    difficulty: options.Difficulty = "standard",
    limit: Annotated[
        int, options.option("--limit", help="Show only the N worst images; the figures cover all.", min=1)
    ] = 2000,
    original: options.Original = False,
    json: options.Json = False,
) -> None:
    """Write a run as one HTML page: totals, classes, settings, and the images with masks and boxes, worst first.

    The page is self-contained: it includes its pictures, enlarged on a click up to 1,024 pixels, or 512 with more than
    500 images. With --gt or --dataset, and for toyland by itself, it also shows ground truth, errors and IoU.
    """
    from ..api import open_run
    from ..io.progress import Progress
    from ..io.signals import interruptible

    truth = options.ground_truth(gt, dataset, root, split, classes, images, seed, difficulty)
    with interruptible():
        try:
            result = open_run(run, corrected=not original).report(
                out, gt=truth, limit=limit, progress=Progress(show.err, verb="reading")
            )
        except KeyboardInterrupt:
            show.error("interrupted; no page was written")
            raise typer.Exit(130) from None
    warn_of_corrections(run, original)
    show.failures(result.failed)
    if result.gaps:
        show.warning(f"some images of the run are not in the report: {result.gaps}")
    if json:
        show.as_json(result.to_json())
    else:
        figure = "" if result.miou is None else f", mIoU {show.percent(result.miou)} %"
        some = "" if result.shown == result.images else f", the {result.shown} worst shown"
        show.result(f"{result.images} images{figure}{some}")
        show.result(f"page: {result.out} ({result.out.stat().st_size / 1e6:.1f} MB)")
    raise typer.Exit(result.exit_status)
