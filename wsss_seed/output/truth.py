"""The ground truth of runs over toyland, which is drawn again and need not be given."""

from __future__ import annotations

from ..data import open_dataset
from ..data.base import Dataset
from ..errors import WsssError
from .finished import FinishedRun


def own_truth(run: FinishedRun) -> Dataset | None:
    """The dataset of a run over toyland, up to its last image; None for any other run.

    Args:
        run: the run; a damaged record of its dataset counts as none.
    """
    drawn = run.about["settings"].get("dataset")
    if not isinstance(drawn, dict) or drawn.get("name") != "toyland":
        return None
    try:
        last = max(int(id.removeprefix(f"{drawn['split']}_")) for id in processed(run))
        return open_dataset(
            "toyland",
            split=drawn["split"],
            labels="none",
            images=last + 1,
            seed=drawn["seed"],
            difficulty=drawn["difficulty"],
        )
    except (KeyError, TypeError, ValueError, WsssError):
        return None


def processed(run: FinishedRun) -> list[str]:
    """The ids of the images that have been processed, those that failed last."""
    return [record.id for record in (*run.records, *run.failed)]
