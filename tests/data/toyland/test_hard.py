"""Toyland's hard scenes: the same pixels everywhere, exact ground truth, and what makes them hard."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from wsss_seed.data import load_class_set, open_dataset
from wsss_seed.data.check import check_dataset
from wsss_seed.data.toyland import CLASSES, PLACES, SPLITS, draw
from wsss_seed.data.toyland.tree import write_tree
from wsss_seed.errors import WsssError
from wsss_seed.output.identity import identity

from .test_scene import digest

# (split, index, seed) -> SHA-256 of image, labels, instances, parts. Published figures are of these pixels.
PINNED = {
    ("train", 0, 0): (
        "f978e3189b826df8526cbeba4d73868c1ec5f4248fcf5469e34976456854fe1a",
        "436e22bd64d3d6bc0ef43c1c25670fa850dc3d9590b2f5977171de823a452abb",
        "5e816469319d33d9ecc034b81ca0bf23232c4e89b0a057c8a69bc5ccfae44320",
        "abedb36ab0b3d598cc34642575e1184f775384dffcf9a7a0f7a4233a2c03d0d6",
    ),
    ("val", 3, 0): (
        "d92302288a5f6f4a9e15dc3bdc18138a042346f59c5b615744d979fe1aaf17b0",
        "21988d3fb79fa6a7c4a1edefa7505b81b644e365c44242fcf1ba01d42c40d5a8",
        "9c9c9e031867db0bda59b9372113e2b0e414c2ff0738080f05b3c20166e5c464",
        "25f79e6a3811b3c99e2f0dde919cbe5093fca29c1947963732bb57a2aa0eaf50",
    ),
    ("test", 5, 7): (
        "674f75bb05782d430f74108c04560b68f1090e86fb98b206a50ecd967fa3f548",
        "d5e14cf6011502609238e21b39884d2e19f763f2db1c0313b5770e175845e3e6",
        "8614490e0ce36e6c40df62bc37471342924900c7fe127ccb59df0de41533c5e0",
        "0cc4da9c6d05498f0dba9652e056da1419629db283e3f3992ad463b8ff5b96f7",
    ),
    ("test", 999, 4294967295): (
        "f1c9f3c448baa9c0aafeed6ead6b1c646b50bc00e2b7e1e318e1e955c117b451",
        "011b2929bd66911619701860ba0acd7fc5b81b1e081ad389a6ec5c32b975cb59",
        "d2bae4a96d8c066b893557fba76ddf29bad98809bf2ed5174c0a80706ef0bf6d",
        "1b1ef192f29265bb8ee7a40d2e647f450e28278f8c0888f6ec795d5675e63f8d",
    ),
}


@pytest.mark.parametrize("which", PINNED)
def test_the_pixels_are_pinned(which: tuple[str, int, int]):
    split, index, seed = which
    scene = draw(index, split, seed, "hard")
    assert (digest(scene.image), digest(scene.labels), digest(scene.instances), digest(scene.parts)) == PINNED[which]


def test_many_images_are_pinned():
    total = hashlib.sha256()
    for split in SPLITS:
        for i in range(15):
            total.update(digest(draw(i, split, 0, "hard").image).encode())
    assert total.hexdigest() == "f9871c0ae1d0275080346c30c6d26f69304a3ce5e46464c4f3cfd2a92e31d4db"


def test_splits_seeds_and_difficulties_share_no_image():
    seen = [
        digest(draw(i, split, seed, difficulty).image)
        for difficulty in ("standard", "hard")
        for seed in (0, 1)
        for split in SPLITS
        for i in range(8)
    ]
    assert len(set(seen)) == len(seen)


def test_what_a_scene_promises():
    places, classes, counts, sides, shares, aspects = set(), set(), Counter(), [], [], []
    for i in range(150):
        s = draw(i, "val", 0, "hard")
        h, w = s.labels.shape
        assert s.image.shape == (h, w, 3)
        assert s.image.dtype == s.labels.dtype == s.instances.dtype == s.parts.dtype == np.uint8
        assert ((s.labels > 0) == (s.instances > 0)).all()
        assert ((s.parts > 0) == (s.instances > 0)).all()
        assert set(np.unique(s.instances)) - {0} == set(range(1, len(s.objects) + 1))
        for n, o in enumerate(s.objects, 1):
            inside = s.instances == n
            assert (s.labels[inside] == o.index + 1).all()
            assert inside.sum() == o.pixels >= 40
            x0, y0, x1, y1 = s.boxes[n - 1].astype(int)
            assert inside[y0:y1, x0:x1].sum() == o.pixels
            shares.append(o.pixels / s.labels.size)
        assert len(s.boxes) == len(s.objects)
        assert all(CLASSES[i] in s.caption for i in s.present)
        places.add(s.place)
        classes.update(s.present)
        counts[len(s.objects)] += 1
        sides.append(max(h, w))
        aspects.append(max(h, w) / min(h, w))
    assert places == set(PLACES)
    assert classes == set(range(12))
    assert set(counts) >= set(range(9))
    assert max(counts) <= 10
    assert 0.12 < counts[0] / 150 < 0.28
    assert 128 <= min(sides) < 160
    assert 370 < max(sides) <= 400
    assert max(aspects) > 1.7
    assert min(shares) < 0.002
    assert max(shares) > 0.4


def test_objects_and_clutter_hide_one_another():
    """Many boxes of two objects overlap far, and holes in objects are clutter, labelled background."""
    overlapping = holes = 0
    for i in range(60):
        s = draw(i, "val", 0, "hard")
        for n, (x0, y0, x1, y1) in enumerate(s.boxes.astype(int), 1):
            inside = s.instances[y0:y1, x0:x1]
            overlapping += ((inside > 0) & (inside != n)).mean() > 0.2
            own = inside == n
            left, right = np.logical_or.accumulate(own, 1), np.logical_or.accumulate(own[:, ::-1], 1)[:, ::-1]
            above, below = np.logical_or.accumulate(own, 0), np.logical_or.accumulate(own[::-1], 0)[::-1]
            holes += (left & right & above & below & (inside == 0)).sum() > 30
    assert overlapping > 20
    assert holes > 10


def test_a_dataset_whose_images_may_show_no_class():
    d = open_dataset("toyland", images=30, difficulty="hard")
    assert (d.name, d.split, len(d), d.class_set.name) == ("toyland", "test", 30, "toyland")
    assert not d.class_set.assume_present
    assert load_class_set("toyland").assume_present
    for i, sample in enumerate(d):
        scene = draw(i, "test", 0, "hard")
        assert sample.labels == scene.present
        np.testing.assert_array_equal(d.image(sample), scene.image)
        np.testing.assert_array_equal(d.mask(sample), scene.labels)
        np.testing.assert_array_equal(d.boxes(sample).xyxy, scene.boxes)
    assert any(sample.labels == () for sample in d)
    with pytest.raises(WsssError, match="unknown difficulty of toyland 'hrad'"):
        open_dataset("toyland", difficulty="hrad")


def test_only_toyland_has_difficulties(tmp_path: Path):
    with pytest.raises(WsssError, match="`difficulty` is for toyland; folder has none"):
        open_dataset("folder", tmp_path, classes="cat", difficulty="hard")


def test_runs_of_two_difficulties_differ():
    hard, standard = (identity(open_dataset("toyland", images=2, difficulty=d), {}) for d in ("hard", "standard"))
    assert hard["dataset"] != standard["dataset"]


def test_tree_and_back(tmp_path: Path):
    root = tmp_path / "toys"
    write_tree(root, "test", 8, 7, "hard")
    d = open_dataset("voc", root)
    drawn = open_dataset("toyland", images=8, seed=7, difficulty="hard")
    assert json.loads((root / "toyland.json").read_text())["difficulty"] == "hard"
    for s, t in zip(d, drawn, strict=True):
        assert s.labels == t.labels
        np.testing.assert_array_equal(d.mask(s), drawn.mask(t))
        boxes, true = d.boxes(s), drawn.boxes(t)
        np.testing.assert_array_equal(boxes.xyxy, true.xyxy)
        np.testing.assert_array_equal(boxes.classes, true.classes)
    assert any(s.labels == () for s in d)
    assert check_dataset(d).problems == []
    with pytest.raises(WsssError, match="toyland of another difficulty than standard"):
        write_tree(root, "train", 2, 7)
