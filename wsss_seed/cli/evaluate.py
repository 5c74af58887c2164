"""``wsss-seed evaluate``: score label maps against ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from ..io.source import Location, location
from ..io.text import counted
from . import options, show
from .summary import warn_of_corrections

if TYPE_CHECKING:
    from ..data.base import Dataset
    from ..evaluation.evaluate import Evaluation


def evaluate(
    pred: Annotated[
        str, typer.Option("--pred", help="Folder of index PNGs <id>.png, or a run folder, which may be a URL.")
    ],
    gt: Annotated[Path | None, typer.Option("--gt", help="Folder of ground-truth index PNGs.")] = None,
    list_: Annotated[Path | None, typer.Option("--list", help="File of image ids, one per line.")] = None,
    dataset: Annotated[
        str | None,
        options.option(
            "--dataset", "-d", help="Dataset with ground truth, instead of --gt; not needed for runs over toyland."
        ),
    ] = None,
    root: options.Root = None,
    split: options.Split = None,
    classes: options.Classes = None,
    images: options.Images = None,
    seed: Annotated[int, options.option("--seed", help="Random seed of toyland's images.", min=0)] = 0,
    difficulty: options.Difficulty = "standard",
    policy: Annotated[
        str,
        options.option(
            "--policy",
            help="How ignored pixels of a prediction count: background (as background), wrong (as errors) or skip "
            "(excluded).",
        ),
    ] = "background",
    finished: Annotated[
        bool, typer.Option("--finished", help="Score the predictions that exist, and leave out the other images.")
    ] = False,
    original: options.Original = False,
    json: options.Json = False,
    config: options.Config = None,
) -> None:
    """Score label maps: mIoU, per-class IoU, pixel accuracy and boundary IoU over the whole list.

    The list is --list, or every image with ground truth, which need not cover all predictions. Missing and unusable
    predictions are listed as errors; part of the list is scored only with --finished.
    """
    from ..evaluation.evaluate import evaluate as run
    from ..evaluation.evaluate import read_ids
    from ..io.progress import Progress
    from ..output.run_folder import run_orientation
    from ..output.scored import record_score

    ids = read_ids(list_) if list_ else None
    place = location(pred)
    truth = options.ground_truth(gt, dataset, root, split, classes, images, seed, difficulty)
    names = None
    if truth is None:
        truth, own = _of_run(place, corrected=not original)
        ids = own if ids is None else ids
    elif gt is not None and classes is not None:
        from ..data.classes import load_class_set

        names = ("background", *load_class_set(classes).names)
    evaluation = run(
        place,
        truth,
        ids=ids,
        names=names,
        policy=policy,  # type: ignore[arg-type]
        orientation=run_orientation(place),
        finished=finished,
        corrected=not original,
        progress=Progress(show.err),
    )
    record_score(place, evaluation, truth, corrected=not original)
    warn_of_corrections(place, original)
    if json:
        show.as_json(evaluation.to_json())
    else:
        show_evaluation(evaluation)
    raise typer.Exit(evaluation.exit_status)


def _of_run(pred: Location, corrected: bool) -> tuple[Dataset, list[str]]:
    """The ground truth that a run has by itself, and the ids of its images."""
    from ..data.voc_layout import RUN
    from ..output.finished import open_run
    from ..output.truth import own_truth, processed

    if isinstance(pred, Path) and (pred / RUN).is_file():
        source = open_run(pred, corrected=corrected)
        truth = own_truth(source)
        if truth is not None:
            if source.gaps:
                show.warning(f"only images that have been processed are scored: {source.gaps}")
            return truth, processed(source)
    raise UsageError("evaluate needs --gt DIR, or --dataset NAME for a dataset with ground truth")


_IGNORED = {"background": "as background", "wrong": "as errors", "skip": "excluded"}
"""What happens to ignored pixels under each policy."""

_LISTED = 10  # images without a prediction that are named


def show_evaluation(evaluation: Evaluation) -> None:
    """Print the figures in per cent as a table, or the errors that kept them from being computed."""
    if not evaluation.complete:
        missing, errors = evaluation.missing, evaluation.errors
        if missing:
            listed = ", ".join(missing[:_LISTED]) + ", ..." * (len(missing) > _LISTED)
            show.error(f"no prediction for {counted(len(missing), 'image')}: {listed}")
        show.failures(errors)
        show.error(f"no mIoU: {len(missing) + len(errors)} of {evaluation.images} images cannot be compared")
        if missing:
            show.message("wsss-seed evaluate with --finished scores the predictions that exist")
        return
    if evaluation.unfinished:
        everything = evaluation.images + evaluation.unfinished
        show.warning(f"{evaluation.unfinished} of {everything} images have no prediction and are left out")
    per_class = evaluation.per_class_iou
    show.table(
        f"IoU in % over {counted(evaluation.images, 'image')}",
        ["class", "IoU", "boundary IoU"],
        [
            [name, show.percent(iou), show.percent(evaluation.per_class_boundary_iou[name])]
            for name, iou in per_class.items()
            if iou is not None
        ],
    )
    absent = [name for name, iou in per_class.items() if iou is None]
    if absent:
        show.result(f"not in the ground truth of these images: {', '.join(absent)}")
    miou = {_IGNORED[policy]: show.percent(value) for policy, value in evaluation.miou_by_policy.items()}
    first = _IGNORED[evaluation.policy]
    others = ", ".join(f"{how} {value} %" for how, value in miou.items() if how != first)
    show.result(f"mIoU {miou[first]} % with ignored pixels {first} ({others})")
    show.result(
        f"boundary IoU {show.percent(evaluation.boundary_iou)} %, pixel accuracy "
        f"{show.percent(evaluation.pixel_accuracy)} %, coverage {show.percent(evaluation.coverage)} %"
    )
