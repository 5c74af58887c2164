"""``wsss-seed report``: write an HTML report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options, show
from .summary import warn_of_corrections


def report(
    run: options.Run,
    against: Annotated[
        Path | None,
        options.option("--against", help="Another run with the same classes: show where the two differ."),
    ] = None,
    out: Annotated[
        Path | None,
        options.option(
            "--out",
            "-o",
            help="HTML file to write. Default: report.html, or report-against-NAME.html, in the run folder.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        options.option(
            "--folder",
            help="Write a folder instead: index.html with its pictures as files, to open or to put on a web server.",
        ),
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
        int | None,
        options.option(
            "--limit",
            help="Show only the N worst images; the figures cover all. Default: 2000, with --folder all.",
            min=1,
            show_default=False,
        ),
    ] = None,
    original: options.Original = False,
    json: options.Json = False,
) -> None:
    """Write a run as an HTML page: totals, classes, settings, and the images with masks and boxes, worst first.

    The page is self-contained: it includes its pictures, enlarged on a click up to 1,024 pixels, or 512 with more than
    500 images. For many images, --folder writes them as files, which the page loads as they are looked at.

    With --gt or --dataset, and for toyland by itself, it also shows ground truth, errors and IoU.

    With --against, it shows where two runs differ: images, most different first, with both masks side by side, classes,
    confusion, settings, and with ground truth the change of the IoU.
    """
    from ..api import open_run
    from ..io.progress import Progress
    from ..io.signals import interruptible
    from ..output.report.against import Compared

    truth = options.ground_truth(gt, dataset, root, split, classes, images, seed, difficulty)
    with interruptible():
        try:
            result = open_run(run, corrected=not original).report(
                out, against=against, folder=folder, gt=truth, limit=limit, progress=Progress(show.err, verb="reading")
            )
        except KeyboardInterrupt:
            show.error("interrupted; nothing was changed")
            raise typer.Exit(130) from None
    warn_of_corrections(run, original)
    if against is not None:
        warn_of_corrections(against, original)
    show.failures(result.failed)
    if result.gaps:
        show.warning(f"some images of the run are not in the report: {result.gaps}")
    if json:
        show.as_json(result.to_json())
    else:
        figure = "" if result.miou is None else f", mIoU {show.percent(result.miou)} %"
        if isinstance(result, Compared):
            if result.miou is not None and result.other_miou is not None:
                figure += f" against {show.percent(result.other_miou)} %"
            figure = f" in common, {show.percent(result.differs)} % of the pixels differ{figure}"
        what = "worst" if against is None else "most different"
        some = "" if result.shown == result.images else f", the {result.shown} {what} shown"
        show.result(f"{result.images} images{figure}{some}")
        if isinstance(result, Compared) and any(result.only):
            alone = zip((run, against), result.only, strict=True)
            show.result(f"without a partner: {', '.join(f'{number} of {name}' for name, number in alone if number)}")
        page = result.out if folder is None else result.out / "index.html"
        show.result(f"page: {page} ({result.bytes / 1e6:.1f} MB)")
    raise typer.Exit(result.exit_status)
