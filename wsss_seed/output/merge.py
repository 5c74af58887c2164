"""Merging what the workers of a run have recorded, where none of them did so at its end."""

from __future__ import annotations

from dataclasses import dataclass

from ..io.source import Location
from .finished import classes_of, list_name
from .manifest import Manifest
from .run_folder import RunFolder, existing_run, write_error


@dataclass(frozen=True)
class Merged:
    """What a run folder has after merging.

    Attributes:
        run: the folder.
        planned: number of images of the run; None if it does not say.
        done: number of images with a mask.
        failed: ids of those that have failed.
    """

    run: Location
    planned: int | None
    done: int
    failed: tuple[str, ...]

    @property
    def missing(self) -> int | None:
        """Number of images not processed yet."""
        return None if self.planned is None else max(0, self.planned - self.done - len(self.failed))

    @property
    def exit_status(self) -> int:
        """0 complete, 1 images have failed or are missing."""
        return 1 if self.failed or self.missing else 0


def merge(run: Location) -> Merged:
    """Write manifest, list and totals from the records of all workers; can be repeated.

    Runs do this at their end. It is needed where all workers were killed and none is to be started again. Ids that the
    manifest does not have yet come in alphabetical order; the next command puts them in the order of the dataset.

    Raises:
        RunFolderError: not a run folder, a process is still writing to it, or it cannot be written.
    """
    about = existing_run(run)
    class_set = classes_of(run, about, "merge")
    try:
        with RunFolder(run, class_set, about["settings"], split=list_name(run, about), alone=True) as folder:
            with Manifest(run) as manifest:
                ids = sorted(manifest)
            planned = about.get("planned")
            folder.finalize(ids, images=planned if isinstance(planned, int) else None)
        with Manifest(run) as manifest:
            failed = tuple(id for id, record in manifest.items() if record.status != "ok")
            return Merged(run, planned if isinstance(planned, int) else None, len(manifest) - len(failed), failed)
    except OSError as error:
        raise write_error(run, error) from error
