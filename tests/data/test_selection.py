"""The first images of a dataset, or a random sample of them."""

import pytest

from wsss_seed.data.base import Sample
from wsss_seed.data.selection import select
from wsss_seed.errors import UsageError

IMAGES = [Sample(f"photo {i:03d}") for i in range(200)]


def test_the_first_images_or_all():
    assert list(select(IMAGES)) == IMAGES
    assert list(select(IMAGES, limit=3)) == IMAGES[:3]


def test_a_sample_is_in_order_and_the_same_each_time():
    some = select(IMAGES, sample=20, seed=1)
    assert len(some) == 20
    assert some == sorted(some, key=lambda image: image.id)
    assert some == select(IMAGES, sample=20, seed=1)
    assert some != select(IMAGES, sample=20, seed=2)
    assert select(IMAGES, sample=500) == IMAGES


def test_samples_come_from_everywhere():
    """The mean place of 1,000 images from 50 samples is the middle, within five standard errors."""
    places = [IMAGES.index(image) for seed in range(50) for image in select(IMAGES, sample=20, seed=seed)]
    assert abs(sum(places) / len(places) - 99.5) < 5 * 57.7 / 1000**0.5


def test_a_larger_sample_contains_a_smaller_one_and_new_images_replace_few():
    small = set(select(IMAGES, sample=20))
    assert small < set(select(IMAGES, sample=40))
    more = select([*IMAGES, *(Sample(f"new {i}") for i in range(20))], sample=20)
    assert len(small & set(more)) >= 15


def test_names_that_are_no_unicode():
    assert len(select([Sample("a\udcff"), Sample("b")], sample=1)) == 1


def test_not_both():
    with pytest.raises(UsageError, match="give one of them"):
        select(IMAGES, limit=3, sample=3)
