"""``wsss-seed import``: bring masks that were corrected in an editor back to their run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..io.text import counted
from . import options, show


def import_masks(
    format: Annotated[
        str, typer.Argument(metavar="cvat|labelstudio|labelme|fiftyone", help="The editor.", show_default=False)
    ],
    run: options.Run,
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="What the editor exported: a file, or a folder.", show_default=False)
    ],
    by: Annotated[
        str | None, options.option("--by", help="Who corrected the masks. Default: the name of the account.")
    ] = None,
    annotator: Annotated[
        str | None,
        options.option(
            "--annotator",
            help="labelstudio: e-mail address or number of the annotator to use. Default: the latest annotation.",
        ),
    ] = None,
    empty: Annotated[
        bool,
        options.option("--empty", help="cvat: take images without any annotation as background, not as unedited."),
    ] = False,
    overwrite: Annotated[
        bool, options.option("--overwrite", help="Import also where the run was corrected after the export.")
    ] = False,
    dry_run: Annotated[bool, options.option("--dry-run", help="Say what would change, and write nothing.")] = False,
    json: options.Json = False,
) -> None:
    """Bring masks that were corrected in an editor back to the run they were exported from, as its corrections.

    Only masks that differ from what was exported are recorded. The masks of the run itself stay as they are, and a file
    with a fault changes nothing.
    """
    from ..api import open_run
    from ..io.progress import Progress
    from ..io.signals import interruptible

    with interruptible():
        result = open_run(run, corrected=False).import_masks(
            format,
            source,
            by=options.user_name() if by is None else by,
            annotator=annotator,
            empty=empty,
            overwrite=overwrite,
            dry_run=dry_run,
            progress=Progress(show.err, verb="reading"),
        )
    for id, reason in result.skipped[:20]:
        show.warning(f"{id}: not imported, {reason}; use `overwrite` to import it")
    if len(result.skipped) > 20:
        show.warning(f"and {len(result.skipped) - 20} more")
    if json:
        show.as_json(result.to_json())
    else:
        would = " would be" * dry_run
        without = f", {result.without} without annotations left as they are" * bool(result.without)
        skipped = f", {len(result.skipped)} skipped" * bool(result.skipped)
        show.result(
            f"{counted(len(result.changed), 'mask')}{would} corrected, {result.unchanged} unchanged{without}{skipped}"
        )
    raise typer.Exit(result.exit_status)
