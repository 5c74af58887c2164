"""The command line. Each command has a module that parses options, calls the library and prints the result."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
import typer.core

from .. import __version__
from ..errors import WsssError, out_of_memory
from ..io.signals import exit_on_signal
from . import (
    calibrate,
    datasets,
    doctor,
    evaluate,
    explain,
    export,
    generate,
    learn_prompts,
    models,
    predict,
    proposals,
    report,
    reseed,
    settings,
    sheet,
    show,
    train_seg,
)


class _Commands(typer.core.TyperGroup):
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
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("generate")(generate.generate)
app.command("reseed")(reseed.reseed)
app.command("calibrate")(calibrate.calibrate)
app.command("learn-prompts")(learn_prompts.learn_prompts)
app.command("proposals")(proposals.proposals)
app.command("train-seg")(train_seg.train_seg)
app.command("predict")(predict.predict)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)
app.command("report")(report.report)
app.command("sheet")(sheet.sheet)
app.command("explain")(explain.explain)
app.command("settings")(settings.settings)
app.command("doctor")(doctor.doctor)
app.add_typer(models.app, name="models")
app.add_typer(datasets.app, name="datasets")


def _version(wanted: bool) -> None:
    if wanted:
        show.result(f"wsss-seed {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line. Exit status: 0 success, 1 some images failed, 2 wrong usage or input, 130 interrupted."""
    # Let torch's idle CPU threads sleep: with other processes on the same cores, spinning was 40 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    exit_on_signal()
    try:
        try:
            app()
        except SystemExit:
            show.finish()
            raise
    except WsssError as error:
        show.error(str(error))
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        remedy = out_of_memory(error)
        if remedy is None:
            raise
        show.error(remedy)
        sys.exit(2)
    except OSError as error:  # not handled closer to the file, so the name is all we have
        show.error(f"{error.filename or 'a file'}: cannot be read or written ({error.strerror or error})")
        sys.exit(2)
