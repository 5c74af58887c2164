"""Thumbnails are made once, and again when mask or photograph change."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.review.running import pets
from wsss_seed.errors import ImageError
from wsss_seed.review import pictures
from wsss_seed.review.pictures import photograph, thumbnail
from wsss_seed.review.session import OWN, Session


@pytest.fixture
def session(tmp_path):
    session = Session(pets(tmp_path / "run", shape=(300, 500)))
    yield session
    session.close()


def cached(session):
    return sorted((session.run / "Corrections/.thumbnails").rglob("*.webp"))


def test_a_thumbnail_is_made_once(session, monkeypatch):
    first = thumbnail(session, "a")
    assert Image.open(io.BytesIO(first)).size == (240, 144)
    monkeypatch.setattr(pictures, "_drawn", None)
    assert thumbnail(session, "a") == first
    assert len(cached(session)) == 1


def test_it_is_made_again_after_a_correction_and_the_former_one_removed(session):
    first = thumbnail(session, "a")
    labels = np.full((300, 500), 2, np.uint8)
    session.decide(
        "a", revision=0, base=session.digest("a"), verdict="open", labels=labels, mask=None, what="", by=None
    )
    assert thumbnail(session, "a") != first
    assert len(cached(session)) == 1
    Image.fromarray(np.zeros((300, 500, 3), np.uint8)).save(session.run / "JPEGImages/a.jpg", "PNG")
    dark = np.asarray(Image.open(io.BytesIO(thumbnail(session, "a"))))
    assert dark.max() < 120
    assert len(cached(session)) == 1


def test_a_cache_that_cannot_be_written_only_costs_time(session):
    (session.run / "Corrections/.thumbnails").write_text("a file", "utf-8")
    assert Image.open(io.BytesIO(thumbnail(session, "a"))).size == (240, 144)


def test_links_are_not_followed(session, tmp_path):
    thumbnail(session, "a")
    cache = session.run / "Corrections/.thumbnails"
    (kept,) = (path.relative_to(cache) for path in cache.rglob("*.webp"))
    cache.rename(tmp_path / "elsewhere")
    cache.symlink_to(tmp_path / "elsewhere")
    session.decide(
        "a",
        revision=0,
        base=session.digest("a"),
        verdict="open",
        labels=np.ones(session.labels("a", OWN)[0].shape, np.uint8),
        mask=None,
        what="brush",
        by=None,
    )
    thumbnail(session, "a")
    assert [path.relative_to(tmp_path / "elsewhere") for path in (tmp_path / "elsewhere").rglob("*.webp")] == [kept]


def test_sizes_that_differ_are_an_error(session):
    Image.fromarray(np.zeros((30, 50, 3), np.uint8)).save(session.run / "JPEGImages/a.jpg", "PNG")
    with pytest.raises(ImageError, match="the image has 50 x 30 pixels, its mask 500 x 300"):
        thumbnail(session, "a")


def test_a_huge_photograph_is_reduced(session, monkeypatch):
    monkeypatch.setattr(pictures, "LARGEST", 100)
    assert Image.open(io.BytesIO(photograph(session, "a"))).size == (100, 60)
