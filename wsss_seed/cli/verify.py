"""``wsss-seed verify``: whether a run folder is whole."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options, show

_SHOWN = 20


def verify(
    run: options.RunOrUrl,
    repair: Annotated[
        bool, options.option("--repair", help="Queue images with problems, to be seeded again by the next run.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Check that every finished mask is readable, fits its image and is as recorded. Exit status 1 if one is not.

    Masks that were edited are named and left alone. Nothing is changed without --repair.
    """
    from ..io.progress import Progress
    from ..io.source import location
    from ..output.verify import repair as queue
    from ..output.verify import verify as check

    found = check(location(run), Progress(show.err, verb="verifying"))
    if repair:
        found = queue(found)
    if json:
        show.as_json(found.to_json())
        raise typer.Exit(found.exit_status)
    for id, what in found.wrong[:_SHOWN]:
        show.result(f"{id}: {what}")
    if len(found.wrong) > _SHOWN:
        show.result(f"and {len(found.wrong) - _SHOWN} more; --json lists all")
    for id, what in found.corrections:
        show.result(f"{id}: {what}; restore the file from a copy, or an earlier state of the image in wsss-seed review")
    if found.edited:
        few = ", ".join(found.edited[:5]) + ", ..." * (len(found.edited) > 5)
        show.message(f"{len(found.edited)} masks were edited after they were made: {few}")
    if found.unknown:
        show.warning(f"{len(found.unknown)} masks are not in the manifest, such as {found.unknown[0]}")
    whole = found.checked - len(found.wrong)
    parts = [f"{whole} of {found.checked} finished images are whole"]
    parts += [f"{found.failed} have failed"] * bool(found.failed)
    parts += [f"{found.unfinished} have not been processed yet"] * bool(found.unfinished)
    show.result(", ".join(parts))
    if found.queued:
        show.result(f"{len(found.queued)} queued: run the command that made {found.run} again")
    elif found.wrong:
        show.result(f"to make them again: wsss-seed verify {found.run} --repair, then the command that made the run")
    raise typer.Exit(found.exit_status)
