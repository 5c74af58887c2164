"""``wsss-seed evaluate``: label maps against ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from . import options, show

if TYPE_CHECKING:
    from ..evaluation.evaluate import Evaluation


def evaluate(
    pred: Annotated[Path, typer.Option("--pred", help="Folder of index PNGs <id>.png, or a run folder.")],
    gt: Annotated[Path | None, typer.Option("--gt", help="Folder of ground-truth index PNGs.")] = None,
    list_: Annotated[Path | None, typer.Option("--list", help="File with the ids, one a line.")] = None,
    dataset: Annotated[
        str | None, options.option("--dataset", "-d", help="Instead of --gt: a dataset with ground truth.")
    ] = None,
    root: options.Root = None,
    split: options.Split = None,
    classes: options.Classes = None,
    images: options.Images = None,
    seed: Annotated[int, options.option("--seed", help="Seed of the drawn world (toyland).", min=0)] = 0,
    policy: Annotated[
        str, options.option("--policy", help="What a predicted 255 counts as: background, wrong or skip.")
    ] = "background",
    json: options.Json = False,
    config: options.Config = None,
) -> None:
    """Score label maps: mIoU over the whole list, IoU of each class, pixel accuracy, boundary IoU.

    A missing or unusable prediction is an error that is listed; there is no mIoU over a part of the list.
    """
    from ..evaluation.evaluate import evaluate as run
    from ..evaluation.evaluate import read_ids

    ids = read_ids(list_) if list_ else None
    names = None
    truth: Any = gt
    if gt is None:
        if dataset is None:
            raise UsageError("evaluate needs --gt DIR, or --dataset NAME for a dataset with ground truth")
        from ..data import open_dataset

        truth = open_dataset(dataset, root, split, classes, "none", images, seed)
    elif classes is not None:
        from ..data.classes import load_class_set

        names = ("background", *load_class_set(classes).names)
    evaluation = run(pred, truth, ids=ids, names=names, policy=policy)  # type: ignore[arg-type]
    if json:
        show.as_json(evaluation.to_json())
    else:
        show_evaluation(evaluation)
    raise typer.Exit(evaluation.exit_status)


def show_evaluation(evaluation: Evaluation) -> None:
    """The figures in per cent as a table, or what kept them from being computed."""
    problems = [f"{name}: no prediction" for name in evaluation.missing] + [error for _, error in evaluation.errors]
    for problem in problems[:20]:
        show.error(problem)
    if problems:
        more = f" ({len(problems) - 20} more not shown)" if len(problems) > 20 else ""
        show.error(f"no mIoU: {len(problems)} of {evaluation.images} images cannot be compared{more}")
        return
    show.table(
        f"IoU in % over {evaluation.images} images",
        ["class", "IoU", "boundary IoU"],
        [
            [name, show.percent(iou), show.percent(evaluation.per_class_boundary_iou[name])]
            for name, iou in evaluation.per_class_iou.items()
        ],
    )
    others = [f"{p} {show.percent(m)}" for p, m in evaluation.miou_by_policy.items() if p != evaluation.policy]
    show.result(f"mIoU {show.percent(evaluation.miou)} % (255 counted as {evaluation.policy}; {', '.join(others)})")
    show.result(
        f"boundary IoU {show.percent(evaluation.boundary_iou)} %, pixel accuracy "
        f"{show.percent(evaluation.pixel_accuracy)} %, coverage {show.percent(evaluation.coverage)} %"
    )
