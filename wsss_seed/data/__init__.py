"""Input: datasets, class sets, image-level labels, and reading of images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from ..errors import DataError, ImageError, UsageError, unknown_name
from ..io.prefetch import prefetch_map
from ..io.source import Source, location, redacted
from .base import Boxes, Dataset, Sample, check_values
from .classes import IGNORE, ClassSet, load_class_set
from .ids import check_id
from .images import read_labels, read_rgb
from .labels import AUTO_FILES, Labels, find_image_labels, outside_split, read_image_labels
from .samples import LabelColumn, Labelled

__all__ = [
    "DATASETS",
    "Boxes",
    "ClassSet",
    "Dataset",
    "Sample",
    "check_id",
    "load_class_set",
    "open_dataset",
    "read_labels",
    "read_rgb",
]

DATASETS = {
    "voc": "PASCAL VOC 2012, or any tree laid out like it (a run folder, a toyland tree)",
    "coco": "COCO, or any file of COCO instances with its images",
    "folder": "any folder tree of images, or the images of a `list`; needs `classes`",
    "webdataset": "tars of the webdataset library; needs `classes`",
    "toyland": "a drawn world with exact ground truth; needs no files",
}


_NAMED = 5  # entries of a label file without an image that are named


def open_dataset(
    name: str,
    root: str | Path | None = None,
    split: str | None = None,
    classes: str | Path | Sequence[str] | Mapping[str, Sequence[str]] | ClassSet | None = None,
    labels: str | Path = "auto",
    images: int | None = None,
    seed: int = 0,
    difficulty: str = "standard",
    list: str | Path | None = None,
    corrected: bool = True,
) -> Dataset:
    """Open a dataset.

    Args:
        name: ``voc``, ``coco``, ``folder``, ``webdataset`` or ``toyland``.
        root: folder of the dataset, for folder also a URL of fsspec (``s3://bucket/photos``); toyland has none, and
            webdataset a tar or a pattern, ``shard-{000..012}.tar``.
        split: name of the split; each dataset has a default, folder has no splits.
        classes: argument of ``load_class_set``; required for folder and webdataset, by default the dataset's own.
        labels: source of image-level labels: ``auto`` uses those of toyland and COCO and otherwise searches the dataset
            folder (``find_image_labels``), ``masks`` derives them from the ground truth, as some published figures do,
            ``none`` uses none, anything else is a file.
        images: number of toyland images, 100 by default.
        seed: random seed of toyland.
        difficulty: of toyland's images: ``standard`` or ``hard``.
        list: for folder, a list of the images, below ``root`` if that is given; see ``data.lists``.
        corrected: for voc, if ``root`` is a run folder: use its corrected masks, and leave out rejected images.

    Returns:
        The dataset. Samples that are not in the label file have labels None.

    Raises:
        WsssError: an argument is missing, unknown or inconsistent with the others; the message names the remedy.
    """
    if name not in DATASETS:
        raise unknown_name("dataset", name, DATASETS)
    if name != "toyland" and images is not None:
        raise UsageError(f"`images` is for toyland, which draws them; {name} has its own (see `limit`)")
    if name != "toyland" and difficulty != "standard":
        raise UsageError(f"a `difficulty` is for toyland; {name} has none")
    if list is not None and name != "folder":
        raise UsageError(f"a `list` of images is for dataset folder; {name} has its own")
    if name != "toyland" and root is None and list is None:
        raise UsageError(f"dataset {name} needs the folder it is in; give `root`")
    if name == "toyland":
        dataset = _toyland(root, split, classes, images, seed, str(labels) == "auto", difficulty)
        _label(dataset, str(labels), ())
    else:
        dataset, beside = _read(name, root, split, classes, list, corrected)
        _label(dataset, str(labels), beside)
    return dataset


def images_in(place: str | Path) -> dict[str, str | Path]:
    """The arguments ``name`` and ``root`` or ``list`` of ``open_dataset`` for a folder, a list, or tars."""
    from .lists import SUFFIXES_OF_LISTS

    suffix = os.path.splitext(place)[1].casefold()
    if suffix == ".tar":
        return {"name": "webdataset", "root": place}
    if suffix in SUFFIXES_OF_LISTS:
        return {"name": "folder", "list": place}
    return {"name": "folder", "root": place}


Classes = str | Path | Sequence[str] | Mapping[str, Sequence[str]] | ClassSet | None


def _read(
    name: str, root: str | Path | None, split: str | None, classes: Classes, listed: str | Path | None, corrected: bool
) -> tuple[Dataset, list[Path | Source]]:
    """A dataset of files, and the folders in which image-level labels may lie."""
    class_set = None if classes is None else load_class_set(classes)
    place = None if root is None else location(root)
    if listed is not None:
        from .lists import Listed

        file = location(listed)
        dataset = Listed(file, place, _needed(class_set, name, split))
        return dataset, [place or file.parent] if place or file.name not in AUTO_FILES else []
    assert place is not None
    if name == "webdataset":
        from .webdataset import WebDataset

        return WebDataset(str(root), _needed(class_set, name, split)), []
    if name == "folder":
        from .folder import Folder

        return Folder(place, _needed(class_set, name, split)), [place]
    if isinstance(place, Source):
        raise UsageError(f"{place}: dataset {name} is read from a local folder; URLs are for folder and webdataset")
    if name == "voc":
        from .voc import Voc, voc_class_set, voc_root

        inner = voc_root(place)
        return Voc(inner, class_set or voc_class_set(inner), split, corrected=corrected), [inner, place]
    from .coco import Coco

    return Coco(place, class_set, split), []


def _label(dataset: Dataset, labels: str, beside: Sequence[Path | Source]) -> None:
    """Give a dataset its image-level labels."""
    unmatched: list[str] = []
    if labels == "none":
        _set_labels(dataset, {}, None)
    elif labels == "masks":
        _set_labels(dataset, _labels_of_masks(dataset), "ground-truth masks")
    elif labels != "auto":
        source = location(labels)
        folder = _image_folder(dataset)
        found = read_image_labels(source, dataset.ids, dataset.class_set, folder=folder, unmatched=unmatched)
        if not found:
            listed = f"; it lists {unmatched[0]!r}" if unmatched else ""
            raise DataError(f"{source}: knows none of the {len(dataset)} images, such as {dataset.ids[0]!r}{listed}")
        _set_labels(dataset, found, str(source.resolve()))
    elif dataset.labels_source is None:
        found, beside_it = find_image_labels(
            beside, dataset.ids, dataset.class_set, folder=_image_folder(dataset), unmatched=unmatched
        )
        _set_labels(dataset, found, None if beside_it is None else str(beside_it.resolve()))
    if unmatched:
        _remark(dataset, unmatched)


def _remark(dataset: Dataset, entries: Sequence[str]) -> None:
    """Say how many entries of the label file are of images outside the split, and which name none."""
    published = dataset.name in ("voc", "coco")
    known = outside_split(entries, dataset.outside, folder=_image_folder(dataset), published=published)
    if others := sum(known):
        are = "1 entry is of an image" if others == 1 else f"{others} entries are of images"
        dataset.elsewhere = f"{dataset.labels_source}: {are} outside {dataset.title}"
    none = [entry for entry, outside in zip(entries, known, strict=True) if not outside]
    if none:
        name = "1 entry names" if len(none) == 1 else f"{len(none)} entries name"
        listed = ", ".join(none[:_NAMED]) + ", ..." * (len(none) > _NAMED)
        dataset.unmatched = f"{dataset.labels_source}: {name} no image of this dataset ({listed})"


def _image_folder(dataset: Dataset) -> str:
    """Name of the folder of the images, to which ids are relative; empty if they are drawn."""
    first = dataset[0]
    if first.file is None:
        return ""
    path = first.file.absolute().as_posix() if isinstance(first.file, Path) else str(first.file)
    return "".join(path.split("/")[:-1][-1 - first.id.count("/") :][:1])


def _toyland(
    root: str | Path | None,
    split: str | None,
    classes: Classes,
    images: int | None,
    seed: int,
    labelled: bool,
    difficulty: str,
) -> Dataset:
    from .toyland.dataset import Toyland

    class_set = None if classes is None else load_class_set(classes)
    toyland = load_class_set("toyland")
    if root is not None:
        shown = redacted(str(root))
        raise UsageError(
            f"toyland is drawn and has no folder; to read {shown} use `dataset` voc with `classes` toyland"
        )
    if class_set is not None and class_set.names != toyland.names:
        raise UsageError(f"class set '{class_set.name}' does not have toyland's classes: {', '.join(toyland.names)}")
    count = 100 if images is None else images
    return Toyland(class_set or toyland, split or "test", count, seed, labelled, difficulty)


def _needed(class_set: ClassSet | None, name: str, split: str | None) -> ClassSet:
    """The class set of a dataset that has neither classes of its own nor splits."""
    if class_set is None:
        raise UsageError(f'dataset {name} needs class names; give `classes` a file or "cat, dog"')
    if split not in (None, "all"):
        raise UsageError(f"a {name} has no split {split!r}; leave `split` out, or give the part's own as `root`")
    return class_set


def _labels_of_masks(dataset: Dataset) -> Labels:
    """The classes in the ground-truth label map of each image; ignored pixels have none.

    Raises:
        DataError: an image without ground truth, or whose ground truth cannot be used.
    """

    def classes_in(sample: Sample) -> tuple[int, ...]:
        mask = dataset.mask(sample)
        if mask is None:
            raise DataError(
                f"{dataset.name} {dataset.split}: no ground-truth mask of image {sample.id} to derive `labels` masks "
                "from; give `labels` a file, or none"
            )
        check_values(mask, len(dataset.class_set.names), sample.mask or sample.id)
        return tuple(int(value) - 1 for value in np.unique(mask) if value not in (0, IGNORE))

    with closing(prefetch_map(classes_in, dataset, workers=4, depth=8)) as found:
        try:
            return {sample.id: classes.result() for sample, classes in found}
        except ImageError as error:
            raise DataError(f"{error}; `labels` masks needs all ground truth") from None


def _set_labels(dataset: Dataset, labels: Labels, source: str | None) -> None:
    if source is not None or dataset.labels_source is not None:
        dataset.samples = Labelled(dataset.samples, LabelColumn(map(labels.get, dataset.ids)))
    dataset.labels_source = source
