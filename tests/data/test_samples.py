"""Samples that are built on access, and the memory of a dataset of many."""

from __future__ import annotations

import gc
import pickle
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from wsss_seed.data import open_dataset
from wsss_seed.data.lazy import Rows, Texts
from wsss_seed.data.samples import (
    Files,
    FileSamples,
    LabelColumn,
    Labelled,
    Places,
    Sample,
    has_masks,
    ids_of,
    labels_of,
    paths_of,
)
from wsss_seed.data.selection import select
from wsss_seed.io.source import Source

ROWS = [(1, 4), None, (), (253,)]


def some(masks: list[str] | None = None) -> FileSamples:
    ids = Texts(["a", "b/c", "d", "e"])
    images = Files(Path("photos"), Texts(["a.jpg", "b/c.png", "/elsewhere/d.jpg", ""]))
    return FileSamples(ids, images, None if masks is None else Files(Path("masks"), Texts(masks)))


def test_paths_are_below_the_folder_unless_absolute_or_missing():
    assert some() == [
        Sample("a", Path("photos/a.jpg")),
        Sample("b/c", Path("photos/b/c.png")),
        Sample("d", Path("/elsewhere/d.jpg")),
        Sample("e"),
    ]
    assert some(["a.png", "", "", ""])[0].mask == Path("masks/a.png")
    assert some(["a.png", "", "", ""])[1].mask is None


def test_labels_are_kept_apart_from_unknown_ones():
    column = LabelColumn(ROWS)
    assert column == ROWS
    assert column.unknown == 1
    labelled = Labelled(some(), column)
    assert [sample.labels for sample in labelled] == ROWS
    assert labelled[0] == Sample("a", Path("photos/a.jpg"), (1, 4))
    assert pickle.loads(pickle.dumps(labelled)) == labelled


def test_ids_need_no_samples(monkeypatch: pytest.MonkeyPatch):
    samples = Labelled(some(), LabelColumn(ROWS))
    plain = list(samples)
    monkeypatch.setattr(FileSamples, "at", None)
    assert ids_of(samples) == ["a", "b/c", "d", "e"]
    assert ids_of(samples[1:][::2]) == ["b/c", "e"]
    assert ids_of(Rows(samples, [3, 0])) == ["e", "a"]
    assert ids_of(plain) == ["a", "b/c", "d", "e"]


def test_paths_and_labels_need_no_samples(monkeypatch: pytest.MonkeyPatch):
    samples = Labelled(some(), LabelColumn(ROWS))
    plain = list(samples)
    monkeypatch.setattr(FileSamples, "at", None)
    paths = ["photos/a.jpg", "photos/b/c.png", "/elsewhere/d.jpg", ""]
    for part in (slice(None), slice(1, None, 2)):
        assert paths_of(samples[part]) == paths_of(plain[part]) == paths[part]
        assert labels_of(samples[part]) == labels_of(plain[part]) == ROWS[part]
    assert labels_of(some()) == [None] * 4


def test_paths_of_files_that_may_have_none(tmp_path: Path):
    names = Texts(["a.jpg", f"file://{tmp_path}/b.jpg", "s3://bucket/c.jpg", "/d.jpg"])
    local = FileSamples(Texts("abcd"), Places(tmp_path, names))
    assert paths_of(local) == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg"), "", "/d.jpg"]
    assert paths_of(FileSamples(Texts("a"), Places(Source("s3://bucket"), Texts(["a.jpg"])))) == [""]
    assert paths_of(FileSamples(Texts("abc"), [Path("a.jpg"), Source("s3://bucket/b.jpg"), None])) == ["a.jpg", "", ""]


@pytest.mark.parametrize(("masks", "all_have"), [(None, False), (["a", "b", "", "d"], False), (["a"] * 4, True)])
def test_whether_all_have_a_label_map(masks, all_have):
    assert has_masks(some(masks)) == has_masks(Labelled(some(masks), LabelColumn(ROWS))) == all_have
    assert has_masks(list(some(masks))) == all_have


IMAGES = 4000
MOST = 200  # bytes per image


def folder(root: Path) -> None:
    for i in range(IMAGES):
        file = root / f"n{i % 10:08}" / f"n{i % 10:08}_{i:06}.JPEG"
        file.parent.mkdir(exist_ok=True)
        file.touch()


def voc(root: Path) -> None:
    ids = [f"2007_{i:06}" for i in range(IMAGES)]
    for name, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        (root / name).mkdir()
        for id in ids:
            (root / name / f"{id}.{suffix}").touch()
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(ids))
    (root / "cls_labels.txt").write_text("\n".join(f"{id} {i % 20} {i % 7}" for i, id in enumerate(ids)))


def listed(root: Path) -> None:
    folder(root)
    rows = (f"{path.relative_to(root)},cat;dog\n" for path in root.rglob("*.JPEG"))
    (root / "list.csv").write_text("path,labels\n" + "".join(rows))


def tar(root: Path) -> None:
    folder(root)
    with tarfile.open(root / "a.tar", "w") as file:
        for path in sorted(root.glob("*/*.JPEG")):
            file.add(path, path.relative_to(root))


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (folder, {"name": "folder", "root": "", "classes": "cat, dog"}),
        (listed, {"name": "folder", "list": "list.csv", "classes": "cat, dog"}),
        (tar, {"name": "webdataset", "root": "a.tar", "classes": "cat, dog"}),
        (voc, {"name": "voc", "root": ""}),
    ],
)
def test_an_image_takes_little_memory(tmp_path: Path, monkeypatch, make, options):
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    open_dataset(**options)  # what is imported and cached once is not counted
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        data = open_dataset(**options)
        parts = data.samples[: IMAGES // 2][1::3], select(data.samples, sample=IMAGES // 2), data.ids
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(data) == IMAGES
    assert [len(part) for part in parts] == [667, 2000, 4000]
    assert held < MOST * IMAGES
    assert data[7].file is not None
