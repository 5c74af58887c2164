"""The web server of a session."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import uvicorn

from ..errors import UsageError
from ..io.signals import on_signal
from .guard import Guard
from .prompts import PromptedSam, load_sam, sam_name
from .server import application
from .session import Session

_LOG = logging.getLogger("uvicorn.error")


class ReviewServer:
    """The server of the review of a run. Use as a context manager.

    Args:
        run: the run folder.
        by: name under which decisions are recorded.
        other: another run with the same classes, to copy masks from.
        host: address on which to listen.
        port: port on which to listen; 0 for a free one.
        sam: SAM that segments by clicks; None for that of the run.
        device: device of SAM.

    Attributes:
        session: the run under review.
        address: of the page, with the token.

    Raises:
        WsssError: not a run folder or one without masks, or an address or port that cannot be used.
    """

    def __init__(
        self,
        run: Path,
        *,
        by: str = "",
        other: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        sam: str | None = None,
        device: str = "auto",
    ) -> None:
        self.session = Session(run, by, other)
        try:
            self._listening = _listening(host, port)
        except BaseException:
            self.session.close()
            raise
        token, port = secrets.token_urlsafe(24), self._listening.getsockname()[1]
        name = sam_name(self.session.about, sam)
        app = application(self.session, PromptedSam(lambda: load_sam(name, device)), name)
        self._server = _Server(
            uvicorn.Config(
                Guard(app, token, host, port),
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=2,
            )
        )
        shown = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{port}/?token={token}"

    def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Serve until Ctrl-C or ``stop``; ``started`` is called once the page can be opened."""
        self._server.started_serving = started
        self._server.run(sockets=[self._listening])

    def stop(self) -> None:
        """End ``run``, which another thread is in."""
        self._server.should_exit = True

    def close(self) -> None:
        """Release the port and the log of decisions."""
        self._listening.close()
        self.session.close()

    def __enter__(self) -> ReviewServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(uvicorn.Server):
    """Reports when it accepts connections, and ends on the first signal.

    uvicorn's own handler raises the signal again at the end, which would count as a second Ctrl-C.
    """

    started_serving: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        _LOG.setLevel(logging.NOTSET)
        await super().startup(sockets)
        self.started_serving()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        _LOG.setLevel(logging.CRITICAL)  # of requests that are cut off, such as the encoding of an image
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        def end() -> None:
            self.should_exit = True

        with on_signal(end):
            yield


def _listening(host: str, port: int) -> socket.socket:
    if not host:  # which would mean all addresses
        raise UsageError("`host` is empty; give an address, such as 127.0.0.1")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError for a part of a name that is empty or too long
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"`host` {host}: no address of this machine ({reason})") from None
    try:
        if sys.platform != "win32":  # where it would allow two servers on a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        reason = error.strerror or str(error)
        raise UsageError(
            f"`port` {port} of {host}: cannot be used ({reason}); give another, or 0 for a free one"
        ) from None
    return listening


def open_browser(address: str) -> bool:
    """Show an address in the browser of this machine; False if it has no screen."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False
