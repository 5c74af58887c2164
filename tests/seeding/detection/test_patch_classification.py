"""Classification with CLIP's patches: against plain loops, and on toyland with the miniature whose patches see."""

import numpy as np
import pytest
import torch

from wsss_seed.config import override
from wsss_seed.data import load_class_set, open_dataset
from wsss_seed.data.toyland import draw
from wsss_seed.errors import WsssError
from wsss_seed.models.clip import Clip, load_clip
from wsss_seed.models.zoo import BUNDLED, ModelSet
from wsss_seed.seeding.detection.classification import negatives, probabilities, text_features, to_numpy, view_boxes
from wsss_seed.seeding.detection.patch_classification import patch_scores, refine, region_box
from wsss_seed.seeding.dino_sam import DinoSam, Settings
from wsss_seed.types import LoadedSample

CLASSES = load_class_set("toyland")
SCALE = 15.0


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clip(str(BUNDLED["tiny-regions"]))


@pytest.fixture(scope="module")
def text(clip) -> np.ndarray:
    return text_features(clip, [*CLASSES.phrases, *((p,) for p in negatives(CLASSES))], ["a photo of a {}."])


def regions_of(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """The 8-connected regions of a mask, by flooding."""
    todo = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    while todo:
        region, edge = set(), [todo.pop()]
        while edge:
            y, x = edge.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & todo
            todo -= near
            edge += near
        found.append(region)
    return found


def plain_refine(probs: np.ndarray, attention: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The two averages with loops over patches."""
    patches, texts = probs.shape
    out = np.zeros((patches, texts))
    for c in range(texts):
        first = [sum(attention[i, j] * probs[j, c] for j in range(patches)) for i in range(patches)]
        inside = np.zeros(grid, bool)
        for region in regions_of(np.reshape(np.array(first) >= np.mean(first), grid)):
            ys, xs = [y for y, _ in region], [x for _, x in region]
            inside[min(ys) : max(ys) + 1, min(xs) : max(xs) + 1] = True
        for i in range(patches):
            out[i, c] = sum(attention[i, j] * probs[j, c] for j in range(patches) if inside.ravel()[j])
    return out


def test_refinement_equals_plain_loops():
    rng = np.random.default_rng(0)
    for grid in ((5, 7), (1, 1), (8, 3)):
        n = grid[0] * grid[1]
        attention = rng.random((n, n)).astype(np.float32) ** 4 * (rng.random((n, n)) < 0.4)
        probs = rng.dirichlet([0.3] * 6, n).astype(np.float32)
        np.testing.assert_allclose(refine(probs, attention, grid), plain_refine(probs, attention, grid), rtol=1e-4)


def test_patches_outside_the_boxes_of_a_class_do_not_contribute():
    """Two distant patches show the class and a third shows it a little; all attend to themselves only."""
    probs = np.zeros((9, 1), np.float32)
    probs[[0, 8, 6], 0] = 0.9, 0.8, 0.05
    refined = refine(probs, np.eye(9, dtype=np.float32), (3, 3))
    np.testing.assert_allclose(refined[:, 0], [0.9, 0, 0, 0, 0, 0, 0, 0, 0.8])


def test_the_box_of_a_map_surrounds_what_lies_above_the_middle_of_its_range():
    scores = np.full((4, 6), 0.2)
    scores[1, 2] = scores[2, 4] = 1.0
    scores[3, 5] = 0.6  # the middle itself
    assert region_box(scores).tolist() == [2, 1, 5, 3]
    assert region_box(np.zeros((4, 6))).tolist() == [0, 0, 6, 4]


def test_scores_equal_a_plain_reference(clip, text):
    """The best refined patch; for classes above the middle of all scores, its mean with the crop of their region."""
    looked_again = 0
    for index in range(6):
        image = draw(index, "val").image
        patches = clip.encode_patches(image)
        rows, columns = patches.grid
        probs = probabilities(to_numpy(patches.features[0]), text, SCALE)
        refined = plain_refine(probs, to_numpy(patches.attention[0]), patches.grid)
        expected = refined.max(0)
        middle = (refined.min() + refined.max()) / 2
        for c in range(12):
            if refined[:, c].max() <= middle:
                continue
            above = refined[:, c].reshape(rows, columns) > (refined[:, c].min() + refined[:, c].max()) / 2
            ys, xs = np.nonzero(above)
            height, width = image.shape[:2]
            box = np.array([xs.min() / columns, ys.min() / rows, (xs.max() + 1) / columns, (ys.max() + 1) / rows])
            view = to_numpy(clip.encode_views(image, box[None] * [width, height, width, height]))
            expected[c] = (refined[:, c].max() + probabilities(view, text, SCALE)[0, c]) / 2
            looked_again += 1
        got = patch_scores(clip, image, text, 12, SCALE)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(got, patch_scores(clip, image, text, 12, SCALE))
        assert (got >= 0).all()
        assert (got <= 1).all()
    assert looked_again >= 6


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (130, 97)])
def test_images_of_any_size(clip, text, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    scores = patch_scores(clip, image, text, 12, SCALE)
    assert scores.shape == (len(text),)
    assert np.isfinite(scores).all()


def test_small_objects_score_higher_than_in_the_whole_image(clip, text):
    """The smallest object of a scene, below 4 % of it: most are found more clearly, and more clearly than what is
    absent."""
    higher, small, absent = [], [], []
    for index in range(60):
        scene = draw(index, "val")
        smallest = min(scene.objects, key=lambda o: o.pixels)
        if len(scene.present) < 2 or smallest.pixels > 0.04 * scene.labels.size:
            continue
        whole = to_numpy(clip.encode_views(scene.image, view_boxes(*scene.labels.shape, ())))
        scores = patch_scores(clip, scene.image, text, 12, SCALE)[:12]
        higher.append(scores[smallest.index] > probabilities(whole, text, SCALE)[0, smallest.index])
        small.append(scores[smallest.index])
        absent.append(np.median(np.delete(scores, scene.present)))
    assert len(higher) >= 15
    assert np.mean(higher) > 0.75
    assert np.median(small) > 2 * np.median(absent)


def test_the_seeder_takes_candidates_from_patches(clip):
    """By TagCLIP's rule with a share of its own, up to the limit; the scores are kept as evidence."""
    models = ModelSet("tiny", "cpu")
    world = open_dataset("toyland", images=3)
    given = {"clip.scores": "patches", "clip.logit_scale": SCALE, "mode": "label_free", "clip.max_candidates": 2}
    for decision in ("detector", "classifier"):
        settings = override(Settings(), {**given, "clip.decision": decision})
        seeder = DinoSam(CLASSES, clip, models.sam, models.detector, settings)
        for sample in world:
            image = world.image(sample)
            seed = seeder.seed(LoadedSample(sample, image))
            expected = patch_scores(clip, image, seeder._text, 12, SCALE)[:12]
            np.testing.assert_allclose(seed.evidence["clip"], expected, atol=1e-5)
            np.testing.assert_array_equal(seed.labels, seeder.seed(LoadedSample(sample, image)).labels)
    asked, score, _, why = seeder._classify(world.image(world[0]))
    assert why == {i: ("clip.patch_threshold", float(score[i])) for i in asked}
    assert set(asked) <= set(np.argsort(-score)[:2].tolist())


def test_a_model_without_patches_is_refused_before_the_first_image(clip):
    blind = load_clip(str(BUNDLED["tiny"]))
    blind.model.visual.attn_pool = torch.nn.Identity()
    with pytest.raises(WsssError, match=r"not a plain vision transformer of open_clip; clip-sams and clip\.scores"):
        DinoSam(CLASSES, blind, None, None, override(Settings(), {"clip.scores": "patches"}))
    DinoSam(CLASSES, blind, None, None, Settings())
