"""A review server in a thread, a client that sends what no browser would, and a small run."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import numpy as np

from wsss_seed.data.base import Sample
from wsss_seed.data.classes import ClassSet, voc_palette
from wsss_seed.output.run_folder import RunFolder
from wsss_seed.review.serve import ReviewServer
from wsss_seed.types import Seed

PETS = ClassSet("pets", ("cat", "dog"), (("cat",), ("dog",)), ("cat", "dog"), ("grass",), voc_palette())
SHAPE = (30, 40)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def map(self) -> np.ndarray:
        """The label or confidence map, uint8 (H, W)."""
        width, height = map(int, self.headers["x-size"].split())
        return np.frombuffer(zlib.decompress(self.body), np.uint8).reshape(height, width)


class Client:
    """Sends requests as the page does, or with other headers."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.host, self.port = parts.hostname or "", parts.port or 0
        self.token = parts.query.removeprefix("token=")
        self.cookie = f"wsss-seed-review-{self.port}={self.token}"

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str | None) -> Answer:
        """Headers are written with underscores; None leaves one out that the page sends."""
        sent = {"host": f"127.0.0.1:{self.port}", "cookie": self.cookie}
        if body is not None:
            sent |= {"content-type": "application/json", "origin": f"http://127.0.0.1:{self.port}"}
        sent = {**sent, **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            if body is not None:
                connection.putheader("content-length", str(len(body)))
            connection.endheaders(body)
            got = connection.getresponse()
            return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        finally:
            connection.close()

    def get(self, path: str, **query: Any) -> Answer:
        return self.ask("GET", f"{path}?{urlencode(query)}")

    def post(self, path: str, value: Any) -> Answer:
        return self.ask("POST", path, json.dumps(value).encode())

    def decision(self, id: str, verdict: str = "open", labels: np.ndarray | None = None, **changed: Any) -> Any:
        """What the page sends about an image as it stands."""
        now = self.get("/api/image", id=id).json
        found = {"id": id, "revision": now["revision"], "base": now["base"], "verdict": verdict, "what": "test"}
        found |= {"mask": now["mask"] if labels is None else None}
        if labels is not None:
            found |= {"size": labels.shape[::-1], "labels": packed(labels)}
        return found | changed


def packed(labels: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(labels).tobytes())).decode()


@contextmanager
def serving(run: Path, **options: Any) -> Iterator[ReviewServer]:
    """A server in a thread."""
    ready = threading.Event()
    with ReviewServer(run, **options) as server:
        thread = threading.Thread(target=server.run, args=(ready.set,))
        thread.start()
        try:
            assert ready.wait(60)
            yield server
        finally:
            server.stop()
            thread.join(60)
            assert not thread.is_alive()


def pets(folder: Path, ids: tuple[str, ...] = ("a", "b", "c"), shape: tuple[int, int] = SHAPE, shift: int = 0) -> Path:
    """A run in which a cat fills the left half of every image, and a dog a square to the right."""
    dice = np.random.default_rng(0)
    with RunFolder(folder, PETS, {"a": 1}) as run:
        for k, id in enumerate(ids):
            labels = np.zeros(shape, np.uint8)
            labels[:, : shape[1] // 2] = 1
            labels[5 + shift : 15 + shift, shape[1] - 15 : shape[1] - 5] = 2
            labels[0, -1] = 255
            seed = Seed(labels, np.full(shape, 0.5, np.float32), (0, 1), {0: 0.9 - k / 10, 1: 0.8}, {}, ())
            run.save(Sample(id), dice.integers(0, 256, (*shape, 3), np.uint8), seed, 0.0)
        run.finalize(ids)
    return folder
