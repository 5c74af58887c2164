"""CropDataset: image and masks stay together, and a crop depends on its position alone."""

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from wsss_seed.data.base import Sample
from wsss_seed.errors import ImageError
from wsss_seed.segmenter.crops import TrainingData, augment, crop_loader
from wsss_seed.segmenter.settings import AugmentSettings

PLAIN = AugmentSettings(shortest_edge=0, ratio_range=(1, 1), crop_size=64, flip_prob=0, photometric_distortion=False)


def blocks(height=90, width=130):
    """A label map of blocks, and an image whose red channel is the label times 20, its green channel the confidence."""
    labels = np.zeros((height, width), np.uint8)
    labels[20:60, 30:90], labels[50:80, 70:120] = 3, 7
    confidence = np.tile(np.arange(width, dtype=np.uint8), (height, 1))
    return np.dstack([labels * 20, confidence, labels]), labels, confidence


def parts():
    image, labels, confidence = blocks()
    return [
        tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)),
        tv_tensors.Mask(torch.from_numpy(labels)),
        tv_tensors.Mask(torch.from_numpy(confidence)),
    ]


@pytest.mark.parametrize(
    "settings",
    [
        PLAIN,
        AugmentSettings(
            shortest_edge=0, ratio_range=(0.5, 2), crop_size=64, flip_prob=0.5, photometric_distortion=False
        ),
        AugmentSettings(
            shortest_edge=64,
            ratio_range=(0.5, 2),
            ratio_step=0.1,
            crop_size=96,
            flip_prob=0.5,
            photometric_distortion=False,
        ),
    ],
)
def test_image_labels_and_confidence_are_cut_alike(settings):
    for seed in range(20):
        torch.manual_seed(seed)
        pixels, labels, confidence = augment(parts(), settings)
        assert pixels.shape == (3, settings.crop_size, settings.crop_size)
        assert labels.shape == confidence.shape == pixels.shape[1:]
        assert pixels.dtype == labels.dtype == confidence.dtype == torch.uint8
        inside = labels != 255
        agrees = (pixels[0].int() - 20 * labels.int()).abs()[inside] <= 30  # outlines are blurred by the resizing
        assert agrees.float().mean() > 0.9
        near = (pixels[1].int() - confidence.int()).abs()[inside] <= 3
        assert near.float().mean() > 0.95


def test_what_is_missing_is_255():
    settings = AugmentSettings(
        shortest_edge=0, ratio_range=(1, 1), crop_size=160, flip_prob=0, photometric_distortion=False
    )
    torch.manual_seed(0)
    _, labels, _ = augment(parts(), settings)
    assert (labels[:90, :130].numpy() == blocks()[1]).all()
    assert (labels[90:] == 255).all()
    assert (labels[:, 130:] == 255).all()


def test_no_category_has_more_than_its_share_where_that_can_be():
    image = tv_tensors.Image(torch.zeros(3, 64, 256, dtype=torch.uint8))
    labels = torch.zeros(64, 256, dtype=torch.uint8)
    labels[:, 128:] = 1
    shares = {}
    for category in (0.75, 1.0):
        found = []
        for seed in range(60):
            torch.manual_seed(seed)
            settings = AugmentSettings(
                shortest_edge=0, ratio_range=(1, 1), crop_size=64, cat_max_ratio=category, photometric_distortion=False
            )
            crop = augment([image, tv_tensors.Mask(labels)], settings)[1]
            found.append((torch.bincount(crop.flatten().int(), minlength=2).max() / crop.numel()).item() <= 0.75)
        shares[category] = np.mean(found)
    # One place in six will do; of ten draws at least one hits it five times in six.
    assert shares[0.75] > 0.7 > 0.4 > shares[1.0]


def test_photometric_changes_colours_and_nothing_else():
    settings = AugmentSettings(
        shortest_edge=0, ratio_range=(1, 1), crop_size=64, flip_prob=0, photometric_distortion=True
    )
    changed = 0
    for seed in range(10):
        torch.manual_seed(seed)
        plain = augment(parts(), PLAIN)
        torch.manual_seed(seed)
        other = augment(parts(), settings)
        assert torch.equal(plain[1], other[1])
        assert torch.equal(plain[2], other[2])
        changed += not torch.equal(plain[0], other[0])
    assert changed >= 8


def _image(sample):
    if sample.id == "broken":
        raise ImageError("broken.jpg: damaged")
    return blocks()[0] + np.uint8(int(sample.id))


def _labels(sample):
    return blocks()[1]


def source(ids="01234"):
    return TrainingData([Sample(id) for id in ids], _image, _labels)


WILD = AugmentSettings(shortest_edge=0, ratio_range=(0.7, 1.5), crop_size=64)


def batches(start=0, stop=4, workers=0, share=(0, 1), accumulate=2, src=None):
    loader = crop_loader(
        src or source(),
        WILD,
        seed=3,
        batch=8,
        accumulate=accumulate,
        start=start,
        stop=stop,
        share=share,
        workers=workers,
    )
    return [tuple(part.clone() for part in batch) for batch in loader]


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(x, y) for m, n in zip(a, b, strict=True) for x, y in zip(m, n, strict=True)
    )


def test_the_stream_is_the_same_for_any_number_of_workers_and_after_a_resume():
    whole = batches()
    assert len(whole) == 8
    assert whole[0][0].shape == (4, 3, 64, 64)
    assert not torch.equal(whole[0][0], whole[1][0])
    assert same(whole, batches(workers=2))
    assert same(whole, batches(workers=0))
    assert same(whole[4:], batches(start=2))


def test_processes_share_the_images_of_an_iteration():
    whole = torch.cat([pixels for pixels, _ in batches(accumulate=1)])
    shared = [batches(share=(i, 2), accumulate=2) for i in range(2)]
    together = torch.cat([pixels for pair in zip(*shared, strict=True) for pixels, _ in pair])
    assert torch.equal(whole, together)


def test_an_unreadable_image_is_replaced_by_the_next_one(caplog):
    src = TrainingData([Sample("0"), Sample("broken"), Sample("2")], _image, _labels)
    found = batches(src=src)
    assert all(len(pixels) == 4 for pixels, _ in found)
    assert caplog.text.count("broken.jpg: damaged") == 1
