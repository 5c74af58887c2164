"""``--quiet`` and ``--verbose``, which every command has: what reaches standard error."""

from __future__ import annotations

import logging
import os
import sys
from functools import cache
from typing import Annotated, Any

import typer

from ..errors import UsageError
from ..io import steps
from . import loading, show
from .options import option

_OURS = __package__.split(".")[0]
# Libraries that print their warnings themselves, each with the variable for the level from which it does so.
_PRINTING = {"transformers": "TRANSFORMERS_VERBOSITY", "huggingface_hub": "HF_HUB_VERBOSITY"}


def _remember(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    ctx.meta[f"{__name__}.{param.name}"] = value
    return value


def _declare(
    quiet: Annotated[
        bool,
        option("--quiet", "-q", help="Print only errors and the result.", callback=_remember, expose_value=False),
    ] = False,
    verbose: Annotated[
        int,
        option(
            "--verbose",
            "-v",
            help="Also print the log, with times: models, downloads, stages, warnings of libraries. -vv for debugging.",
            count=True,
            metavar="",
            show_default=False,
            callback=_remember,
            expose_value=False,
        ),
    ] = 0,
) -> None:
    """Declares the options; ``set_up`` reads them from the context."""


@cache
def options() -> list[Any]:
    """The two options, as parameters of a command."""
    app = typer.Typer(add_completion=False)
    app.command()(_declare)
    return list(typer.main.get_command(app).params)


def set_up(ctx: Any) -> None:
    """Show messages and log as the options of a command say, until its context is closed.

    Raises:
        WsssError: both options.
    """
    quiet, verbose = bool(ctx.meta.get(f"{__name__}.quiet")), int(ctx.meta.get(f"{__name__}.verbose") or 0)
    if quiet and verbose:
        raise UsageError("--quiet and --verbose exclude each other; give one of them")
    first = os.environ.get("RANK", "0") == "0"  # of several processes that a launcher started, one is enough
    root, ours, handler = logging.getLogger(), logging.getLogger(_OURS), _Handler(quiet or not first, verbose)
    before = root.level, ours.level
    root.addHandler(handler)
    root.setLevel(logging.INFO if verbose > 1 else logging.WARNING)
    ours.setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
    logging.captureWarnings(True)
    restore = _silence("error" if not verbose else "warning" if verbose == 1 else "info")
    show.err.quiet = quiet
    steps.show_bars_on(show.err)
    forget_imports = loading.announce()

    def end() -> None:
        forget_imports()
        steps.show_bars_on(None)
        show.err.quiet = False
        restore()
        logging.captureWarnings(False)
        root.removeHandler(handler)
        root.setLevel(before[0])
        ours.setLevel(before[1])

    ctx.call_on_close(end)


def _silence(level: str) -> Any:
    """Let libraries print from this level on, also in child processes; returns a function that restores the former."""
    former = {name: os.environ.get(name) for name in _PRINTING.values()}
    loggers = {library: logging.getLogger(library) for library in _PRINTING if library in sys.modules}
    levels = {library: logger.level for library, logger in loggers.items()}
    for library, name in _PRINTING.items():
        os.environ.setdefault(name, level)
        if library in loggers and former[name] is None:  # it has already read the environment
            loggers[library].setLevel(level.upper())

    def restore() -> None:
        for name, value in former.items():
            if value is None:
                os.environ.pop(name, None)
        for library, logger in loggers.items():
            logger.setLevel(levels[library])

    return restore


class _Handler(logging.Handler):
    """Shows records on standard error: by default the package's steps and warnings as messages; with ``--verbose`` all
    records, with time, level and logger."""

    def __init__(self, quiet: bool, verbose: int) -> None:
        super().__init__(logging.ERROR if quiet else logging.NOTSET)
        self._verbose, self._process = verbose, os.getpid()
        if verbose:
            self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))

    def filter(self, record: logging.LogRecord) -> Any:
        shown = record.name.startswith(_OURS) and (record.name == steps.__name__ or record.levelno >= logging.WARNING)
        return bool(self._verbose or shown) and super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if os.getpid() != self._process:  # forked: a lock of the console may have been held, and stays so
            os.write(2, f"{text}\n".encode())
        elif self._verbose:
            show.message(text)
        elif record.levelno >= logging.ERROR:
            show.error(text)
        elif record.levelno >= logging.WARNING:
            show.warning(text)
        else:
            show.message(text)
