"""An HTTP server on loopback that serves one file in many ways, good and bad."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves ``files`` by path. How, can be changed at any time.

    Attributes:
        files: path -> contents.
        ranges: whether it can begin in the middle.
        cut: close the connection after this number of bytes of a response, although more were announced.
        pause: seconds between pieces of 64 KiB.
        status: code of the next answers, one each, before it serves again.
        moved: path -> where it redirects to.
        lie: bytes more than there are that it announces.
        silent: whether it does not announce how many there are.
        asked: path and Range header of every request.
        sent: bytes sent.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.cut: int | None = None
        self.pause = 0.0
        self.status: list[int] = []
        self.moved: dict[str, str] = {}
        self.lie = 0
        self.silent = False
        self.asked: list[tuple[str, str | None]] = []
        self.sent = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        s = self.server
        wanted = self.headers.get("Range")
        s.asked.append((self.path, wanted))
        if self.path in s.moved:
            self.send_response(302)
            self.send_header("Location", s.moved[self.path])
            self.end_headers()
            return
        if s.status or self.path not in s.files:
            self.send_error(s.status.pop(0) if s.status else 404)
            return
        data = s.files[self.path]
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and s.ranges else 0
        if start >= len(data) and start:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if not s.silent:
            self.send_header("Content-Length", str(len(data) - start + s.lie))
        self.end_headers()
        end = len(data) if s.cut is None else min(len(data), start + s.cut)
        for place in range(start, end, 65536):
            piece = data[place : min(end, place + 65536)]
            try:
                self.wfile.write(piece)
            except OSError:  # the client has gone
                return
            s.sent += len(piece)
            time.sleep(s.pause)


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
