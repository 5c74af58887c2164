"""The command line. Each command has a module that parses options, calls the library and prints the result."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from .. import __version__
from ..errors import WsssError, broken_library, one_line, out_of_memory
from ..io.signals import exit_on_signal, leave, leaves_at_once
from . import (
    bench,
    calibrate,
    datasets,
    doctor,
    evaluate,
    explain,
    export,
    fetch,
    generate,
    import_masks,
    learn_prompts,
    merge,
    models,
    predict,
    proposals,
    report,
    reseed,
    review,
    settings,
    sheet,
    show,
    status,
    train_seg,
    try_,
    verify,
)
from .help import Command, Group


class _Commands(Group):
    """The command group. Turns a KeyboardInterrupt that a command does not handle into exit status 130."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if os.environ.get("RANK", "0") == "0":  # only the first of several processes prints
                show.error("interrupted")
            raise typer.Exit(130) from None


app = typer.Typer(
    name="wsss-seed",
    cls=_Commands,
    help="Turn photographs without pixel labels into semantic-segmentation masks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("generate", cls=Command)(generate.generate)
app.command("try", cls=try_.Comparing)(try_.try_)
app.command("reseed", cls=Command)(reseed.reseed)
app.command("calibrate", cls=Command)(calibrate.calibrate)
app.command("learn-prompts", cls=Command)(learn_prompts.learn_prompts)
app.command("proposals", cls=Command)(proposals.proposals)
app.command("train-seg", cls=Command)(train_seg.train_seg)
app.command("predict", cls=Command)(predict.predict)
app.command("evaluate", cls=Command)(evaluate.evaluate)
app.command("export", cls=Command)(export.export)
app.command("import", cls=Command)(import_masks.import_masks)
app.command("report", cls=Command)(report.report)
app.command("review", cls=Command)(review.review)
app.command("sheet", cls=Command)(sheet.sheet)
app.command("explain", cls=Command)(explain.explain)
app.command("status", cls=Command)(status.status)
app.command("merge", cls=Command)(merge.merge)
app.command("fetch", cls=Command)(fetch.fetch)
app.command("verify", cls=Command)(verify.verify)
app.command("settings", cls=Command)(settings.settings)
app.command("doctor", cls=Command)(doctor.doctor)
app.command("bench", cls=Command)(bench.bench)
app.add_typer(models.app, name="models")
app.add_typer(datasets.app, name="datasets")


def _version(wanted: bool) -> None:
    if wanted:
        show.result(f"wsss-seed {__version__}")
        show.result(f"Python {platform.python_version()} on {platform.platform()}")
        for name in ("torch", "transformers"):
            try:
                show.result(f"{name} {version(name)}")
            except PackageNotFoundError:
                show.result(f"{name} is not installed")
        show.result(f"device: {_device()}")
        raise typer.Exit


def _device() -> str:
    """The device that ``auto`` takes, as a bug report should name it."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return f"unknown, torch cannot be imported ({one_line(error)})"
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda ({torch.cuda.get_device_name()}, CUDA {torch.version.cuda})"


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the versions and the device that a bug report needs, and exit.",
            callback=_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line. Exit status: 0 success, 1 some images failed, 2 wrong usage or input, 130 interrupted."""
    exit_on_signal()
    try:
        try:
            app()
        except SystemExit as ended:
            show.finish()
            if ended.code == 130 and leaves_at_once():
                leave(130)
            raise
    except WsssError as error:
        show.error(str(error))
        sys.exit(2)
    except (MemoryError, RuntimeError, ImportError) as error:
        remedy = out_of_memory(error) or broken_library(error)
        if remedy is None:
            raise
        show.error(remedy)
        sys.exit(2)
    except OSError as error:  # not handled closer to the file, so the name is all we have
        show.error(f"{error.filename or 'a file'}: cannot be read or written ({error.strerror or error})")
        sys.exit(2)
