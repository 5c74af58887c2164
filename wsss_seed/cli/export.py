"""``wsss-seed export``: write a run in the format of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options, show
from .summary import warn_of_corrections, warn_of_masks

FORMAT = (
    "To train with: mmseg, hf, coco, yolo (polygons) or yolo-semantic (index PNGs). To edit, with wsss-seed import to "
    "bring the masks back: cvat, labelstudio, labelme or fiftyone."
)


def export(
    format: Annotated[str, typer.Argument(metavar="FORMAT", help=FORMAT)],
    run: options.Run,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.", show_default=False)],
    val: Annotated[
        Path | None,
        options.option("--val", help="Validation set: a folder in VOC layout, or a run folder."),
    ] = None,
    val_split: Annotated[
        str | None, options.option("--val-split", help="Split of --val. Default: train, or the only split there is.")
    ] = None,
    copy: Annotated[bool, options.option("--copy", help="Copy images instead of linking to them.")] = False,
    overwrite: Annotated[bool, options.option("--overwrite", help="Replace an existing export.")] = False,
    worst: Annotated[
        int | None, options.option("--worst", help="Only the N most doubtful images, the worst first.", min=1)
    ] = None,
    class_: Annotated[
        list[str] | None,
        options.option("--class", help="Only images whose mask has this class; give it again for further classes."),
    ] = None,
    note: Annotated[str | None, options.option("--note", help="Only images with a note that contains TEXT.")] = None,
    image_url_prefix: Annotated[
        str | None,
        options.option(
            "--image-url-prefix",
            help="labelstudio: what URLs of images begin with. Default: those of Label Studio's local files.",
        ),
    ] = None,
    original: options.Original = False,
    json: options.Json = False,
) -> None:
    """Write the finished masks of a run, with their images, in the format of another tool.

    The images of the run become the training set, or with --worst, --class and --note some of them. The output folder
    appears only once it is complete.
    """
    from ..api import open_run
    from ..errors import UsageError
    from ..io.progress import Progress
    from ..io.signals import interruptible

    validation = None
    if val is not None:
        from ..data import open_dataset

        validation = open_dataset("voc", val, val_split, labels="none")
    elif val_split is not None:
        raise UsageError(f"--val-split {val_split}: give the folder with --val")
    progress = Progress(show.err, verb="exporting")
    with interruptible():
        try:
            result = open_run(run, corrected=not original).export(
                format,
                out,
                val=validation,
                copy=copy,
                overwrite=overwrite,
                worst=worst,
                classes=class_ or (),
                note=note,
                image_url_prefix=image_url_prefix,
                progress=progress,
            )
        except KeyboardInterrupt:
            show.error("interrupted; nothing was changed")
            raise typer.Exit(130) from None
    warn_of_masks(run)
    warn_of_corrections(run, original)
    show.failures(result.failed)
    if result.gaps:
        show.warning(f"some images of the run are not exported: {result.gaps}")
    if result.shared:
        show.warning(
            f"{len(result.shared)} ids, such as {result.shared[0]}, are in both the training and the validation set"
        )
    if json:
        show.as_json(result.to_json())
    else:
        parts = ", ".join(f"{count} {name}" for name, count in result.images.items())
        show.result(f"{sum(result.images.values())} images exported ({parts})")
        if result.remark:
            show.result(result.remark)
        show.result(f"folder: {result.out}")
        show.result(f"use: {result.use}")
    raise typer.Exit(result.exit_status)
