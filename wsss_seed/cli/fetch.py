"""``wsss-seed fetch``: a run on object storage as a local folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from . import options, show


def fetch(
    run: Annotated[str, typer.Argument(metavar="URL", help="URL of a run folder.", show_default=False)],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to copy it to.", show_default=False)],
    json: options.Json = False,
) -> None:
    """Copy a run from object storage, for report, export, train-seg and all other commands.

    Images are linked or copied from where they lie. Running the same command again resumes an interrupted copy.
    """
    from ..io.progress import Progress
    from ..io.source import Source, location
    from ..io.text import counted
    from ..output.fetch import fetch as copy

    place = location(run)
    if not isinstance(place, Source):
        raise UsageError(f"{run}: a folder, which needs no copy; give the URL of a run, such as s3://bucket/run")
    found = copy(place, folder, Progress(show.err, verb="copying"))
    if json:
        values = {"folder": str(found.folder), "copied": found.copied, "skipped": found.skipped}
        show.as_json({**values, "failed": found.failed, "without_image": list(found.bare)})
        return
    parts = [f"{counted(found.copied, 'mask')} copied to {found.folder}"]
    parts += [f"{found.skipped} were there"] * bool(found.skipped)
    parts += [f"{counted(found.failed, 'image')} failed in the run"] * bool(found.failed)
    show.result(", ".join(parts))
    if found.bare:
        few = ", ".join(found.bare[:5]) + ", ..." * (len(found.bare) > 5)
        show.warning(
            f"{counted(len(found.bare), 'image')} cannot be read from where the run found them, so report, export and "
            f"train-seg leave them out: {few}"
        )
