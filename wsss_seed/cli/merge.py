"""``wsss-seed merge``: one manifest from what several processes have recorded."""

from __future__ import annotations

import typer

from . import options, show


def merge(run: options.RunOrUrl, json: options.Json = False) -> None:
    """Merge what the processes of a run have recorded into its manifest, list and totals.

    A run does this at its end; this command is for one whose processes were all killed. Exit status 1 if images have
    failed or are missing.
    """
    from ..io.source import location
    from ..io.text import counted
    from ..output.merge import merge as work

    found = work(location(run))
    if json:
        values = {"run": str(found.run), "planned": found.planned, "done": found.done, "failed": list(found.failed)}
        show.as_json({**values, "missing": found.missing})
        raise typer.Exit(found.exit_status)
    parts = [f"{counted(found.done, 'image')} done"]
    parts += [f"{len(found.failed)} failed"] * bool(found.failed)
    parts += [f"{found.missing} missing"] * bool(found.missing)
    show.result(f"merged: {', '.join(parts)}")
    if found.exit_status:
        show.message(f"to process the rest, run the command that made {found.run} again")
    raise typer.Exit(found.exit_status)
