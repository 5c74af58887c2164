"""The page's requests and their answers."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Callable
from importlib import resources
from typing import Annotated, Any

import msgspec
import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from .. import __version__
from ..data.classes import IGNORE
from ..data.corrections import ConflictError, Verdict
from ..data.images import max_pixels
from ..errors import ImageError, UsageError, WsssError, on_command_line, out_of_memory
from ..io.files import plain
from .pictures import photograph, thumbnail, thumbnail_key
from .prompts import PromptedSam, run_lengths
from .session import OWN, Order, Query, Session, State, iter_cards

MOST_LISTED = 200_000
"""Ids in a list; of more the page shows the first."""

LARGEST_BODY = 64 * 2**20
"""Bytes of a request."""

PAGE_FILES = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    **{
        f"{name}.js": "text/javascript; charset=utf-8"
        for name in ("main", "server", "elements", "grid", "editor", "view", "labels", "keys")
    },
}
"""The files of the page and their types; no others are served."""

_FOREVER = "private, max-age=31536000, immutable"

_Text = Annotated[str, msgspec.Meta(max_length=1000)]
_Coordinate = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]


class _Cards(msgspec.Struct):
    ids: Annotated[list[str], msgspec.Meta(max_length=500)]


class _Decision(msgspec.Struct):
    """What the page sends to be saved.

    Attributes:
        id: of the image.
        revision: of the decision that the page has seen; 0 if there was none.
        base: SHA-256 of the run's mask that the page has seen.
        verdict: of the person.
        size: width and height of the label map.
        labels: label map row by row, uint8, deflated (RFC 1950), in Base64; None for no new one.
        mask: instead, SHA-256 of an earlier one of this image.
        what: what was done, in words.
        by: name of the person.
    """

    id: str
    revision: Annotated[int, msgspec.Meta(ge=0)]
    base: str
    verdict: Verdict
    what: _Text
    by: Annotated[str, msgspec.Meta(max_length=80)] = ""
    size: tuple[Annotated[int, msgspec.Meta(ge=1)], Annotated[int, msgspec.Meta(ge=1)]] | None = None
    labels: str | None = None
    mask: str | None = None


class _Prompt(msgspec.Struct):
    id: str
    points: Annotated[list[tuple[_Coordinate, _Coordinate]], msgspec.Meta(max_length=200)] = []
    positive: list[bool] = []
    box: tuple[_Coordinate, _Coordinate, _Coordinate, _Coordinate] | None = None


class _Query(msgspec.Struct):
    order: Order = "doubt"
    state: State = "all"
    label: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = None
    note: str = ""
    name: str = ""


def application(session: Session, sam: PromptedSam, sam_name: str) -> Starlette:
    """The application of a session, without the ``Guard``.

    Args:
        session: the run under review.
        sam: what segments by clicks.
        sam_name: its name, for the page.
    """
    pages = _Pages(session, sam, sam_name)
    get: dict[str, Callable[[Request], Response]] = {
        "/": pages.page,
        "/page/{name}": pages.file,
        "/api/run": pages.run,
        "/api/image": pages.image,
        "/api/changes": pages.changes,
        "/thumbnail": pages.thumbnail,
        "/photo": pages.photo,
        "/labels": pages.labels,
        "/confidence": pages.confidence,
        "/other": pages.other,
    }
    post: dict[str, tuple[type, Callable[[Any], Response]]] = {
        "/api/list": (_Query, pages.list),
        "/api/cards": (_Cards, pages.cards),
        "/api/decide": (_Decision, pages.decide),
        "/api/encode": (_Prompt, pages.encode),
        "/api/segment": (_Prompt, pages.segment),
    }
    routes = [Route(path, _answering(answer), methods=["GET"]) for path, answer in get.items()]
    routes += [Route(path, _taking(kind, answer), methods=["POST"]) for path, (kind, answer) in post.items()]
    return Starlette(routes=routes)


class _Pages:
    def __init__(self, session: Session, sam: PromptedSam, sam_name: str) -> None:
        self._session, self._sam, self._sam_name = session, sam, sam_name

    def page(self, _: Request) -> Response:
        return _file("index.html")

    def file(self, request: Request) -> Response:
        return _file(request.path_params["name"])

    def run(self, _: Request) -> Response:
        session = self._session
        return _json(
            {
                "title": session.run.resolve().name,
                "version": __version__,
                "names": session.names,
                "colours": ["#{:02x}{:02x}{:02x}".format(*colour) for colour in session.palette],
                "ignore": IGNORE,
                "notes": session.notes(),
                "by": session.log.by,
                "sam": self._sam_name,
                "other": None if session.other is None else session.other.path.name,
            }
        )

    def list(self, query: _Query) -> Response:
        session = self._session
        session.log.refresh()
        session.reload()
        ids = session.listed(Query(query.order, query.state, query.label, query.note, query.name))
        return _json({"ids": ids[:MOST_LISTED], "total": len(ids), "counts": session.counts()} | self._seen())

    def _seen(self) -> dict[str, Any]:
        return {"decisions": self._session.log.decided_since(0)[0]}

    def cards(self, wanted: _Cards) -> Response:
        cards = []
        for card in iter_cards(self._session, wanted.ids):
            key = "" if card["error"] else thumbnail_key(self._session, card["id"])
            cards.append(card | {"thumbnail": key})
        return _json({"cards": cards})

    def changes(self, request: Request) -> Response:
        since = request.query_params.get("since", "0")
        session = self._session
        session.log.refresh()
        count, ids = session.log.decided_since(int(since) if since.isdigit() and len(since) < 16 else 0)
        known = [id for id in sorted(ids) if id in session.entries]
        counts = session.counts() if known else None
        return _json({"decisions": count, "ids": known[:MOST_LISTED], "counts": counts, "grown": session.has_grown})

    def image(self, request: Request) -> Response:
        self._session.log.refresh()
        id = _id(request)
        return _json(self._session.detail(id) | {"photo": self._session.image_stamp(id)})

    def thumbnail(self, request: Request) -> Response:
        id = _id(request)
        return _picture(request, thumbnail(self._session, id), "image/webp", thumbnail_key(self._session, id))

    def photo(self, request: Request) -> Response:
        id = _id(request)
        return _picture(request, photograph(self._session, id), "image/jpeg", self._session.image_stamp(id))

    def labels(self, request: Request) -> Response:
        return _map(*self._session.labels(_id(request), request.query_params.get("mask", OWN)))

    def confidence(self, request: Request) -> Response:
        return _map(self._session.confidence(_id(request)))

    def other(self, request: Request) -> Response:
        id, other = _id(request), self._session.other
        if other is None:
            raise UsageError("there is no other run; start the review with `other` RUN to copy from it")
        own, _ = self._session.labels(id, OWN)
        return _map(other.labels(id, (own.shape[1], own.shape[0])))

    def decide(self, decision: _Decision) -> Response:
        labels = None if decision.labels is None else _inflated(decision)
        try:
            self._session.decide(
                decision.id,
                revision=decision.revision,
                base=decision.base,
                verdict=decision.verdict,
                labels=labels,
                mask=decision.mask,
                what=decision.what,
                by=decision.by or None,
            )
        except ConflictError as conflict:
            current = conflict.current
            theirs = None if current is None else {"by": current.by, "what": current.what, "at": current.at}
            return _json({"error": str(conflict), "theirs": theirs}, 409)
        return _json(self._session.detail(decision.id) | {"thumbnail": thumbnail_key(self._session, decision.id)})

    def encode(self, prompt: _Prompt) -> Response:
        return _json({"encoded": self._sam.encode(*self._picture(prompt.id))})

    def segment(self, prompt: _Prompt) -> Response:
        if len(prompt.points) != len(prompt.positive):
            raise UsageError("a prompt needs one value in positive for each point")
        found = self._sam.segment(*self._picture(prompt.id), prompt.points, prompt.positive, prompt.box)
        masks = [
            {"score": round(score, 3), "runs": run_lengths(mask)}
            for mask, score in zip(found.masks, found.scores, strict=True)
        ]
        return _json({"masks": masks, "seconds": round(found.seconds, 3)})

    def _picture(self, id: str) -> tuple[object, Callable[[], np.ndarray]]:
        entry = self._session.entry(id)
        return (id, self._session.image_stamp(id)), lambda: self._session.image(entry.id)


def _id(request: Request) -> str:
    return request.query_params.get("id", "")


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(plain(value)), status, media_type="application/json")


def _file(name: str) -> Response:
    if name not in PAGE_FILES:
        return _json({"error": "no such file"}, 404)
    content = (resources.files(__package__) / "page" / name).read_bytes()
    return Response(content, headers={"content-type": PAGE_FILES[name]})


def _picture(request: Request, data: bytes, kind: str, version: str) -> Response:
    """A picture, which the browser keeps if the address has its version and not an older one."""
    kept = request.query_params.get("v") == version
    return Response(data, media_type=kind, headers={"cache-control": _FOREVER} if kept else None)


def _map(values: np.ndarray, digest: str = "") -> Response:
    """A map of bytes row by row; the browser inflates it."""
    height, width = values.shape
    headers = {"content-encoding": "deflate", "x-size": f"{width} {height}", "x-digest": digest}
    return Response(zlib.compress(values.tobytes(), 1), media_type="application/octet-stream", headers=headers)


def _inflated(decision: _Decision) -> np.ndarray:
    """The label map that the page sent. Raises UsageError."""
    if decision.size is None or decision.labels is None:
        raise UsageError(f"{decision.id}: a label map without its size")
    width, height = decision.size
    if width * height > max_pixels():
        raise UsageError(f"{decision.id}: a label map of too many pixels")
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(base64.b64decode(decision.labels, validate=True), width * height + 1)
    except (zlib.error, binascii.Error, ValueError):
        raise UsageError(f"{decision.id}: a label map that cannot be inflated") from None
    if len(data) != width * height or not inflater.eof:
        raise UsageError(f"{decision.id}: the label map is not one of {width} x {height} pixels")
    return np.frombuffer(data, np.uint8).reshape(height, width)


def _answering(answer: Callable[[Request], Response]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(_tried, answer, request)

    return endpoint


def _taking(kind: type, answer: Callable[[Any], Response]) -> Callable[[Request], Any]:
    """An endpoint whose argument is the body of the request, JSON of this type and of limited size."""

    async def endpoint(request: Request) -> Response:
        body = bytearray()
        try:
            async for part in request.stream():
                body += part
                if len(body) > LARGEST_BODY:
                    return _json({"error": f"more than {LARGEST_BODY // 2**20} MB"}, 413)
        except ClientDisconnect:
            return Response(status_code=400)
        return await run_in_threadpool(_tried, lambda: answer(_decoded(bytes(body), kind)))

    return endpoint


def _decoded(body: bytes, kind: type) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UsageError(f"not a request of the page ({error})") from None


def _tried(answer: Callable[..., Response], *arguments: Any) -> Response:
    """The answer, or what the user should know if there is none, in one line."""
    try:
        return answer(*arguments)
    except ImageError as error:
        return _json({"error": str(error)}, 422)
    except WsssError as error:
        return _json({"error": on_command_line(str(error))}, 400)
    except OSError as error:
        return _json({"error": f"{error.filename or 'a file'}: cannot be read or written ({error.strerror})"}, 500)
    except (MemoryError, RuntimeError, ImportError) as error:
        remedy = out_of_memory(error)
        if remedy is None:
            raise
        return _json({"error": remedy}, 500)
