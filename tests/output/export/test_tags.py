"""Tags survive what editors do to file names."""

import shutil

import pytest

from tests.output.editors import correct
from tests.output.odd_run import NOISE, label_maps, write_run
from wsss_seed.output.export.tags import Tag, Tagger, find_tag, image_digest, state_of
from wsss_seed.output.finished import open_run

TAG = Tag("0123456789ab", "cdef0123", 12)


def test_a_tag_is_found_again():
    assert find_tag(f"photo{TAG}.jpg") == TAG
    assert find_tag(f"1a2b3c4d-photo{TAG}.PNG".upper()) == TAG
    assert find_tag(f"/data/upload/3/photo{TAG}.jpg?d=1") == TAG
    assert find_tag(f"photo{Tag('f' * 12, 'e' * 8, 0)}{TAG}.json") == TAG  # an export of an export


@pytest.mark.parametrize("name", ["photo.jpg", "", "photo-ws0123.jpg", f"photo{TAG}abc.jpg", "photo-wsr1"])
def test_what_is_no_tag(name):
    assert find_tag(name) is None


def test_names_of_any_id_are_plain_and_differ(run):
    found = open_run(run)
    tagger = Tagger(found)
    names = [tagger.name(id, found.mask(id)) for id in label_maps()]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and name.replace("-", "").replace("_", "").isalnum() for name in names)
    mask = found.mask("ring")
    for id in ("日本", "a" * 240, "...", "x/" * 40 + "y", NOISE):
        name = tagger.name(id, mask)
        assert len(name) < 130
        assert find_tag(name).image == image_digest(found.about, found.names, id)


def test_a_tag_names_run_image_mask_and_revision(run, tmp_path):
    def tag(run, id):
        found = open_run(run)
        return find_tag(Tagger(found).name(id, found.mask(id)))

    first = tag(run, "ring")
    shutil.copytree(run, tmp_path / "copy")
    assert tag(tmp_path / "copy", "ring") == first
    assert first.revision == 0
    assert tag(run, "rings").image != first.image
    other = write_run(tmp_path / "other", tmp_path / "photos", note="another")
    assert tag(other, "ring").image != first.image
    assert tag(other, "ring").state == first.state
    correct(run, "ring", label_maps()["rings"])
    second = tag(run, "ring")
    assert (second.image, second.revision) == (first.image, 1)
    assert second.state not in (first.state, state_of(""))


def test_a_decision_made_during_the_export_is_not_in_its_tags(run):
    """Otherwise import would take it for known, and overwrite it."""
    found = open_run(run)
    correct(run, "ring", label_maps()["rings"])
    assert find_tag(Tagger(found).name("ring", found.mask("ring"))).revision == 0
