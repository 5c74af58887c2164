"""Settings of clip-sams and its presets, which hold the published values."""

import pytest

from wsss_seed.config import override
from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import WsssError
from wsss_seed.seeding.clip_sams import ClipSamsSettings
from wsss_seed.seeding.clip_sams.learn.settings import LearnSettings
from wsss_seed.seeding.clip_sams.presets import load_preset, preset_for, presets


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sams.background_exponents": 1}, "Did you mean 'sams.background_exponent'"),
        ({"affinity.apply_to": "scor"}, "Did you mean 'score'"),
        ({"sams.background_exponent": -1}, "at least 0"),
        ({"affinity.power": 0}, "at least 1"),
        ({"sams.vote": 1}, "true or false"),
    ],
)
def test_wrong_settings_are_one_line(values, message):
    with pytest.raises(WsssError, match=message):
        override(ClipSamsSettings(), values)


@pytest.mark.parametrize("name", presets())
def test_every_value_of_a_preset_is_a_setting(name):
    preset = load_preset(name)
    assert set(preset.stages) == {"handwritten", "coarse", "fine"}
    for values in preset.stages.values():
        override(ClipSamsSettings(), values)
    assert set(preset.learn) == {"cls", "seg"}
    for values in preset.learn.values():
        override(LearnSettings(), values)


def test_presets_hold_the_published_values():
    voc, coco = load_preset("fma-voc"), load_preset("fma-coco")
    stages = [
        override(ClipSamsSettings(), p.stages[s])
        for p, s in ((voc, "coarse"), (voc, "fine"), (coco, "coarse"), (coco, "fine"))
    ]
    assert [s.affinity.apply_to for s in stages] == ["score", "cam", "cam", "none"]
    assert [s.affinity.box_threshold for s in stages][:3] == [0.4, 0.5, 0.6]
    assert [s.sams.background_exponent for s in stages] == [0.6, 0.7, 0.4, 1.0]
    assert {(s.affinity.sinkhorn_iters, s.affinity.power, s.affinity.attention_blocks) for s in stages} == {(1, 2, 8)}
    assert {(s.cam.weights, s.cam.softmax, s.cam.logit_scale) for s in stages} == {("channel", "masked", 0.0)}
    tasks = [
        override(LearnSettings(), p.learn[t]) for p, t in ((voc, "cls"), (voc, "seg"), (coco, "cls"), (coco, "seg"))
    ]
    assert [t.context.class_specific for t in tasks] == [False, True, False, False]
    assert [t.context.class_token_position for t in tasks] == ["end", "front", "end", "end"]
    assert [t.context.background for t in tasks] == ["named", "empty", "named", "named"]
    assert [t.context.init_std for t in tasks] == [0.015, 0.0125, 0.015, 0.015]
    assert [t.augment.longest_edge_range for t in tasks] == [
        (288, 480),
        (288, 480),
        (318, 530),
        (318, 531),
    ]
    assert [(t.train.batch_size, t.train.gradient_accumulation_steps) for t in tasks] == [
        (16, 1),
        (16, 1),
        (4, 4),
        (2, 8),
    ]
    assert [t.train.labels for t in tasks] == ["image", "crop", "image", "image"]
    assert [t.train.warmup_iters for t in tasks] == [500, 500, 1000, 1000]
    assert [t.train.max_iters for t in tasks] == [1800, 17000, 20500, 75000]
    assert [t.train.stop_iter for t in tasks] == [0, 0, 6150, 45000]
    fixed = {
        (t.context.n_ctx, t.augment.crop_size, t.augment.color_jitter_prob, t.augment.flip_prob, t.train.lr)
        for t in tasks
    }
    assert fixed == {(16, 224, 0.5, 0.5, 1e-3)}
    assert {(t.train.momentum, t.train.weight_decay, t.train.warmup_lr) for t in tasks} == {(0.9, 5e-4, 1e-5)}


def test_long_side_ranges_follow_from_the_crop():
    assert (round(224 * 1.42), round(224 * 1.42 * 5 / 3), round(224 * 1.42 * 1.67)) == (318, 530, 531)


def test_the_preset_of_a_class_set():
    names = {name: preset_for(load_class_set(name)) for name in ("voc", "coco", "toyland", "cat, dog")}
    assert names == {"voc": "fma-voc", "coco": "fma-coco", "toyland": "toyland", "cat, dog": "fma-voc"}
    with pytest.raises(WsssError, match="Did you mean 'fma-voc'"):
        load_preset("fma-vok")
