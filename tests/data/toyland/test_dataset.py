"""Toyland: the same pixels everywhere, exact ground truth, and the way to disk and back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_seed.data import load_class_set, open_dataset
from wsss_seed.data.check import check_dataset
from wsss_seed.data.toyland import CLASSES, PLACES, SPLITS, draw
from wsss_seed.data.toyland import dataset as toyland_dataset
from wsss_seed.data.toyland.tree import write_tree
from wsss_seed.errors import WsssError


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(f"{array.dtype} {array.shape}".encode() + array.tobytes()).hexdigest()


# (split, index, seed) -> SHA-256 of image, labels, instances, parts. The bundled models were trained on these pixels:
# if a checksum changes, the world has changed, and so must they.
PINNED = {
    ("train", 0, 0): (
        "ae2c2a52cc95ac320eb0dc68bfd8371afcbc0beb6a9793ad485e14d285b0237c",
        "90888d1594d951dfa5dcc26698b48291db2d9f830fb9507baf333d89dc95232c",
        "90888d1594d951dfa5dcc26698b48291db2d9f830fb9507baf333d89dc95232c",
        "4c5108e629aa3be7e335ee77959604bab3ccebd23270c2627ec63599cf522ec3",
    ),
    ("train", 39999, 0): (
        "106e1bafd5dee7737c3c655eefb4e58de91af6da11df89316744b667dc2fdb03",
        "a8536ba6fc0b5d8a6dc5591aed1a95ba5837426d3249ddbd051f730a13cfc927",
        "84319f6cefd906784561e28473c299386ed7e524337951d5ab85ea12801a961b",
        "12923855add24347f592debfbaad3966a5336c14dd84d3df694848eb9c05751c",
    ),
    ("val", 3, 0): (
        "1eeef9cce8d321380d6b959c86d12cfab058c4580d416df63994b4029f5b3cdb",
        "5f56c09249ad6c46f9fb75201f37b03e4ab40b68f7017e36caa758f71b2cd172",
        "04b0309fa0126b39fef6861c890319618a9e0a17ac1f93d0c1f8c93dae36af1c",
        "8506fc2884cd84f6d0945c96f2812448cb5c910b74d2ef25ee0fd53a4957efa6",
    ),
    ("test", 0, 0): (
        "56affebe38d3b08d6eaff79685f9a3ae71ac6899c44469dcb77e4e8aa4f11ee5",
        "c650ebbe979e4b585314dac5bc830df5a4cfc8d4fe2d71ab6ab8bb000338c43c",
        "af4145c00bc9c1f876a7bbcd696eaae49327cd937d6c4e8080907c363c8cf9e8",
        "4da0235e3e667b16623321083de1b5354fe3013ee11c01c9c1a55cc7848a6e53",
    ),
    ("test", 12, 0): (
        "d3d7852cbf6211b60194d0d17bd152d7f6d9fac444b850451b63f026ea2386b2",
        "47840a1209d708f4256f0a08ac8e504f28c922539c77e32f889e8a42594ca1dd",
        "a6ca5eb702a5fdc484350295da04dba4917dc953983b0b53eca7ce1381e7fc49",
        "70b285cc8659d96d342133f7bdd652812afcec9a91a2ec7cda552fb03b3738e0",
    ),
    ("test", 5, 7): (
        "3bc62e5e9d6554f999f5eb4662a9a80a061a0661b665b361dcb583546143c6e8",
        "a719b6cf6a22f2e07391b5f7e172224234ffe4ed928477a81d72ec94bc7f68e7",
        "8cf3ada2bacc46979c5f2d90847420563cc5c6b31bb144e9e17d1a7c340df3a1",
        "7d63e094f4de5f93a945cc6e74c63cd84c0a8e51dcbdc749c3c2fedff6304872",
    ),
    ("test", 999, 4294967295): (
        "b9b059e59f60132fff6b8474b85165416f963df9d03cb80d47726a3ac742aa1a",
        "7c101e4dc7b1ad55e2360b6799ee0b4e25a646575f0989c2876656eeb75a6cdd",
        "cf0c8390583101fa74aaad39baea43709f5cf519ca3a6df168258c5af2c7aa5f",
        "f860aea77dc18a1a3d45808c9fcef0ffc6a24dab9a21d7a8d5a90bb10dccbe85",
    ),
}


@pytest.mark.parametrize("which", PINNED)
def test_the_pixels_are_pinned(which: tuple[str, int, int]):
    split, index, seed = which
    scene = draw(index, split, seed)
    assert (digest(scene.image), digest(scene.labels), digest(scene.instances), digest(scene.parts)) == PINNED[which]


def test_many_images_are_pinned():
    # The first 40 of each split: any drift in rare shapes or places would show.
    total = hashlib.sha256()
    for split in ("train", "val", "test"):
        for i in range(40):
            total.update(digest(draw(i, split, 0).image).encode())
    assert total.hexdigest() == "9133a658c6d5af4d8d7409d8901603f89599a4a80393e544c58302b020bf04d8"


def test_splits_and_seeds_share_no_image():
    seen = [digest(draw(i, split, seed).image) for seed in (0, 1) for split in SPLITS for i in range(25)]
    assert len(set(seen)) == len(seen)


def test_what_a_scene_promises():
    places, classes, counts, square = set(), set(), set(), 0
    for i in range(150):
        s = draw(i, "val")
        h, w = s.labels.shape
        assert s.image.shape == (h, w, 3)
        assert s.image.dtype == s.labels.dtype == s.instances.dtype == s.parts.dtype == np.uint8
        assert s.instances.shape == s.parts.shape == (h, w)
        square += h == w
        # Classes, instances and parts cover the same pixels, and each instance has its object's class.
        assert ((s.labels > 0) == (s.instances > 0)).all()
        assert ((s.parts > 0) == (s.instances > 0)).all()
        assert set(np.unique(s.instances)) - {0} == set(range(1, len(s.objects) + 1))
        for n, o in enumerate(s.objects, 1):
            inside = s.instances == n
            assert (s.labels[inside] == o.index + 1).all()
            assert inside.sum() == o.pixels > 0
            x0, y0, x1, y1 = s.boxes[n - 1].astype(int)
            assert inside[y0:y1, x0:x1].sum() == o.pixels
            assert inside[y0:y1, x0].any()
            assert inside[y1 - 1, x0:x1].any()
        assert s.present == tuple(sorted({o.index for o in s.objects}))
        assert all(CLASSES[i] in s.caption for i in s.present)
        places.add(s.place)
        classes.update(s.present)
        counts.add(len(s.objects))
    assert places == set(PLACES)
    assert classes == set(range(12))
    assert counts == {1, 2, 3, 4}
    assert square < 15


def test_context_correlates_with_classes():
    # Half the objects of a place are at home there: boats are met on water far more often than elsewhere.
    water, other = [0, 0], [0, 0]
    for i in range(300):
        s = draw(i, "val")
        counter = water if s.place == "water" else other
        counter[0] += 3 in s.present
        counter[1] += 1
    assert water[0] / water[1] > 2.5 * other[0] / other[1]


def test_dataset_knows_everything():
    d = open_dataset("toyland", images=12, seed=7)
    assert (d.name, d.split, len(d), d.class_set.name, d.labels_source, d.has_masks) == (
        "toyland",
        "test",
        12,
        "toyland",
        "drawn",
        True,
    )
    assert len(open_dataset("toyland", labels="none")) == 100
    for i, sample in enumerate(d):
        scene = draw(i, "test", 7)
        assert sample.id == f"test_{i:06d}"
        assert (sample.image, sample.mask, sample.labels) == (None, None, scene.present)
        np.testing.assert_array_equal(d.image(sample), scene.image)
        np.testing.assert_array_equal(d.mask(sample), scene.labels)
        boxes = d.boxes(sample)
        np.testing.assert_array_equal(boxes.xyxy, scene.boxes)
        assert boxes.classes.tolist() == [o.index for o in scene.objects]
    assert d.samples[-1].id == "test_000011"
    assert [s.id for s in d.samples[2:8:3]] == ["test_000002", "test_000005"]
    with pytest.raises(IndexError):
        d.samples[12]


def test_what_is_given_out_may_be_written_to():
    d = open_dataset("toyland", images=1)
    d.image(d[0])[:] = 0
    d.mask(d[0])[:] = 0
    assert d.image(d[0]).any()
    assert d.mask(d[0]).any()


def test_a_sample_is_drawn_once(monkeypatch):
    drawn = []

    def counting(*which):
        drawn.append(which)
        return draw(*which)

    monkeypatch.setattr(toyland_dataset, "_scene", toyland_dataset.lru_cache(maxsize=32)(counting))
    d = open_dataset("toyland", images=50, split="train")
    for s in d:
        d.image(s), d.mask(s), d.boxes(s)
    assert drawn == [(i, "train", 0, "standard") for i in range(50)]


def test_labels_may_be_left_out_or_replaced(tmp_path: Path):
    d = open_dataset("toyland", images=3, labels="none")
    assert (d.labels_source, [s.labels for s in d]) == (None, [None] * 3)
    masks = open_dataset("toyland", images=3, labels="masks")
    assert [s.labels for s in masks] == [s.labels for s in open_dataset("toyland", images=3)]
    (tmp_path / "a.txt").write_text("test_000001 house, cup")
    d = open_dataset("toyland", images=3, labels=tmp_path / "a.txt")
    assert [s.labels for s in d] == [None, (0, 6), None]
    assert [open_dataset("toyland", images=3, labels=o).unlabelled for o in ("auto", "none")] == [0, 3]
    assert d.image(d[1]).shape[2] == 3
    path = tmp_path / "mine.toml"
    path.write_text("classes = [" + ", ".join(f'{{name = "{n}", phrases = ["toy {n}"]}}' for n in CLASSES) + "]")
    assert open_dataset("toyland", images=3, classes=path).class_set.phrases[0] == ("toy house",)


def test_tree_and_back(tmp_path: Path):
    root = tmp_path / "toys"
    write_tree(root, "test", 6, 7)
    d = open_dataset("voc", root, classes="toyland")
    drawn = open_dataset("toyland", images=6, seed=7)
    assert (d.split, d.class_set, [s.id for s in d]) == ("test", drawn.class_set, [s.id for s in drawn])
    assert d.labels_source.endswith("image_labels.json")
    assert open_dataset("voc", root).class_set is load_class_set("toyland")  # by class_names.txt
    captions = json.loads((root / "captions.json").read_text())
    for s, t in zip(d, drawn, strict=True):
        scene = drawn.scene(t)
        assert s.labels == t.labels
        np.testing.assert_array_equal(d.mask(s), scene.labels)
        assert np.abs(d.image(s).astype(int) - scene.image).mean() < 4  # JPEG of quality 95
        assert captions[s.id] == scene.caption
        for folder, want in (("SegmentationClass", scene.labels), ("SegmentationObject", scene.instances)):
            with Image.open(root / folder / f"{s.id}.png") as image:
                assert image.mode == "P"
                assert len(image.getpalette()) == 768
                np.testing.assert_array_equal(np.asarray(image), want)
        with Image.open(root / "JPEGImages" / f"{s.id}.jpg") as image:
            assert {c[1:3] for c in image.layer} == {(1, 1)}  # colours are not subsampled
        # Boxes come from the instances; visible parts only, so they are those of the scene.
        boxes, true = d.boxes(s), drawn.boxes(t)
        np.testing.assert_array_equal(boxes.xyxy, true.xyxy)
        np.testing.assert_array_equal(boxes.classes, true.classes)
    assert check_dataset(d).problems == []


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_tree_is_the_same_each_time_and_grows_by_splits(tmp_path: Path):
    write_tree(tmp_path / "a", "test", 3, 0)
    before = files(tmp_path / "a")
    write_tree(tmp_path / "a", "test", 3, 0)
    assert files(tmp_path / "a") == before
    write_tree(tmp_path / "a", "train", 2, 0)
    after = files(tmp_path / "a")
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"image_labels.json", "captions.json", "toyland.json"}
    assert set(json.loads(after["image_labels.json"])) == {f"test_{i:06d}" for i in range(3)} | {
        "train_000000",
        "train_000001",
    }
    assert open_dataset("voc", tmp_path / "a").split == "train"
    assert len(open_dataset("voc", tmp_path / "a", "test")) == 3


def test_a_broken_off_tree_is_no_split_and_can_be_finished(tmp_path: Path, monkeypatch):
    import wsss_seed.io.png as masks

    whole = masks.write_mask

    def fail(path, *rest):
        if path.name == "test_000002.png":
            raise OSError(28, "No space left on device", str(path))
        return whole(path, *rest)

    monkeypatch.setattr(masks, "write_mask", fail)
    with pytest.raises(OSError, match="No space left"):
        write_tree(tmp_path / "a", "test", 4, 0)
    with pytest.raises(WsssError, match="no list of images"):
        open_dataset("voc", tmp_path / "a")
    monkeypatch.undo()
    write_tree(tmp_path / "a", "test", 4, 0)
    write_tree(tmp_path / "b", "test", 4, 0)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_tree_is_not_written_over_something_else(tmp_path: Path):
    write_tree(tmp_path / "toys", "test", 2, 0)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("precious")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "toyland.json").write_text("[]")
    for out, count, seed, message in (
        (other, 2, 0, "is no toyland tree"),
        (other / "thesis.txt", 2, 0, "is no toyland tree"),
        (damaged, 2, 0, "damaged"),
        (tmp_path / "toys", 3, 0, "holds 2 images of test, not 3"),
        (tmp_path / "toys", 2, 1, "holds toyland of seed 0, not 1"),
    ):
        with pytest.raises(WsssError, match=message):
            write_tree(out, "test", count, seed)
    assert [p.name for p in other.iterdir()] == ["thesis.txt"]
    with pytest.raises(WsssError, match="unknown split of toyland"):
        write_tree(tmp_path / "new", "tset", 2, 0)
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    write_tree(tmp_path / "empty", "test", 1, 0)
