"""``wsss-seed datasets``: list the supported datasets, check one, draw a synthetic one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError, unknown_name
from . import options, show
from .help import Command, Group

app = typer.Typer(cls=Group, help="List, check and draw datasets.", no_args_is_help=True)


@app.command("list", cls=Command)
def list_(json: options.Json = False) -> None:
    """List the supported datasets and the class sets."""
    from ..data import DATASETS
    from ..data.classes import known_class_sets, load_class_set

    sets = {name: load_class_set(name) for name in known_class_sets()}
    if json:
        show.as_json({"datasets": DATASETS, "class_sets": {n: list(c.names) for n, c in sets.items()}})
        return
    show.table("Datasets", ["name", "description"], [[n, text] for n, text in DATASETS.items()])
    show.table(
        "Class sets",
        ["name", "classes", "names"],
        [
            [n, str(len(c.names)), ", ".join(c.names[:8]) + (", ..." if len(c.names) > 8 else "")]
            for n, c in sets.items()
        ],
    )


@app.command(cls=Command)
def check(
    dataset: options.Dataset,
    root: options.Root = None,
    split: options.Split = None,
    classes: options.Classes = None,
    labels: options.Labels = "auto",
    images: options.Images = None,
    seed: Annotated[int, typer.Option("--seed", help="Random seed of toyland's images.")] = 0,
    difficulty: options.Difficulty = "standard",
    json: options.Json = False,
) -> None:
    """Read every image, mask and label of a dataset and report problems. Exit status 1 if there are any."""
    from ..data import open_dataset
    from ..data.check import check_dataset

    data = open_dataset(dataset, root, split, classes, labels, images, seed, difficulty)
    report = check_dataset(data)
    if json:
        show.as_json(report.to_json())
    else:
        report_lines = report.to_json()
        problems = report_lines.pop("problems")
        show.table(
            f"{data.name} {data.split}", ["", ""], [[k.replace("_", " "), str(v)] for k, v in report_lines.items()]
        )
        for problem in problems:
            show.out.print(problem, markup=False)
    if report.problems:
        raise typer.Exit(1)


@app.command(cls=Command)
def make(
    world: Annotated[str, typer.Argument(help="Dataset to draw: toyland.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    split: Annotated[str, typer.Option("--split", help="train, val or test, which have no images in common.")] = "test",
    images: Annotated[int, typer.Option("--images", help="Number of images.", min=1)] = 100,
    seed: Annotated[int, typer.Option("--seed", help="Random seed of the images.", min=0)] = 0,
    difficulty: options.Difficulty = "standard",
) -> None:
    """Draw toyland to disk in VOC layout, to be read with --dataset voc --root OUT --classes toyland.

    A fifth of the hard images show no class: to seed them label-free, add --set assume_present=no.
    """
    from ..data.toyland import DIFFICULTIES, SPLITS
    from ..data.toyland.tree import write_tree

    if world != "toyland":
        raise unknown_name("world", world, ["toyland"])
    if split not in SPLITS:
        raise unknown_name("split of toyland", split, SPLITS)
    if difficulty not in DIFFICULTIES:
        raise unknown_name("difficulty of toyland", difficulty, DIFFICULTIES)
    try:
        write_tree(out, split, images, seed, difficulty)
    except OSError as error:
        raise UsageError(
            f"{error.filename or out}: cannot be written ({error.strerror}); choose another --out"
        ) from None
    show.out.print(f"{images} images in {out}", markup=False)
