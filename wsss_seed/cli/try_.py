"""``wsss-seed try``: what a setting does to single photographs, without a run folder."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ..errors import DataError, ImageError, UsageError
from ..io.source import Location, Source, is_url, location
from . import options, show
from .explain import show_explanation
from .generate import described
from .help import Command

if TYPE_CHECKING:
    from PIL import Image

    from ..run.trial import Trial, Tried

_DEFAULT = Path("try.png")
_LIMIT, _MOST = 12, 100
_SOFTWARE = "wsss-seed try"  # in the file, so that it may be replaced


class Comparing(Command):
    """A command whose ``--compare`` takes all settings that follow it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(spread(args)))


def spread(args: Sequence[str]) -> Iterator[str]:
    """Arguments with ``--compare`` before each of the settings that follow one: ``--compare A B`` as ``--compare A
    --compare B``. A file is no setting, whatever its name."""
    rest, after = iter(args), False
    for arg in rest:
        if arg == "--":
            yield arg
            yield from rest
        elif arg == "--compare":
            yield arg
            yield from [value for value in [next(rest, None)] if value is not None]
            after = True
        else:
            setting = after and _is_setting(arg)
            if setting:
                yield "--compare"
            after = setting or arg.startswith("--compare=")
            yield arg


def _is_setting(text: str) -> bool:
    return "=" in text and not text.startswith("-") and not is_url(text) and not os.path.exists(text)


def try_(
    ctx: typer.Context,
    photos: Annotated[
        list[str], typer.Argument(metavar="PHOTO...", help="Photographs, or folders of them.", show_default=False)
    ],
    classes: options.Classes = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", help='Names of the classes in the photographs, as in "cat, dog", if known. Default: label-free.'
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", metavar="N", help="Number of photographs: the first N of those given.", min=1, max=_MOST
        ),
    ] = _LIMIT,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            "--compare",
            metavar="KEY=VALUE...",
            help='Settings to show side by side, as in --compare box_threshold=0.25 "box_threshold=0.4, '
            'verify.enabled=false"; a single one beside those without it.',
        ),
    ] = None,
    backend: options.Backend = None,
    prompts: options.Prompts = None,
    preset: options.Preset = None,
    stage: options.Stage = None,
    models: options.Models = None,
    clip: options.Clip = None,
    sam: options.Sam = None,
    detector: options.Detector = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    out: Annotated[
        Path | None,
        options.option(
            "--out",
            "-o",
            help="PNG to write, with a row per photograph. Default: try.png, unless the terminal shows pictures, as "
            "kitty, Ghostty, iTerm2, WezTerm and mintty do.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, options.option("--overwrite", help="Replace a file that wsss-seed try did not write.")
    ] = False,
    set_: options.Set = None,
    json: options.Json = False,
    config: options.Config = None,
) -> None:
    """Try settings on photographs: a picture with masks and boxes, and what decided about each box.

    Nothing is kept but the picture. To make masks, use generate.
    """
    from . import terminal

    if classes is None:
        raise UsageError('try needs class names; give `classes` a file or "cat, dog"')
    settings = options.settings_of(ctx, set_ or [])
    columns = _columns(settings, set_ or [], compare or [])
    how = None if json else terminal.protocol(os.environ)
    out = _DEFAULT if out is None and how is None else out
    found = _photos(photos)
    if out is not None:
        _check_out(out, found, overwrite)
    if len(found) > limit:
        show.message(f"the first {limit} of {len(found)} photographs; --limit changes the number")
    found = found[:limit]

    from ..data.classes import indices_of, load_class_set, shared_phrases

    class_set = load_class_set(classes)
    given = None if labels is None else indices_of(class_set, _names(labels))
    failed = _unreadable(found)
    if len(failed) == len(found):
        _conclude(failed, [], None, json)

    from ..run.plan import choose_backend, model_warnings
    from ..run.trial import Trial
    from ..run.trial_picture import Row, draw_cell, draw_trial

    chosen_options = {"prompts": prompts, "preset": preset, "stage": stage}
    own = {key: value for key, value in chosen_options.items() if value is not None}
    chosen = {"clip": clip, "sam": sam, "detector": detector}
    backend, model_set = choose_backend(backend, models, class_set.name, device, precision, chosen=chosen, options=own)
    for text in (*model_warnings(backend, model_set, class_set.name, own), *shared_phrases(class_set)):
        show.warning(text)
    show.message(f"{backend} with {described(model_set, backend)} on {model_set.device}")
    trial = Trial(backend, class_set, model_set, [column for _, column in columns], own, given)
    captions = [caption for caption, _ in columns]
    alone = len(found) == len(columns) == 1
    rows: list[Row] = []
    explained: list[dict[str, Any]] = []
    for photo, tried in _each(trial, found, failed):
        cells = (draw_cell(one, class_set.palette, alone=alone, columns=len(columns)) for one in tried)
        row = Row(str(photo), tuple(cells))
        if json:
            explained.append(_as_json(photo, tried, columns))
        else:
            _show(tried, captions)
        if how is not None:
            terminal.show_picture(draw_trial([row], captions, class_set), how)
        if out is not None:
            rows.append(row)
    written = out if rows else None
    if written is not None:
        _write(written, draw_trial(rows, captions, class_set))
    _conclude(failed, explained, written, json)


def _conclude(
    failed: Sequence[tuple[str, str]], explained: Sequence[dict[str, Any]], picture: Path | None, json: bool
) -> NoReturn:
    """Report what failed and where the picture is, and exit."""
    show.failures(failed)
    written = None if picture is None else str(picture)
    if json:
        listed = [{"photo": name, "error": text} for name, text in failed]
        show.as_json({"photos": explained, "failed": listed, "picture": written})
    elif written is not None:
        show.result(f"picture: {written}")
    raise typer.Exit(1 if failed else 0)


def _columns(
    settings: dict[str, Any], pairs: Sequence[str], compare: Sequence[str]
) -> list[tuple[str, dict[str, Any]]]:
    """Caption and settings of each column."""
    unchanged = ", ".join(pairs) or "unchanged"
    columns = []
    for text in compare:
        own = dict(_parse(text))
        # Behind all others, because the last of two names of a setting holds, box_threshold and detector.box_threshold.
        columns.append((text.strip(), {key: v for key, v in settings.items() if key not in own} | own))
    return columns if len(columns) > 1 else [(unchanged, settings), *columns]


def _parse(text: str) -> Iterator[tuple[str, Any]]:
    """Settings separated by commas or spaces, which values (``[2, 3]``) and names of classes may also contain."""
    pieces = re.split(r"(\s*,\s*(?=[^\s=,\[\]\"'][^=,\[\]\"']*=)|\s+(?=[\w.-]+=))", text.strip())
    pairs = [pieces[0]]
    for separator, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        if "=" in pairs[-1]:
            pairs.append(piece)
        else:
            pairs[-1] += separator + piece
    return (options.parse_setting(pair, "--compare") for pair in pairs)


def _names(labels: str) -> list[str]:
    names = [name.strip() for name in labels.split(",") if name.strip()]
    if not names:
        raise UsageError('`labels`: name the classes in the photographs, as in "cat, dog"')
    return names


def _photos(words: Iterable[str]) -> list[Location]:
    """The photographs, those below folders among them, but not pictures of this command there. Raises WsssError if one
    does not exist."""
    from ..data.listing import image_files

    found: dict[Location, None] = {}
    for word in words:
        place = location(word)
        if isinstance(place, Source) or place.is_file():
            found[place] = None
        elif place.is_dir():
            files = [place / file for _, file in image_files(place)]
            files = [file for file in files if file.suffix.lower() != ".png" or not _is_ours(file)]
            if not files:
                raise DataError(f"{place}: no image below it")
            found.update(dict.fromkeys(files))
        elif "=" in word:
            raise UsageError(f"{word}: no such file; give settings with --set, or after --compare")
        else:
            raise DataError(f"{word}: no such file or folder")
    return list(found)


def _unreadable(photos: Iterable[Location]) -> list[tuple[str, str]]:
    """Name and error of the photographs whose headers cannot be read, found before models are loaded."""
    from ..data.images import image_size

    failed = []
    for photo in photos:
        try:
            image_size(photo)
        except ImageError as error:
            failed.append((str(photo), str(error)))
    return failed


def _each(
    trial: Trial, photos: Iterable[Location], failed: list[tuple[str, str]]
) -> Iterator[tuple[Location, list[Tried]]]:
    """What was found in each photograph, except those in ``failed``, which gets the others that fail."""
    known = {name for name, _ in failed}
    for photo in photos:
        if str(photo) in known:
            continue
        try:
            tried = trial(photo)
        except ImageError as error:
            failed.append((str(photo), str(error)))
        else:
            yield photo, tried


def _show(tried: Sequence[Tried], captions: Sequence[str]) -> None:
    for one, caption in zip(tried, captions, strict=True):
        if len(captions) > 1:
            show.result(f"--- {caption}")
        show_explanation(one.explanation)
        show.result("")


def _as_json(photo: Location, tried: Sequence[Tried], columns: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    return {
        "photo": str(photo),
        "results": [
            {"caption": caption, "settings": settings, **one.explanation.to_json()}
            for one, (caption, settings) in zip(tried, columns, strict=True)
        ],
    }


def _check_out(out: Path, photos: Sequence[Location], overwrite: bool) -> None:
    """Check that a picture may be written, before anything is computed. Raises UsageError."""
    if out.suffix.lower() != ".png" or out.is_dir():
        raise UsageError(f"{out}: give `out` the name of a .png file")
    if not out.exists():
        return
    if any(isinstance(photo, Path) and photo.samefile(out) for photo in photos):
        raise UsageError(f"{out}: one of the photographs; choose another `out`")
    if not overwrite and not _is_ours(out):
        raise UsageError(f"{out}: exists, and wsss-seed try did not write it; choose another `out`, or `overwrite`")


def _is_ours(file: Path) -> bool:
    try:
        with file.open("rb") as content:
            return f"Software\0{_SOFTWARE}".encode() in content.read(256)
    except OSError:
        return False


def _write(out: Path, picture: Image.Image) -> None:
    """Write a picture with the mark of this command. Raises RunFolderError."""
    from PIL.PngImagePlugin import PngInfo

    from ..io.files import write_bytes
    from ..output.run_folder import write_error

    about, buffer = PngInfo(), io.BytesIO()
    about.add_text("Software", _SOFTWARE)
    picture.save(buffer, "PNG", pnginfo=about)
    try:
        write_bytes(out, buffer.getvalue())
    except OSError as error:
        raise write_error(out, error) from error
