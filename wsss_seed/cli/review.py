"""``wsss-seed review``: judge and correct the masks of a run on a local web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from . import options, show


def review(
    run: options.Run,
    port: Annotated[int, options.option("--port", help="Port of the page; 0 for a free one.", min=0, max=65535)] = 0,
    host: Annotated[
        str, options.option("--host", help="Address to listen on; 0.0.0.0 lets other machines open the page.")
    ] = "127.0.0.1",
    by: Annotated[
        str | None, options.option("--by", metavar="NAME", help="Name for the log of decisions. Default: the user's.")
    ] = None,
    other: Annotated[
        Path | None,
        options.option("--other", metavar="RUN", help="Another run with the same classes, to copy masks from."),
    ] = None,
    sam: Annotated[
        str | None,
        options.option("--sam", help="SAM that segments by clicks, as for generate. Default: the one of the run."),
    ] = None,
    device: options.Device = "auto",
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Judge and correct the masks of a run on a local web page, the most doubtful first.

    Decisions and corrected masks are kept in the folder Corrections of the run, beside its masks, which stay as they
    are. Several people may review a run at once. Needs the extra `review`.
    """
    from ..io.extras import install_command, missing_modules

    if missing_modules("review"):
        raise UsageError(f"review needs an extra; install it with: {install_command('review')}")
    from ..review.guard import is_loopback
    from ..review.serve import ReviewServer, open_browser

    name = options.user_name() if by is None else by
    with ReviewServer(run, by=name, other=other, host=host, port=port, sam=sam, device=device) as server:

        def started() -> None:
            show.result(f"review: {server.address}")
            show.finish()
            if not is_loopback(host):
                show.warning(
                    "the connection is not encrypted; on a network you do not trust, listen on 127.0.0.1 and use ssh -L"
                )
            if no_browser or not open_browser(server.address):
                show.message("open this address in a browser; Ctrl-C ends the review")
            else:
                show.message("Ctrl-C ends the review")

        server.run(started)
        show.result(server.session.summary())
