"""The stream of crops: shared by processes, labelled as set, and without the images that cannot be read."""

import torch

from tests.seeding.clip_sams.learn.painted import settings, source
from wsss_seed.config import override
from wsss_seed.seeding.clip_sams.learn.crops import crop_batches


def test_processes_share_the_micro_batches():
    s = settings(train__batch_size=2, train__gradient_accumulation_steps=3)
    whole = list(crop_batches(source(), s, 0, 1, 3))
    parts = [list(crop_batches(source(), s, 0, 1, 3, (k, 2))) for k in range(2)]
    assert [len(b) for b in whole] == [3, 3]
    for i in range(2):
        assert torch.equal(whole[i][0].pixels, parts[0][i][0].pixels)
        assert torch.equal(whole[i][1].pixels, parts[1][i][0].pixels)
        assert torch.equal(whole[i][2].pixels, parts[0][i][1].pixels)


def test_labels_of_the_whole_image_or_of_the_crop():
    """The image's even where the crop lost the object; A5.1 for VOC: the crop's."""
    tight = {"augment.longest_edge_range": [200, 200], "train.batch_size": 24}
    for kind in ("image", "crop"):
        s = override(settings(train__labels=kind), tight)
        [[crops]] = crop_batches(source(seeds=True), s, 0, 0, 1)
        shown = torch.stack([(crops.label_maps == c + 1).flatten(1).any(1) for c in range(3)], 1)
        assert not shown.any(1).all()  # some crop has lost its object
        assert torch.equal(crops.labels, shown) == (kind == "crop")
        assert crops.labels.any(1).all() == (kind == "image")


def test_an_unreadable_image_is_left_out(caplog):
    [[crops]] = crop_batches(source(broken=(2,)), settings(train__batch_size=6), 0, 0, 1)
    assert len(crops.pixels) == len(crops.labels) == 5
    assert "damaged image" in caplog.text
    [[none]] = crop_batches(source(1, broken=(0,)), settings(), 0, 0, 1)
    assert none.pixels.shape == (0, 3, 32, 32)
