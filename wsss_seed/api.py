"""The public API: seed single images, run over datasets, read runs again."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from .config import dotted
from .data import DATASETS, images_in, open_dataset
from .data.base import Dataset, Sample
from .data.classes import ClassSet, indices_of, load_class_set, shared_phrases
from .data.images import exif_orientation, read_orientation, read_rgb
from .data.orientation import Orientation, check_orientation, inverse, turn, turned_remark
from .data.voc_layout import Layout
from .errors import ImageError, UsageError
from .io.prefetch import prefetch_map
from .io.source import is_url, location, redacted
from .output.finished import FinishedRun
from .output.finished import open_run as read_run
from .output.manifest import Record
from .types import LoadedSample, Seed, Seeder

if TYPE_CHECKING:
    from .data.corrections import Correction, Verdict
    from .evaluation.evaluate import Evaluation
    from .evaluation.metrics import Policy
    from .io.progress import Progress
    from .output.export import Exported
    from .output.imports import Imported
    from .output.report import Reported
    from .output.sheet import Sheet
    from .run.calibrate import Calibration
    from .run.explain import Explanation
    from .run.generate import RunResult

log = logging.getLogger(__name__)

Classes = str | Path | Sequence[str] | Mapping[str, Sequence[str]] | ClassSet
"""``"voc"``, ``"coco"``, ``"toyland"``; a file; ``"cat, dog"``; names; names with their phrases."""

Picture = str | Path | Image.Image | np.ndarray
"""An image file or its URL, a PIL image, or uint8 (H, W, 3) RGB."""


class ImageSeeder:
    """Seeds images one by one; what ``load`` returns.

    The models see photographs upright: a file or PIL image with an EXIF orientation is turned for them.

    Attributes:
        class_set: the classes.
        settings: the effective settings, dotted key to value.
        orientation: what ``Seed.labels`` and everything else in a seed match: the ``stored`` pixels of such a
            photograph, or the ``upright`` one.
    """

    def __init__(self, seeder: Seeder, class_set: ClassSet, orientation: Orientation = "stored") -> None:
        self._seeder = seeder
        self.class_set = class_set
        self.orientation = orientation
        self.settings = dict(seeder.settings)

    def __call__(self, image: Picture, labels: Iterable[str] | None = None) -> Seed:
        """Seed an image.

        Args:
            image: a file or its URL, a PIL image, or uint8 (H, W, 3) RGB.
            labels: the names of the classes in the image, where they are known. None leaves it to the backend to find
                out; an empty set says that there is none.

        Raises:
            ImageError: the image cannot be read or seeded.
            UsageError: a label that is no class.
        """
        return self._seed(image, *_pixels(image), labels)

    def stream(
        self,
        images: Iterable[Picture],
        labels: Iterable[Iterable[str] | None] | None = None,
        *,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> Iterator[Seed]:
        """Seed many images in order, the next ones being decoded meanwhile.

        Args:
            images: as for a call; nothing is kept of them.
            labels: of each image, in the same order.
            on_error: what to do with an image that cannot be read or seeded: ``raise`` its ImageError, or ``skip`` it
                with a warning in the log.

        Yields:
            A seed per image; ``Seed.path`` says which file it is of.
        """
        if on_error not in ("raise", "skip"):
            raise UsageError(f"on_error {on_error!r}: expected 'raise' or 'skip'")
        pairs = zip(images, labels, strict=True) if labels is not None else ((image, None) for image in images)
        with closing(prefetch_map(lambda pair: _pixels(pair[0]), pairs, workers=2, depth=2)) as decoded:
            for (image, own), pixels in decoded:
                try:
                    yield self._seed(image, *pixels.result(), own)
                except ImageError as error:
                    if on_error == "raise":
                        raise
                    log.warning("%s", error)

    def _seed(self, image: Picture, pixels: np.ndarray, exif: int, labels: Iterable[str] | None) -> Seed:
        place = location(image) if isinstance(image, str | Path) else None
        path = place if isinstance(place, Path) else None
        sample = Sample(
            place.name if place else "image", path, None if labels is None else indices_of(self.class_set, labels)
        )
        upright = turn(pixels, exif)
        seed = replace(
            self._seeder.seed(LoadedSample(sample, upright)), image=upright, class_set=self.class_set, path=path
        )
        return seed.turned(inverse(exif)) if self.orientation == "stored" else seed


def load(
    backend: str | None = None,
    *,
    classes: Classes,
    models: str | Mapping[str, str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    compile: bool = False,
    prompts: str | Path | None = None,
    preset: str | None = None,
    stage: str | None = None,
    orientation: Orientation = "stored",
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> ImageSeeder:
    """Load a backend with its models.

    On cores that other processes use as well, import wsss_seed before torch, or set ``OMP_WAIT_POLICY=PASSIVE`` in the
    environment: idle threads of torch then sleep instead of spinning, and small models are three times as fast or more.
    If torch has been imported already, ``torch.set_num_threads(1)`` helps nearly as much; the variable does not.

    Args:
        backend: ``dino-sam`` (the default), ``clip-sams``, ``sam3``, or one that another package provides.
        classes: the classes to find.
        models: a model set (``tiny``, ``base``, ``large``), or a mapping of ``clip``, ``sam`` and ``detector`` to
            models, with ``set`` for the set that has the others. By default ``tiny`` for toyland's classes, else
            ``base``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32``, ``bf16``, ``fp16``, ``sam-bf16`` (only SAM's image encoder in bf16), or ``auto``: half
            precision on a GPU that has it, and on a CPU ``sam-bf16`` where that is faster and gives the same masks.
        compile: compile SAM's image encoder (``vit_b``, ``vit_l``, ``vit_h``) with torch.compile: one to two minutes
            when it is loaded, then faster by an eighth on a CPU; masks differ by rounding.
        prompts, preset, stage: of clip-sams: its prompts (``handwritten``, or a file or folder of learn-prompts), the
            recipe and its stage; ``preset="plain"`` is the baseline of dino-sam without CLIP.
        orientation: what ``Seed.labels`` matches where EXIF turns a photograph: by default the ``stored`` pixels, as
            PIL returns them, or the ``upright`` photograph, as viewers show it.
        settings: of the backend, by dotted keys or in nested mappings.
        more: settings by their names or groups: ``mode="label_free"``, ``detector={"box_threshold": 0.25}``.

    Raises:
        UsageError: an unknown name or setting, or a value out of range.
        DataError: classes that cannot be used.
        CheckpointError: weights that cannot be obtained or read.
    """
    from .run.plan import choose_backend, model_warnings
    from .seeding.backends import BackendRequest, build_seeder

    class_set = load_class_set(classes)
    options = _options(prompts, preset, stage)
    name, chosen = _models(models)
    backend, model_set = choose_backend(
        backend, name, class_set.name, device, precision, chosen=chosen, options=options, compile=compile
    )
    _warn(model_warnings(backend, model_set, class_set.name, options))
    _warn(shared_phrases(class_set))
    request = BackendRequest(class_set, model_set, _settings(settings, more))
    seeder = build_seeder(backend, request, options)
    if seeder.needs_boxes:
        raise UsageError("boxes_given needs the ground-truth boxes of a dataset; use generate")
    return ImageSeeder(seeder, class_set, check_orientation(orientation))


def generate(
    source: str | Path | Dataset,
    *,
    out: str | Path | None = None,
    classes: Classes | None = None,
    root: str | Path | None = None,
    split: str | None = None,
    labels: str | Path = "auto",
    images: int | None = None,
    seed: int = 0,
    difficulty: str = "standard",
    backend: str | None = None,
    models: str | Mapping[str, str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    compile: bool = False,
    prompts: str | Path | None = None,
    preset: str | None = None,
    stage: str | None = None,
    orientation: Orientation = "stored",
    layout: Layout | None = None,
    batch: int | None = None,
    limit: int | None = None,
    sample: int | None = None,
    overwrite: bool = False,
    keep_evidence: bool = False,
    progress: bool = True,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Run:
    """Seed a dataset into a run folder, as ``wsss-seed generate`` does; an interrupted run resumes.

    Args:
        source: a folder of images, a list of images (see ``data.lists``), WebDataset tars (``shard-{000..012}.tar``),
            ``voc``, ``coco`` or ``toyland``, or an open dataset.
        out: the run folder; ``seeds/DATASET-SPLIT`` by default. Only the command line writes to object storage.
        classes: the classes to find; needed for images without classes of their own.
        root: folder of voc or coco, or of the relative paths in a list.
        split: its list.
        labels: image-level labels: ``auto`` looks beside the dataset, ``masks`` derives them from the ground truth,
            ``none`` seeds label-free, all else is a file.
        images: how many images of toyland to draw.
        seed: random seed of ``sample``, and of toyland's images.
        difficulty: of toyland's images: ``standard`` or ``hard``.
        backend, models, device, precision, compile, prompts, preset, stage, settings, more: see ``load``; ``device``
            may name several devices, separated by commas, which share the work.
        orientation: what the masks match where EXIF turns a photograph: the ``stored`` pixels, or the ``upright``
            photograph, of which the run folder then has a copy.
        layout: how the files of the run folder are named: ``flat``, or ``nested`` with subfolders for millions of
            images; by default that of an existing run, else ``flat``.
        batch: number of images that dino-sam processes together; by default 8 on a GPU and 1 on a CPU.
        limit: seed the first images only.
        sample: seed this many random images only; a larger number adds to them.
        overwrite: seed finished images again.
        keep_evidence: keep the outputs of the models in the run folder, for ``Run.reseed``.
        progress: show progress on standard error.

    Raises:
        WsssError: nothing can be seeded; ``wsss_seed.errors`` lists the kinds. Images that fail are in ``Run.failed``.
        KeyboardInterrupt: interrupted; what is finished stays, and the same call resumes.
    """
    from rich.console import Console

    from .io.progress import Progress
    from .run.plan import execute, model_warnings, plan_run

    if isinstance(out, str) and is_url(out):
        raise UsageError(f"`out` {redacted(out)}: wsss_seed.generate writes into a folder; for URLs use the command")
    data = _dataset(source, root, split, classes, labels, images, seed, difficulty)
    name, chosen = _models(models)
    plan = plan_run(
        data,
        backend=backend,
        models=name,
        chosen=chosen,
        options=_options(prompts, preset, stage),
        settings=_settings(settings, more),
        device=device,
        precision=precision,
        compile=compile,
        out=None if out is None else Path(out),
        limit=limit,
        sample=sample,
        seed=seed,
        orientation=orientation,
        layout=layout,
        batch=batch,
        overwrite=overwrite,
        keep_evidence=keep_evidence,
    )
    _warn(model_warnings(plan.backend, plan.models, data.class_set.name, plan.options))
    _warn(shared_phrases(data.class_set))
    console = Console(stderr=True, quiet=not progress)
    for text in data.remarks:
        console.print(text, markup=False, soft_wrap=True)
    result = execute(plan, progress=Progress(console))
    if result.turned:
        console.print(turned_remark(result.turned, result.made, plan.orientation), markup=False, soft_wrap=True)
    if result.interrupted:
        raise KeyboardInterrupt
    return Run(Path(str(result.out)), data, result)


def calibrate(
    source: str | Path | Dataset,
    *,
    gt: str | Path | None = None,
    classes: Classes | None = None,
    root: str | Path | None = None,
    split: str | None = None,
    labels: str | Path = "auto",
    images: int | None = None,
    seed: int = 0,
    difficulty: str = "standard",
    backend: str = "dino-sam",
    models: str | Mapping[str, str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    limit: int | None = None,
    from_defaults: bool = False,
    cache: str | Path | None = None,
    out: str | Path | None = None,
    progress: bool = True,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Calibration:
    """Choose thresholds on 20 to 500 annotated images, as ``wsss-seed calibrate`` does.

    ``Calibration.settings`` are the ``settings`` to pass to ``generate`` or ``load`` afterwards.

    Args:
        source, classes, root, split, labels, images, seed, difficulty: the images; see ``generate``.
        gt: a folder of ground-truth label maps; by default the ground truth of the dataset, and if it has none, its
            image-level labels, which judge only what classes are found.
        backend: ``dino-sam`` or ``sam3``.
        models, device, precision: see ``load``.
        limit: use the first annotated images only.
        from_defaults: start from the defaults for photographs even if the model set has calibrated settings.
        cache: a folder that keeps the outputs of the models for the next time; also a run folder of ``generate`` with
            ``keep_evidence``.
        out: a TOML file to write, for ``--config``.
        progress: show progress on standard error.
        settings, more: settings that are not to be chosen; see ``load``.

    Raises:
        DataError: fewer than 20 annotated images, or ground truth that cannot be used.
        UsageError: an unknown name or setting, or a backend that cannot be calibrated.
        RunFolderError: a cache of other weights or another version, or one that cannot be written.
        CheckpointError: weights that cannot be obtained or read.
    """
    from rich.console import Console

    from .io.files import write_text
    from .io.progress import Progress
    from .run.calibrate import calibrate as choose
    from .run.calibrate import config_file
    from .run.plan import choose_backend, model_warnings

    data = _dataset(source, root, split, classes, labels, images, seed, difficulty)
    name, chosen = _models(models)
    names = data.class_set.name
    backend, model_set = choose_backend(backend, name, names, device, precision, chosen=chosen, options={})
    _warn(model_warnings(backend, model_set, names, {}))
    _warn(shared_phrases(data.class_set))
    console = Console(stderr=True, quiet=not progress)
    for text in data.remarks:
        console.print(text, markup=False, soft_wrap=True)
    truth = None if gt is None else Path(gt)
    found = choose(
        data,
        model_set,
        backend=backend,
        gt=truth,
        limit=limit,
        fixed=_settings(settings, more),
        from_defaults=from_defaults,
        cache=None if cache is None else Path(cache),
        progress=Progress(console, "running the models on"),
    )
    if out is not None:
        write_text(Path(out), config_file(found, data, model_set, backend, truth))
    return found


def open_run(path: str | Path, *, corrected: bool = True) -> Run:
    """A run folder of ``generate`` or ``predict``, finished or not.

    Args:
        path: the folder.
        corrected: use the corrected masks of a review, and leave out the images that it rejected.

    Raises:
        RunFolderError: no run folder, one of another layout, or one without a single mask.
    """
    read_run(Path(path), corrected=corrected)
    return Run(Path(path), corrected=corrected)


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        path: the folder.
        dataset: the images that were seeded; None for a run that was opened again.
        result: what ``generate`` did; None for a run that was opened again.
        corrected: whether corrected masks are used, and rejected images left out.
    """

    path: Path
    dataset: Dataset | None = None
    result: RunResult | None = None
    corrected: bool = True

    @property
    def content(self) -> FinishedRun:
        """Classes, palette, settings, and the records of all images, as they are on disk now."""
        return read_run(self.path, corrected=self.corrected)

    @property
    def records(self) -> Sequence[Record]:
        """A record per finished image: its classes, scores, share of ignored pixels, and what led to its mask."""
        return self.content.records

    @property
    def failed(self) -> dict[str, str]:
        """Id and error of the images that have no mask."""
        if self.result is not None:
            return dict(self.result.failed)
        return {record.id: record.error or "" for record in self.content.failed}

    def evaluate(
        self, gt: str | Path | Dataset | None = None, *, policy: Policy = "background", finished: bool = False
    ) -> Evaluation:
        """Score the masks.

        Args:
            gt: a folder of index PNGs or a dataset; by default the ground truth of the dataset that was seeded, or
                that of toyland, which is drawn again.
            policy: how ignored pixels of a prediction count: as ``background``, as errors (``wrong``), or not at all
                (``skip``).
            finished: score the masks that exist, and leave out the other images.

        Raises:
            UsageError: no ground truth.
            DataError: ground truth that cannot be used.
        """
        from .evaluation.evaluate import evaluate
        from .output.run_folder import run_orientation
        from .output.scored import record_score
        from .output.truth import own_truth, processed

        orientation = run_orientation(self.path)
        truth = self._truth(gt)
        ids: Sequence[str] | None = None if gt is not None or self.result is None else self.result.ids
        if truth is None:
            source = self.content
            truth, ids = own_truth(source), ids or processed(source)
        if truth is None:
            raise UsageError("no ground truth: give `gt` a folder of index PNGs or a dataset")
        found = evaluate(
            self.path,
            truth,
            ids=ids,
            policy=policy,
            orientation=orientation,
            finished=finished,
            corrected=self.corrected,
        )
        record_score(self.path, found, truth, self.corrected)
        return found

    def reseed(
        self,
        settings: Mapping[str, Any] | None = None,
        *,
        out: str | Path,
        device: str = "auto",
        overwrite: bool = False,
        progress: bool = True,
        **more: Any,
    ) -> Run:
        """Make the masks again with other settings from the model outputs that ``generate`` kept with
        ``keep_evidence=True``, without loading a model.

        Args:
            settings, more: changed settings of the backend; see ``load``.
            out: the new run folder.
            device: where masks are upsampled.
            overwrite: replace a run in ``out`` that was made with other settings.
            progress: show progress on standard error.

        Raises:
            RunFolderError: no model outputs, or those of other weights or another version.
            UsageError: an unknown setting, or one that asks the models for more than is kept. Images that need more
                are in ``Run.failed``.
        """
        from rich.console import Console

        from .io.progress import Progress
        from .run.reseed import reseed

        result = reseed(
            self.path,
            Path(out),
            _settings(settings, more),
            device=device,
            overwrite=overwrite,
            progress=Progress(Console(stderr=True, quiet=not progress)),
        )
        if result.interrupted:
            raise KeyboardInterrupt
        return Run(Path(out), self.dataset, result)

    def report(
        self,
        out: str | Path | None = None,
        *,
        against: str | Path | Run | None = None,
        folder: str | Path | None = None,
        gt: str | Path | Dataset | None = None,
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> Reported:
        """Write an HTML page of the run: totals, classes, settings, and the images with masks and boxes, worst first.

        The page is one file with its pictures, enlarged up to 1,024 pixels, or 512 with more than 500 images; or, with
        ``folder``, ``index.html`` with its pictures as files beside it, for any number of images.

        Args:
            out: the page; ``report.html`` in the run folder by default.
            against: another run over images in common with the same classes: the page then shows where the two differ,
                and is ``report-against-NAME.html`` by default; what is returned has both mIoU.
            folder: a folder to write instead, to be opened or put on a web server; one that a report wrote is replaced.
            gt: ground truth for errors and IoU; by default that of the dataset that was seeded, where it has any, and
                that of toyland.
            limit: show the worst images only, this many; by default 2,000, in a folder all.
            progress: where to show progress.
        """
        from .output.report import report
        from .output.report.against import compare
        from .run.explain import evidence_of

        page = None if out is None else Path(out)
        place = None if folder is None else Path(folder)
        truth = self._truth(gt)
        if against is not None:
            other = against if isinstance(against, Run) else Run(Path(against), corrected=self.corrected)
            return compare(
                self.path,
                other.path,
                page,
                folder=place,
                truth=truth,
                limit=limit,
                corrected=self.corrected,
                other_corrected=other.corrected,
                progress=progress,
            )
        return report(
            self.path,
            page,
            folder=place,
            truth=truth,
            evidence_of=evidence_of(self.path),
            limit=limit,
            corrected=self.corrected,
            progress=progress,
        )

    def sheet(
        self,
        out: str | Path | None = None,
        *,
        gt: str | Path | Dataset | None = None,
        limit: int | None = None,
        sample: int | None = None,
        seed: int = 0,
    ) -> Sheet:
        """Draw images with names, masks, confidence and a legend of the classes into one PNG.

        Args:
            out: the PNG; ``sheet.png`` in the run folder by default.
            gt: ground truth to show as well; by default that of the dataset that was seeded, where it has any.
            limit: show the first images, by default 24.
            sample: show this many random images instead.
            seed: random seed of ``sample``.
        """
        from .output.sheet import sheet

        return sheet(
            self.path,
            None if out is None else Path(out),
            truth=self._truth(gt),
            limit=limit,
            sample=sample,
            seed=seed,
            corrected=self.corrected,
        )

    def _truth(self, gt: str | Path | Dataset | None) -> Dataset | Path | None:
        """The given ground truth, or that of the dataset that was seeded, where it has any."""
        if gt is None:
            return self.dataset if self.dataset is not None and self.dataset.has_masks else None
        return gt if isinstance(gt, Dataset) else Path(gt)

    def explain(self, image: str) -> Explanation:
        """How the mask of an image came about: the classes asked, the boxes found, and what decided about each box.

        Args:
            image: its id, or the name or path of its file.

        Raises:
            UsageError: an image that the run does not have.
            RunFolderError: the image has not been processed with the settings of the run, or its record is damaged.
        """
        from .run.explain import explain

        return explain(self.path, image)

    def correct(
        self,
        image: str,
        labels: np.ndarray | None = None,
        *,
        verdict: Verdict = "accepted",
        by: str = "",
        what: str = "from Python",
    ) -> Correction:
        """Record a decision about the mask of an image, beside the masks of the run, which stay as they are.

        Args:
            image: its id.
            labels: the corrected label map, uint8 (H, W); None to keep the one in use.
            verdict: ``accepted``, ``rejected`` or ``open``.
            by: who decided.
            what: what was done, in words.

        Raises:
            RunFolderError: the run has no mask of this image, or one of another size; labels that are not classes of
                the run; or the folder cannot be written.
            UsageError: an unknown verdict.
        """
        from .data.corrections import CorrectionLog

        content = read_run(self.path, corrected=False)
        with CorrectionLog(self.path, content.names, content.palette, by) as log:
            last = log.latest(image)
            return log.decide(
                image,
                revision=0 if last is None else last.revision,
                verdict=verdict,
                labels=labels,
                mask=None if last is None else last.mask,
                what=what,
            )

    def export(
        self,
        format: str,
        out: str | Path,
        *,
        val: Dataset | None = None,
        copy: bool = False,
        overwrite: bool = False,
        worst: int | None = None,
        classes: Sequence[str] = (),
        note: str | None = None,
        image_url_prefix: str | None = None,
        progress: Progress | None = None,
    ) -> Exported:
        """Write the masks with their images in the format of another tool.

        Args:
            format: ``mmseg``, ``hf``, ``coco``, ``yolo`` or ``yolo-semantic``, to train with; ``cvat``,
                ``labelstudio``, ``labelme`` or ``fiftyone``, whose corrected masks ``import_masks`` brings back.
            out: the folder to write.
            val: a dataset with ground truth that becomes the validation part; not for editors.
            copy: copy images instead of linking to them.
            overwrite: replace an export.
            worst: only this many images, the most doubtful first.
            classes: only images whose mask has one of these classes.
            note: only images with a note that contains this text.
            image_url_prefix: what the URLs of images begin with in ``labelstudio``.
            progress: where to show progress.
        """
        from .output.export import export
        from .run.explain import evidence_of

        return export(
            format,
            self.path,
            Path(out),
            validation=val,
            copy=copy,
            overwrite=overwrite,
            corrected=self.corrected,
            worst=worst,
            classes=classes,
            note=note,
            image_url_prefix=image_url_prefix,
            evidence_of=evidence_of(self.path),
            progress=progress,
        )

    def import_masks(
        self,
        format: str,
        source: str | Path,
        *,
        by: str = "",
        annotator: str | None = None,
        empty: bool = False,
        overwrite: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Imported:
        """Record masks that somebody corrected in an editor as corrections of this run, from which they were exported.

        Args:
            format: ``cvat``, ``labelstudio``, ``labelme`` or ``fiftyone``.
            source: the file that the editor wrote, or its folder.
            by: who corrected the masks.
            annotator: whose annotations to use in ``labelstudio``; by default the latest.
            empty: take images without any annotation as background in ``cvat`` instead of leaving them as they are.
            overwrite: import also where a mask was corrected here after the export.
            dry_run: write nothing.
            progress: where to show progress.

        Raises:
            DataError: a file that is damaged or of another run, label map or size; nothing is changed.
            RunFolderError: the run is being written, or cannot be written.
        """
        from .output.imports import import_masks

        return import_masks(
            format,
            self.path,
            Path(source),
            by=by,
            annotator=annotator,
            empty=empty,
            overwrite=overwrite,
            dry_run=dry_run,
            progress=progress,
        )


def _dataset(
    source: str | Path | Dataset,
    root: str | Path | None,
    split: str | None,
    classes: Classes | None,
    labels: str | Path,
    images: int | None,
    seed: int,
    difficulty: str,
) -> Dataset:
    if isinstance(source, Dataset):
        return source
    if str(source) in DATASETS and str(source) != "folder":
        return open_dataset(str(source), root, split, classes, labels, images, seed, difficulty)
    given: dict[str, Any] = {"root": root, **images_in(source)}
    if root is not None and "list" not in given:
        raise UsageError(f"`root` is the folder of voc, coco or a list; {redacted(str(source))} is one itself")
    return open_dataset(
        **given, split=split, classes=classes, labels=labels, images=images, seed=seed, difficulty=difficulty
    )


def _options(prompts: str | Path | None, preset: str | None, stage: str | None) -> dict[str, str]:
    given = {"prompts": None if prompts is None else str(prompts), "preset": preset, "stage": stage}
    return {key: value for key, value in given.items() if value is not None}


def _models(models: str | Mapping[str, str] | None) -> tuple[str | None, Mapping[str, str | None]]:
    """The model set, and what replaces its models."""
    if models is None or isinstance(models, str):
        return models, {}
    chosen: dict[str, str | None] = dict(models)
    return chosen.pop("set", None), chosen


def _settings(settings: Mapping[str, Any] | None, more: Mapping[str, Any]) -> dict[str, Any]:
    return dotted({**(settings or {}), **more})


def _pixels(image: Picture) -> tuple[np.ndarray, int]:
    """The stored pixels, uint8 (H, W, 3) RGB, and the EXIF orientation."""
    if isinstance(image, str | Path):
        place = location(image)
        return read_rgb(place), read_orientation(place)
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB")), exif_orientation(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(f"an image is uint8 (H, W, 3) RGB, not {image.dtype} {image.shape}")
    return image, 1


def _warn(texts: Iterable[str]) -> None:
    for text in texts:
        warnings.warn(text, stacklevel=3)
