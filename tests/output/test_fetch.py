"""Copies of runs on object storage: what becomes of the images. The rest is in run/test_object_storage.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.io.object_storage import bucket, s3, s3_server  # noqa: F401
from tests.run.painted import CLASSES, NearestColour
from wsss_seed.data.folder import Folder
from wsss_seed.data.images import read_rgb
from wsss_seed.data.voc_layout import Layout
from wsss_seed.errors import RunFolderError
from wsss_seed.io.source import Source
from wsss_seed.output.fetch import fetch
from wsss_seed.output.finished import open_run
from wsss_seed.output.run_folder import image_path
from wsss_seed.run.generate import generate

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, suffix in enumerate(("jpg", "png", "jpg")):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.{suffix}")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(folder / "2.jpg", exif=exif)
    return folder


def seed(folder: Path | Source, run: Path | Source, **options: object) -> None:
    data, seeder = Folder(folder, CLASSES), NearestColour()
    assert generate(data, seeder, run, settings=seeder.settings, **options).made == 3


@pytest.mark.parametrize("layout", ["flat", "nested"])
def test_photographs_are_linked(photos: Path, bucket: str, tmp_path: Path, layout: Layout):  # noqa: F811
    run = Source(f"{bucket}/run")
    seed(photos, run, layout=layout)
    found = fetch(run, tmp_path / "copy")
    assert (found.copied, found.bare) == (3, ())
    seed(photos, tmp_path / "local", layout=layout)
    assert [record.id for record in open_run(tmp_path / "copy").records] == ["0", "1", "2"]
    for id in "012":
        here, there = (image_path(tmp_path / place, id, layout) for place in ("local", "copy"))
        assert here.is_symlink() == there.is_symlink() == (id != "2")  # turned by EXIF, which readers treat differently
        assert (read_rgb(here) == read_rgb(there)).all()
    assert not [name for name in run.files() if name.startswith("JPEGImages")]


@pytest.mark.parametrize("orientation", ["stored", "upright"])
def test_images_behind_urls_are_copied(photos: Path, bucket: str, tmp_path: Path, orientation: str):  # noqa: F811
    for path in photos.iterdir():
        Source(f"{bucket}/photos/{path.name}").write_bytes(path.read_bytes())
    run = Source(f"{bucket}/run")
    seed(Source(f"{bucket}/photos"), run, orientation=orientation)
    assert fetch(run, tmp_path / "copy").bare == ()
    seed(photos, tmp_path / "local", orientation=orientation)
    for id in "012":
        here, there = (image_path(tmp_path / place, id, "flat") for place in ("local", "copy"))
        assert (read_rgb(here) == read_rgb(there)).all()
    assert image_path(tmp_path / "copy", "0", "flat").read_bytes() == (photos / "0.jpg").read_bytes()


def test_images_that_are_gone_are_named(photos: Path, bucket: str, tmp_path: Path):  # noqa: F811
    run = Source(f"{bucket}/run")
    seed(photos, run)
    (photos / "1.png").unlink()
    found = fetch(run, tmp_path / "copy")
    assert (found.copied, found.bare) == (3, ("1",))
    assert [record.id for record in open_run(tmp_path / "copy").records] == ["0", "2"]


def test_runs_in_progress_and_foreign_folders_are_refused(photos: Path, bucket: str, tmp_path: Path):  # noqa: F811
    run = Source(f"{bucket}/run")
    seed(photos, run)
    with pytest.raises(RunFolderError, match="not empty and not a run folder"):
        fetch(run, photos)
    about = (run / "run.json").read_bytes()
    (run / "run.json").write_bytes(about.replace(b'"finished": "', b'"finished": null, "x": "'))
    with pytest.raises(RunFolderError, match="the run is in progress or was killed; let it end, or merge it first"):
        fetch(run, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
