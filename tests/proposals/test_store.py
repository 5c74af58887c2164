"""Mask proposals in memory and in their store."""

from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask as rle

from tests.proposals.test_generate import SMALL, patch, proposals, same
from wsss_seed.data.toyland import draw
from wsss_seed.proposals.generate import (
    generate_proposals,
    load_or_generate,
    proposal_store,
)
from wsss_seed.proposals.store import Proposals, ProposalStore


class Counting:
    """A SAM that says how often it was asked."""

    def __init__(self, sam):
        self.sam, self.images = sam, 0

    def embed(self, image):
        self.images += 1
        return self.sam.embed(image)

    def __getattr__(self, name):
        return getattr(self.sam, name)


def test_kept_once_and_read_back_as_made(sam, tmp_path):
    asked, image = Counting(sam), draw(0, "test").image
    store = proposal_store(tmp_path, "tiny", SMALL)
    first = load_or_generate(lambda: asked, image, SMALL, store)
    same(first, load_or_generate(lambda: asked, image.copy(), SMALL, proposal_store(tmp_path, "tiny", SMALL)))
    same(first, generate_proposals(sam, image, SMALL))
    assert len(first) > 0
    assert asked.images == 1
    assert [p.suffixes for p in tmp_path.rglob("*") if p.is_file()] == [[".json", ".gz"]]


def test_another_image_setting_or_model_does_not_meet_it(sam, tmp_path):
    image = draw(0, "test").image
    path = proposal_store(tmp_path, "tiny", SMALL).path(image)
    touched = image.copy()
    touched[0, 0, 0] ^= 1
    turned = image.reshape(image.shape[1], image.shape[0], 3)
    others = [
        proposal_store(tmp_path, "tiny", SMALL).path(touched),
        proposal_store(tmp_path, "tiny", SMALL).path(turned),
        proposal_store(tmp_path, "tiny", replace(SMALL, level_overlap_thresh=0.4)).path(image),
        proposal_store(tmp_path, "another", SMALL).path(image),
    ]
    assert len({path, *others}) == 5
    assert proposal_store(tmp_path, "tiny", replace(SMALL, points_per_side=4)).path(image) == path


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "other layout", "other image", "other runs"])
def test_a_damaged_file_is_made_again(sam, tmp_path, damage):
    asked, image = Counting(sam), draw(0, "test").image
    store = proposal_store(tmp_path, "tiny", SMALL)
    first = load_or_generate(lambda: asked, image, SMALL, store)
    path = store.path(image)
    data = bytearray(path.read_bytes())
    if damage == "empty":
        data = b""
    elif damage == "cut":
        data = data[:-9]
    elif damage == "flipped":
        data[len(data) // 2] ^= 4
    elif damage == "text":
        data = b"{}"
    elif damage == "other layout":
        import gzip

        data = gzip.compress(gzip.decompress(data).replace(b'"layout": 1', b'"layout": 0'))
    elif damage == "other runs":  # of a larger image, which pycocotools would write past its buffer
        larger = rle.encode(np.ones((4000, 4000), np.uint8, order="F"))["counts"]
        masks = tuple({**mask, "counts": larger} for mask in first.masks)
        data = replace(first, masks=masks).to_bytes()
    else:
        data = proposals([patch(0, 9, 0, 9)]).to_bytes()
    path.write_bytes(data)
    same(first, load_or_generate(lambda: asked, image, SMALL, store))
    assert asked.images == 2
    same(first, store.read(path, image.shape[:2]))


def test_a_folder_that_takes_nothing_loses_nothing(sam, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    image = draw(0, "test").image
    assert len(load_or_generate(lambda: sam, image, SMALL, proposal_store(tmp_path / "file", "tiny", SMALL))) > 0


def test_masks_in_chunks_are_the_whole_in_order():
    found = proposals([patch(i, i + 5, 2 * i, 2 * i + 9) for i in range(7)])
    whole = found.dense()
    assert whole.shape == (7, 40, 40)
    for pixels, sizes in ((1, [1] * 7), (3 * 1600, [3, 3, 1]), (10**9, [7])):
        parts = list(found.chunks(pixels))
        assert [len(masks) for _, masks in parts] == sizes
        np.testing.assert_array_equal(np.concatenate([masks for _, masks in parts]), whole)
        np.testing.assert_array_equal(np.concatenate([whole[part] for part, _ in parts]), whole)


def test_a_selection_keeps_its_order_and_its_figures():
    found = proposals([patch(i, i + 5, 0, 9) for i in range(5)], levels=[0, 1, 2, 1, 0])
    some = found.take([3, 0])
    assert len(some) == 2
    np.testing.assert_array_equal(some.dense(), found.dense()[[3, 0]])
    assert some.level.tolist() == [1, 0]
    assert some.predicted_iou.tolist() == found.predicted_iou[[3, 0]].tolist()
    assert len(found.take([])) == 0
    assert found.take([]).crop.shape == (0, 4)


def test_bytes_hold_everything_and_are_the_same_each_time():
    found = proposals([patch(1, 9, 2, 30), patch(0, 40, 0, 40)], levels=[0, 2], crops=[[2, 1, 33, 40], [0, 0, 40, 40]])
    data = found.to_bytes()
    same(Proposals.from_bytes(data), found)
    assert Proposals.from_bytes(data).to_bytes() == data == found.to_bytes()


def test_an_image_of_another_size_is_not_met(tmp_path):
    store = ProposalStore(tmp_path / "new", {"a": 1}, "weights")
    found = proposals([patch(1, 9, 2, 30)])
    path = store.path(np.zeros((40, 40, 3), np.uint8))
    assert store.read(path, (40, 40)) is None
    store.write(path, found)
    same(store.read(path, (40, 40)), found)
    assert store.read(path, (40, 41)) is None
    assert ProposalStore(tmp_path / "new", {"a": 2}, "weights").path(np.zeros((40, 40, 3), np.uint8)) != path
