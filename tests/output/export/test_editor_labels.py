"""Labels and colours of editors."""

import pytest

from wsss_seed.data.classes import voc_palette
from wsss_seed.errors import DataError
from wsss_seed.output.export.editor_labels import distinct_colours, editor_labels, label_of


def test_ignored_pixels_have_a_label_of_their_own():
    assert editor_labels(("background", "cat")) == {"background": 0, "cat": 1, "ignore": 255}
    taken = editor_labels(("background", "ignore", "ignore (255)"))
    assert taken == {"background": 0, "ignore": 1, "ignore (255)": 2, "ignore (255) (255)": 255}


def test_unknown_labels_are_named():
    labels = editor_labels(("background", "cat"))
    assert label_of("cat", labels, "here") == 1
    with pytest.raises(DataError, match=r"here: has the label 'dog', but the run has background, cat, ignore"):
        label_of("dog", labels, "here")


def test_no_two_labels_share_a_colour():
    palette = [(9, 9, 9), (1, 2, 3), (1, 2, 3), (0, 0, 0), (128, 0, 0), (224, 224, 192), *voc_palette()[6:]]
    labels = editor_labels(("background", "a", "b", "c", "d", "e"))
    found = distinct_colours(palette, labels)
    assert found[0] == (0, 0, 0)
    assert found[1] == (1, 2, 3)
    assert found[4] == (128, 0, 0)  # which replacements avoid
    assert len(set(found.values())) == len(found) == 7
    for colours in (palette, [(5, 5, 5)] * 256, list(voc_palette())):
        many = editor_labels([f"c{i}" for i in range(255)])
        assert len(set(distinct_colours(colours, many).values())) == 256
