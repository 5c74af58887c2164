"""``wsss-seed datasets``: list the supported datasets, check one, draw a synthetic one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError, on_command_line, unknown_name
from . import options, show
from .help import Command, Group

if TYPE_CHECKING:
    from ..data.base import Dataset
    from ..data.check import Report

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
    show.table("Datasets", ["name", "description"], [[n, on_command_line(text)] for n, text in DATASETS.items()])
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
    list: options.ListFile = None,
    split: options.Split = None,
    classes: options.Classes = None,
    labels: options.Labels = "auto",
    images: options.Images = None,
    seed: Annotated[int, typer.Option("--seed", help="Random seed of toyland's images.")] = 0,
    difficulty: options.Difficulty = "standard",
    json: options.Json = False,
) -> None:
    """Read every image, mask and label of a dataset and report problems. Exit status 1 if there are any.

    Also shows how class file and label file were understood: each class with its phrases and its number of images.
    """
    from ..data import open_dataset
    from ..data.check import check_dataset
    from ..io.progress import Progress

    data = open_dataset(dataset, root, split, classes, labels, images, seed, difficulty, list)
    with Progress(show.err).within("checking", "image", len(data)) as shown:
        report = check_dataset(data, shown.step)
    if json:
        show.as_json(report.to_json())
    else:
        show_report(data, report)
    if report.problems:
        raise typer.Exit(1)


def show_report(data: Dataset, report: Report) -> None:
    """Print how classes, labels and ground truth were understood, then warnings and problems."""
    classes = data.class_set
    known = report.masks or report.labelled
    show.table(
        f"Class set '{classes.name}'",
        ["label", "class", "phrases", "images"],
        [
            [str(n), name, ", ".join(phrases), str(report.images_per_class[name]) if known else "-"]
            for n, (name, phrases) in enumerate(zip(classes.names, classes.phrases, strict=True), 1)
        ],
    )
    if classes.negatives:
        show.result(f"Negative phrases: {', '.join(classes.negatives)}")
    show.result(_of_images(data, report))
    show.result(_of_labels(data, report))
    show.result(_of_masks(report))
    for text in (report.unmatched, *report.warnings):
        if text:
            show.warning(text)
    for problem in report.problems:
        show.result(problem)
    show.result(f"{len(report.problems) or 'no'} problem{'s' * (len(report.problems) != 1)}")


def _of_images(data: Dataset, report: Report) -> str:
    text = f"Images: {report.images} of {data.title}"
    if report.smallest and report.largest:
        small, large = ("{} x {}".format(*size) for size in (report.smallest, report.largest))
        text += f", {small} pixels" if small == large else f", {small} to {large} pixels"
    if report.turned:
        text += f"; EXIF turns {report.turned} of them"
    return text + (f"; {data.passed_over}" if data.passed_over else "")


def _of_labels(data: Dataset, report: Report) -> str:
    if report.labels_source is None:
        return "Image-level labels: none"
    text = f"Image-level labels: {report.labelled} of {report.images} images, from {report.labels_source}"
    example = next((sample for sample in data if sample.labels), None)
    if example is not None and example.labels:
        text += f"; for example, {example.id} shows {', '.join(data.class_set.names[c] for c in example.labels)}"
    return text + (f"\n{data.elsewhere}" if data.elsewhere else "")


def _of_masks(report: Report) -> str:
    if not report.masks:
        return "Ground truth: none"
    text = f"Ground truth: {report.masks} label maps, {show.percent(report.ignore_share)} % of their pixels ignored"
    if report.no_background:
        text += f"; {report.no_background} without background"
    if report.labels_differ:
        verb = "shows" if report.labels_differ == 1 else "show"
        text += f"; {report.labels_differ} {verb} other classes than the image-level labels"
    return text


@app.command(cls=Command)
def make(
    world: Annotated[str, typer.Argument(metavar="WORLD", help="Dataset to draw: toyland.")],
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
