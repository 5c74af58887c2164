"""What a run found, in a table and in warnings, and the command to type next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..io.source import Location, Source
from . import show

_MUCH_IGNORED = 0.3  # share of all pixels
_MANY_EMPTY = 0.5  # share of the images
_MANY_IGNORED = 0.1  # share of the images
_LISTED = 20  # classes without any pixel that are named


def show_summary(totals: Mapping[str, Any], names: Sequence[str]) -> None:
    """Print in how many images each class was found, with its mean area and score, and what was not found.

    Args:
        totals: see ``Totals.to_json``.
        names: the classes.
    """
    painted, area, score = totals["images_painted"], totals["mean_area"], totals["mean_score"]
    found = [name for name in names if name in painted]
    if found:
        show.table(
            f"Classes found in {totals['ok']} images",
            ["class", "images", "mean area in %", "mean score"],
            [
                [name, str(painted[name]), show.percent(area[name]), f"{score[name]:.2f}" if name in score else "-"]
                for name in found
            ],
        )
    never = [name for name in names if name not in painted]
    if never:
        more = f" and {len(never) - _LISTED} more" if len(never) > _LISTED else ""
        show.result(f"found in no image: {', '.join(never[:_LISTED])}{more}")
    show.result(
        f"images without any class: {totals['background_only']}, entirely ignored: {totals['ignored_only']}; "
        f"ignored pixels: {show.percent(totals['ignore'])} %"
    )


def doubts(totals: Mapping[str, Any]) -> list[str]:
    """What deserves a warning: many images or pixels without a label, and given classes that were not found."""
    images, found = totals.get("ok"), []
    if not images or "ignored_only" not in totals:
        return []
    missing, ignored, empty = totals["images_missing"], totals["ignored_only"], totals["background_only"]
    if ignored > _MANY_IGNORED * images:
        are = "is" if ignored == 1 else "are"
        why = (
            "no object of their labels was found; add synonyms to the classes"
            if missing
            else "no class was found in them; check the class names, or give `labels`"
        )
        found.append(f"{ignored} of {images} images {are} entirely ignored, as {why}")
    if empty > _MANY_EMPTY * images:
        shows = "shows" if empty == 1 else "show"
        found.append(f"{empty} of {images} images {shows} none of the classes; check the class names")
    if (totals["ignore"] or 0) > _MUCH_IGNORED:
        found.append(f"{show.percent(totals['ignore'])} % of all pixels are ignored and will not train a segmenter")
    if missing:
        most = sorted(missing.items(), key=lambda item: -item[1])[:5]
        listed = ", ".join(f"{name} in {n} image{'s' * (n > 1)}" for name, n in most)
        more = f" and {len(missing) - 5} more classes" if len(missing) > 5 else ""
        found.append(f"given labels without any pixels: {listed}{more}")
    return found


def warn_of_masks(run: Path) -> None:
    """Warn of masks that are of little use, before they are exported or trained on. ``run`` may be any folder."""
    from ..output.run_folder import read_run

    totals = (read_run(run) or {}).get("totals")
    for text in doubts(totals) if totals is not None else ():
        show.warning(text)


def warn_of_corrections(run: Location, original: bool) -> None:
    """Say which images of a run are left out or need another review. ``run`` may be any folder."""
    from ..data.corrections import Corrections

    for text in () if original else Corrections(run).remarks:
        show.warning(text)


def next_commands(out: Location, *, trains: bool, nothing_in: str | None = None) -> str:
    """The commands that show the masks, and if they are meant for it, train on them.

    Args:
        out: the run folder.
        trains: whether the masks are meant to train a segmenter.
        nothing_in: an image of a run without a single object in any mask, which is explained instead.
    """
    run = shlex.quote(str(out))
    if nothing_in is not None:
        return (
            f"next: wsss-seed explain {run} {shlex.quote(nothing_in)} shows why nothing was found; then try other "
            "class names or synonyms"
        )
    if isinstance(out, Source):
        return f"next: wsss-seed fetch {run} DIR copies the run; then wsss-seed report DIR"
    return f"next: wsss-seed report {run}" + f", or wsss-seed train-seg {run} --out segmenter" * trains
