"""Export of runs to the formats of other tools.

Each of ``FORMATS`` is a module with ``write(folder, run, parts)``, which writes the pictures of the parts to a folder,
and ``USE``, the command or code that reads the folder. Masks that were corrected in one of ``EDITORS`` are brought back
by ``output.imports``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...data.base import Dataset
from ...errors import RunFolderError, UsageError, unknown_name
from ...io.files import write_text
from ..dataset_card import README, export_card, hub_card, is_ours, read_card
from ..finished import FinishedRun, open_run
from ..folder import whole_folder
from ..report.evidence import EvidenceOf, no_evidence
from ..run_folder import image_path
from ..score import read_score
from ..worst import chosen
from .parts import Entry, Part

if TYPE_CHECKING:
    from ...io.progress import Reporter

FORMATS = {
    "mmseg": "images, index PNGs and configuration files of mmsegmentation 1.x",
    "hf": "an image folder with label maps for Hugging Face datasets",
    "coco": "COCO JSON with run-length masks, by region and by class",
    "yolo": "polygons and data.yaml as YOLO segmentation reads them",
    "yolo-semantic": "index PNGs and data.yaml as YOLO's semantic segmentation reads them",
    "cvat": "images, labels and annotations for CVAT",
    "labelstudio": "tasks with brush masks as pre-annotations for Label Studio",
    "labelme": "polygons for labelme",
    "fiftyone": "a dataset with masks, confidence, scores and boxes for FiftyOne",
}

EDITORS = ("cvat", "labelstudio", "labelme", "fiftyone")
"""Formats whose masks come back with ``import``; their files are named by tags, and they have one part."""


ON_HUB = ("hf",)
"""Formats whose card has the metadata of the Hugging Face Hub."""


@dataclass(frozen=True)
class Exported:
    """Summary of an export.

    Attributes:
        out: the folder.
        format: its format.
        images: number of images per part.
        gaps: what is missing from the run, in words; empty if it is complete.
        left_out: number of images of the run that failed or are not processed yet; None if unknown.
        failed: id and error of finished images that could not be exported.
        shared: ids that occur in both parts.
        use: how to read the folder.
        remark: what the format loses of these masks; empty if nothing, or if it was not measured.
    """

    out: Path
    format: str
    images: dict[str, int]
    gaps: str
    left_out: int | None
    failed: tuple[tuple[str, str], ...]
    shared: tuple[str, ...]
    use: str
    remark: str = ""

    @property
    def exit_status(self) -> int:
        """0 if all finished images were exported, 1 otherwise."""
        return 1 if self.failed else 0

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain JSON values."""
        return {
            "out": str(self.out),
            "format": self.format,
            "images": self.images,
            "missing": self.left_out,
            "failed": [{"id": name, "error": error} for name, error in self.failed],
            "in_both": list(self.shared),
            "remark": self.remark,
        }


def export(
    format: str,
    run: Path,
    out: Path,
    *,
    validation: Dataset | None = None,
    copy: bool = False,
    overwrite: bool = False,
    corrected: bool = True,
    worst: int | None = None,
    classes: Sequence[str] = (),
    note: str | None = None,
    image_url_prefix: str | None = None,
    evidence_of: EvidenceOf = no_evidence,
    progress: Reporter | None = None,
) -> Exported:
    """Export the finished images of a run as the training part of a dataset.

    The folder is replaced once the export is complete; until then, and after a failure, it is unchanged. Its README.md
    is the card of the masks; one that was edited stays.

    Args:
        format: one of ``FORMATS``.
        run: the run folder.
        out: the folder to write; new, empty, or an export if ``overwrite``.
        validation: images with label maps on disk, of the same classes, for the validation part.
        copy: copy images instead of linking them.
        overwrite: replace an existing export.
        corrected: use corrected masks, and leave out rejected images.
        worst, classes, note: which images; see ``worst.chosen``.
        image_url_prefix: what the URLs of images begin with; for ``labelstudio``.
        evidence_of: for the boxes of an image; for ``fiftyone``.
        progress: progress display.

    Raises:
        WsssError: no run, no images to export, other classes in ``validation``, or an unusable folder.
    """
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    if validation is not None and format in EDITORS:
        raise UsageError(f"`val`: {format} has no validation part; leave it out")
    options: dict[str, Any] = {"evidence_of": evidence_of} if format == "fiftyone" else {}
    if image_url_prefix is not None:
        if format != "labelstudio":
            raise UsageError("`image_url_prefix`: for labelstudio only; leave it out")
        options["image_url_prefix"] = image_url_prefix
    source = open_run(run, corrected=corrected)
    if run.resolve() in (out.resolve(), *out.resolve().parents):
        raise RunFolderError(f"{out}: lies in the run folder; choose another folder")
    ids = chosen(source, worst=worst, classes=classes, note=note)
    parts = _parts(source, ids, validation, copy, progress)
    module = import_module(f".{format.replace('-', '_')}", __name__)
    about: dict[str, Any] = {"format": format, "run": str(run.resolve()), "split": source.split}
    try:
        if progress is not None:
            progress.start(sum(len(part.entries) for part in parts), 0)
        with whole_folder(out, overwrite, about) as folder:
            remark = module.write(folder, source, parts, **options)
            about["images"] = {part.name: len(part.done) for part in parts}
            card = export_card(
                source.about,
                source.names[1:],
                about["images"],
                read_score(run, source.about),
                "" if source.corrections is None else source.corrections.summary,
            )
            if format in ON_HUB:
                card = hub_card(card, run.resolve().name, sum(about["images"].values()))
            former = read_card(out) if overwrite else None
            write_text(folder / README, card if former is None or is_ours(former) else former)
            for part in parts:
                if not part.done:
                    raise RunFolderError(f"{part.failed[0][1]} (none of {len(part.failed)} images can be exported)")
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunFolderError(
            f"{out}: cannot be written ({reason}); nothing was changed; make room or choose another"
        ) from error
    finally:
        if progress is not None:
            progress.stop()
    left_out = None if source.unfinished is None else source.unfinished + len(source.failed)
    return Exported(
        out=out,
        format=format,
        images={part.name: len(part.done) for part in parts},
        gaps=source.gaps,
        left_out=left_out,
        failed=tuple(failure for part in parts for failure in part.failed),
        shared=tuple(sorted(set.intersection(*(set(part.done) for part in parts)))) if len(parts) > 1 else (),
        use=module.USE.format(out=out),
        remark=remark or "",
    )


def _parts(
    run: FinishedRun, ids: Sequence[str], validation: Dataset | None, copy: bool, progress: Reporter | None
) -> list[Part]:
    classes = len(run.names)
    path, layout = run.path, run.layout
    train = [Entry(id, image_path(path, id, layout), run.mask(id)) for id in ids]
    parts = [Part("train", train, classes, copy, progress)]
    if validation is not None:
        if ("background", *validation.class_set.names) != run.names:
            theirs = ", ".join(validation.class_set.names[:8])
            raise RunFolderError(
                f"{run.path}: has other classes than the validation images ({theirs}); name theirs alike"
            )
        entries = []
        for sample in validation:
            if sample.image is None or sample.mask is None:
                raise RunFolderError(f"{sample.id}: has no label map for validation; remove it from the list")
            entries.append(Entry(sample.id, sample.image, sample.mask))
        parts.append(Part("val", entries, classes, copy, progress))
    return parts
