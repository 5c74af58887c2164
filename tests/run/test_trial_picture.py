"""Pictures of a trial."""

import numpy as np
import pytest
from PIL import Image

from wsss_seed.data.classes import load_class_set
from wsss_seed.data.toyland.dataset import Toyland
from wsss_seed.models.zoo import ModelSet
from wsss_seed.run.trial import Trial
from wsss_seed.run.trial_picture import Row, draw_cell, draw_trial

CLASSES = load_class_set("toyland")
WORLD = Toyland(CLASSES, "test", 2, difficulty="hard")


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "b.png"
    Image.fromarray(WORLD.image(WORLD[1])).save(path)
    models = ModelSet("tiny", "cpu").for_backend("dino-sam")
    return Trial("dino-sam", CLASSES, models, [{}, {"box_threshold": 0.5}])(path)


def test_the_picture(tried):
    """Boxes and outlines lie over the mask; a column per settings, a row per photograph, and a legend."""
    alone = draw_cell(tried[0], CLASSES.palette)
    assert alone.styles == {"solid", "dashed", "dotted"}
    assert alone.labels == set(np.unique(tried[0].seed.labels))
    pixels = np.asarray(alone.picture)
    assert pixels.shape[:2] == (1000, round(222 / 263 * 1000))
    scale = 1000 / 263
    tree = CLASSES.names.index("tree") + 1
    inside = np.argwhere(np.asarray(Image.fromarray(tried[0].seed.labels).resize((844, 1000), 0)) == tree)
    y, x = inside.mean(0).astype(int)
    image = tried[0].image[int(y / scale), int(x / scale)].astype(int)
    assert np.abs(pixels[y, x] - (0.55 * image + 0.45 * np.array(CLASSES.palette[tree]))).max() < 30
    assert {(170, 170, 170), CLASSES.palette[tree], (255, 255, 255)} <= {c for _, c in alone.picture.getcolors(2**24)}

    cells = tuple(draw_cell(t, CLASSES.palette, alone=False, columns=2) for t in tried)
    row = Row("b.png", cells)
    one, two = draw_trial([row], ["a", "b" * 999], CLASSES), draw_trial([row, row], ["a", "b"], CLASSES)
    assert one.width == two.width == 2 * cells[0].picture.width + 3 * 8
    assert two.height - one.height == cells[0].picture.height + 26 + 8
    single = draw_trial([Row("x" * 999, cells[:1])], ["unchanged"], CLASSES)
    assert single.width == cells[0].picture.width + 2 * 8
    assert one.height - single.height == 26


def test_many_columns_stay_handy(tried):
    assert max(draw_cell(tried[0], CLASSES.palette, alone=False, columns=12).picture.size) == 300
