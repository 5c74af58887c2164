"""``wsss-seed reseed``: the masks of a run with other settings, without models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..io.source import recorded
from . import options, show


def reseed(
    ctx: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Run folder of generate --keep-evidence.", show_default=False),
    ],
    out: Annotated[Path, options.option("--out", "-o", help="New run folder.")],
    set_: options.Set = None,
    device: options.Device = "auto",
    overwrite: Annotated[
        bool, options.option("--overwrite", help="Replace masks in the new run folder that have other settings.")
    ] = False,
    json: options.Json = False,
    config: options.Config = None,
) -> None:
    """Make the masks of a run again with other settings, without loading a model.

    They equal those of generate with these settings. Settings that need other model outputs, such as other prompts or
    thresholds below those of the run, require generate; images whose outputs do not suffice are listed.
    """
    from ..io.progress import Progress
    from ..run.reseed import reseed as make
    from .generate import conclude_unscored

    result = make(
        run,
        out,
        options.settings_of(ctx, set_ or []),
        device=device,
        overwrite=overwrite,
        command=recorded(sys.argv),
        progress=Progress(show.err),
    )
    conclude_unscored(result, json)
