"""Scenes: the same pixels everywhere, exact ground truth, and what a place has to do with its objects."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from wsss_seed.data.toyland import CLASSES, PLACES, SPLITS, draw


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
