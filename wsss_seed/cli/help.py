"""Help texts: whole summaries of the commands, options in sections, and an example per command.

Typer shows sections only with rich markup, which would interpret brackets in the texts of this package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from ..errors import UsageError
from ..io.source import redacted
from . import verbosity

_SECTIONS = {
    "Images": "--dataset --root --list --split --classes --labels --gt --limit --sample --orientation --pred "
    "--against --original --worst --class --note",
    "Drawn images": "--images --difficulty",
    "Validation": "--val --val-dataset --val-root --val-split --val-images --val-masks --val-count --val-difficulty",
    "Method": "--backend --task --preset --prompts --stage --seeds --recipe --network --encoder --encoder-weights "
    "--rounds --scales --flip --window --sharpen --policy --finished --from --compare --set --config",
    "Models and devices": "--models --clip --sam --detector --device --precision --compile --batch --workers --peers "
    "--offline",
    "Several machines": "--shard --engine --address --gpus-per-worker --cpus-per-worker --shards",
    "Output": "--out --folder --layout --overwrite --keep-evidence --cache --copy --image-url-prefix --voc-archive "
    "--competition --json",
}
"""Section -> its options in order; all others, such as --seed and --help, are under General."""

_URL_AS_PATH = re.compile(r"([a-z][a-z0-9+.-]+):/+", re.IGNORECASE)  # pathlib leaves one slash of a URL

_FEW = 10
"""Up to this number of options need no sections."""

EXAMPLES = {
    "generate": 'wsss-seed generate --dataset folder --root photos --classes "cat, dog" --out seeds',
    "try": 'wsss-seed try photo.jpg --classes "cat, dog" --compare box_threshold=0.25 box_threshold=0.4',
    "reseed": "wsss-seed reseed seeds --set detector.box_threshold=0.25 --out seeds-2",
    "calibrate": 'wsss-seed calibrate --dataset folder --root photos --classes "cat, dog" --gt truth --out my.toml',
    "learn-prompts": "wsss-seed learn-prompts --dataset voc --root VOCdevkit/VOC2012 --out prompts",
    "proposals": "wsss-seed proposals --dataset voc --root VOCdevkit/VOC2012",
    "train-seg": "wsss-seed train-seg seeds --val-images photos --val-masks annotated --out segmenter",
    "predict": "wsss-seed predict segmenter photos --out predictions",
    "evaluate": "wsss-seed evaluate --pred seeds --gt annotated",
    "export": "wsss-seed export coco seeds exported",
    "import": "wsss-seed import cvat seeds task.zip",
    "report": "wsss-seed report seeds --gt annotated",
    "review": "wsss-seed review seeds",
    "sheet": "wsss-seed sheet seeds --sample 24",
    "explain": "wsss-seed explain seeds 2007_000032 --out why.png",
    "status": "wsss-seed status seeds --watch",
    "merge": "wsss-seed merge seeds",
    "fetch": "wsss-seed fetch s3://bucket/seeds seeds",
    "verify": "wsss-seed verify seeds --repair",
    "settings": "wsss-seed settings dino-sam",
    "models list": "wsss-seed models list",
    "models pull": "wsss-seed models pull base",
    "models where": "wsss-seed models where vit_b",
    "models verify": "wsss-seed models verify base",
    "models check": "wsss-seed models check base",
    "datasets list": "wsss-seed datasets list",
    "datasets check": 'wsss-seed datasets check --dataset folder --root photos --classes "cat, dog"',
    "datasets make": "wsss-seed datasets make toyland --out toyland",
    "doctor": "wsss-seed doctor --time",
    "bench": "wsss-seed bench --models base --images 3",
}
"""Command -> a command line for its help."""


_UNBROKEN = str.maketrans("-", "\u2011")  # a hyphen at which lines are not broken, so that names stay whole
_PLAIN = str.maketrans("\u2011", "-")


def _help(command: Any, ctx: Any) -> str:
    """The help of a command, in which names such as clip-sams stay on one line."""
    formatter = ctx.make_formatter()
    write_text, write_dl = formatter.write_text, formatter.write_dl
    formatter.write_text = lambda text: write_text(text.translate(_UNBROKEN))
    formatter.write_dl = lambda rows: write_dl([(name, text.translate(_UNBROKEN)) for name, text in rows])
    command.format_help(ctx, formatter)
    return str(formatter.getvalue().rstrip("\n").translate(_PLAIN))


class Command(TyperCommand):
    """A command with --quiet and --verbose, whose help has its options in sections, and an example."""

    def __init__(self, *args: Any, params: list[Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, params=[*(params or []), *verbosity.options()], **kwargs)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if error.param is not None and not error.message:  # a missing one, whose help names its choices
                error.message = getattr(error.param, "help", None) or ""
            raise

    def invoke(self, ctx: Any) -> Any:
        verbosity.set_up(ctx)
        self._refuse_urls(ctx)
        return super().invoke(ctx)

    def _refuse_urls(self, ctx: Any) -> None:
        """Raise UsageError for a URL in place of a path, of which pathlib would make a folder ``s3:``."""
        for param in self.get_params(ctx):
            value = ctx.params.get(param.name or "")
            kind = getattr(getattr(param, "type", None), "name", "")  # older versions of typer convert it later
            if (isinstance(value, Path) or kind == "path") and _URL_AS_PATH.match(str(value)):
                url = redacted(_URL_AS_PATH.sub(r"\1://", str(value)))
                if param.name == "run":
                    raise UsageError(
                        f"{url}: this command works on local runs; copy it first: wsss-seed fetch {url} DIR (status, "
                        "merge, verify and evaluate read URLs)"
                    )
                raise UsageError(f"{url}: a URL, but {max(param.opts, key=len)} takes a local path")

    def get_help(self, ctx: Any) -> str:
        return _help(self, ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        arguments, options = [], []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and param.param_type_name == "argument":
                arguments.append(record)
            elif record is not None:
                options.append((param.opts, record))
        sections = {"Arguments": arguments}
        if len(options) <= _FEW:
            sections["Options"] = [record for _, record in options]
        else:
            sections |= _in_sections(options)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        path = ctx.command_path.removeprefix(ctx.find_root().command_path).strip()  # python -m wsss_seed has spaces
        example = EXAMPLES.get(path)
        if example is not None:
            formatter.write_paragraph()
            formatter.write(f"Example:\n  {example}\n")  # unwrapped, so that it can be copied


def _in_sections(options: Iterable[tuple[list[str], Any]]) -> dict[str, list[Any]]:
    """Help records by section, in the order of the sections."""
    left = {max(names, key=len): record for names, record in options}
    found = {title: [left.pop(name) for name in names.split() if name in left] for title, names in _SECTIONS.items()}
    return {**found, "General": list(left.values())}


class Group(TyperGroup):
    """A group of commands whose help has the whole first paragraph of each command, wrapped instead of cut off."""

    def get_help(self, ctx: Any) -> str:
        return _help(self, ctx)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, " ".join((command.help or "").strip().split("\n\n")[0].split()))
            for name, command in commands
            if command is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
