"""Serving a session until somebody ends it."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from ..errors import UsageError, WsssError
from ..io.signals import on_signal
from .guard import Guard, is_loopback
from .prompts import PromptedSam, load_sam, sam_name
from .server import application
from .session import Session


def serve(
    run: Path,
    *,
    by: str = "",
    other: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    sam: str | None = None,
    device: str = "auto",
    started: Callable[[str], None],
) -> str:
    """Serve the review of a run until Ctrl-C.

    Args:
        run: the run folder.
        by: name under which decisions are recorded.
        other: another run with the same classes, to copy masks from.
        host: address on which to listen.
        port: port on which to listen; 0 for a free one.
        sam: SAM that segments by clicks; None for that of the run.
        device: device of SAM.
        started: called with the address of the page once it can be opened.

    Returns:
        What was decided, in words.

    Raises:
        WsssError: not a run folder or one without masks, an address or port that cannot be used.
    """
    session = Session(run, by, other)
    try:
        with _listening(host, port) as listening:
            token, port = secrets.token_urlsafe(24), listening.getsockname()[1]
            name = sam_name(session.about, sam)
            app = Guard(application(session, PromptedSam(lambda: load_sam(name, device)), name), token, host, port)
            shown = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
            server = _Server(
                uvicorn.Config(
                    app,
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    ws="none",
                    server_header=False,
                    date_header=False,
                    timeout_graceful_shutdown=2,
                ),
                lambda: started(f"http://{shown}:{port}/?token={token}"),
            )
            server.run(sockets=[listening])
        return session.summary()
    finally:
        session.close()


class _Server(uvicorn.Server):
    """Reports when it accepts connections, and ends on the first signal.

    uvicorn's own handler raises the signal again at the end, which would count as a second Ctrl-C.
    """

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._report = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._report()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        def end() -> None:
            self.should_exit = True

        with on_signal(end):
            yield


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"`host` {host}: no address of this machine ({error.strerror or error})") from None
    try:
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise _unusable(host, port, error) from None
    return listening


def _unusable(host: str, port: int, error: OSError) -> WsssError:
    reason = error.strerror or str(error)
    return UsageError(f"`port` {port} of {host}: cannot be used ({reason}); give another, or 0 for a free one")


def open_browser(address: str) -> bool:
    """Show an address in the browser of this machine; False if it has no screen."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False


__all__ = ["is_loopback", "open_browser", "serve"]
