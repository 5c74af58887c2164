"""The Grounding DINO room against groundingdino's and transformers' own inference, on small models."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.models.small_detector import CONFIG, fill, picture, small_model, vocabulary
from tests.rounding import assert_same
from wsss_seed.data.toyland import CLASSES
from wsss_seed.errors import WsssError
from wsss_seed.models import grounding_dino as room
from wsss_seed.models.detector import class_scores, unique_phrases, write_caption
from wsss_seed.models.grounding_dino import (
    GroundingDino,
    Resize,
    build_grounding_dino,
    build_tokenizer,
    load_grounding_dino,
    load_weights,
)

ROOT = Path(__file__).parents[2]
BUNDLED = Path(room.__file__).parent / "tiny"
CONFIGS = Path(room.__file__).parent / "configs"
PHRASES = [["cat"], ["dining table", "table"], ["hot dog"], ["airplane"]]


@pytest.fixture(scope="module")
def detector():
    return GroundingDino(small_model(), Resize(**CONFIG["resize"]))


def write_folder(folder, model, config=None):
    """A model as ``load_grounding_dino`` reads it, in half precision."""
    folder.mkdir(exist_ok=True)
    (folder / "detector.json").write_text(json.dumps(config or CONFIG))
    (folder / "vocab.txt").write_text("\n".join(vocabulary()))
    save_file({n: t.half().clone() for n, t in model.named_parameters()}, folder / "detector.safetensors")
    return folder


def own_predict(model, image, caption, resize):
    """groundingdino.util.inference's load_image and predict, with its own transforms, above no threshold."""
    import groundingdino.datasets.transforms as T

    transform = T.Compose(
        [
            T.RandomResize([resize.short], max_size=resize.long),
            T.ToTensor(),
            T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    pixels, _ = transform(Image.fromarray(image), None)
    with torch.no_grad():
        out = model(pixels[None], captions=[caption])
    return out["pred_logits"].sigmoid()[0].numpy(), out["pred_boxes"][0].numpy()


@pytest.mark.parametrize("size", [(70, 110), (110, 70), (64, 64), (40, 40), (200, 130), (65, 64)])
def test_boxes_and_scores_are_those_of_the_librarys_predict(size):
    image, resize = picture(*size), Resize(**CONFIG["resize"])
    caption = write_caption(unique_phrases(PHRASES))
    probabilities, boxes = own_predict(small_model(), image, caption.text, resize)
    got = GroundingDino(small_model(), resize).detect(image, PHRASES)
    h, w = size
    x0, x1 = boxes[:, 0] - boxes[:, 2] / 2, boxes[:, 0] + boxes[:, 2] / 2
    y0, y1 = boxes[:, 1] - boxes[:, 3] / 2, boxes[:, 1] + boxes[:, 3] / 2
    wanted = np.stack([x0.clip(0, 1) * w, y0.clip(0, 1) * h, x1.clip(0, 1) * w, y1.clip(0, 1) * h], 1)
    assert_same(got.boxes, wanted)
    assert_same(got.scores, probabilities.max(1))
    offsets = small_model().tokenizer(caption.text, return_offsets_mapping=True)["offset_mapping"]
    assert_same(got.class_scores, class_scores(probabilities, caption, offsets, 4))
    assert [a.dtype for a in got] == [np.float32] * 3


def random_sizes(count=300):
    random = np.random.RandomState(1)
    return [(int(a), int(b)) for a, b in np.exp(random.uniform(3, 7.6, (count, 2)))]


@pytest.mark.parametrize("resize", [Resize(), Resize(128, 128, 32), Resize(64, 96, 32)])
def test_images_are_resized_as_the_library_resizes_them(resize):
    """Except strips so thin that the library's own model could not look at them."""
    from groundingdino.datasets.transforms import resize as own

    checked = 0
    for h, w in random_sizes():
        wanted = own(Image.fromarray(np.zeros((h, w), np.uint8)), None, resize.short, resize.long)[0].size[::-1]
        got = resize.size(h, w)
        if min(wanted) >= resize.least:
            assert got == wanted
            checked += 1
        else:
            assert (min(got), max(got)) == (resize.least, resize.long)
            assert (got[0] < got[1]) == (h < w)
    assert checked > 100


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (3000, 2), (33, 400)])
def test_strange_images_are_seen(detector, size):
    got = detector.detect(np.full((*size, 3), 90, np.uint8), PHRASES)
    h, w = size
    assert got.boxes.shape == (12, 4)
    assert np.isfinite(got.scores).all()
    assert (got.boxes >= 0).all()
    assert (got.boxes <= [w, h, w, h]).all()


def test_an_image_passes_the_backbone_once_and_a_caption_bert_once():
    model = small_model()
    detector = GroundingDino(model, Resize(**CONFIG["resize"]))
    looks, reads = [], []
    model.backbone[0].register_forward_hook(lambda *_: looks.append(1))
    model.bert.register_forward_hook(lambda *_: reads.append(1))
    first = detector.detect(picture(seed=1), PHRASES, joint=False)
    assert (len(looks), len(reads)) == (1, 4)
    second = picture(seed=2)
    again = detector.detect(second, PHRASES, joint=False)
    assert (len(looks), len(reads)) == (2, 4)
    detector.detect(second, PHRASES[:1])
    assert len(looks) == 2  # another call about the same image
    assert not np.array_equal(first.boxes, again.boxes)
    fresh = GroundingDino(small_model(), Resize(**CONFIG["resize"])).detect(picture(seed=2), PHRASES, joint=False)
    for a, b in zip(again, fresh, strict=True):  # what is remembered changes nothing
        np.testing.assert_array_equal(a, b)


def test_levels_below_the_backbone_are_not_doubled_by_what_is_remembered():
    """The model appends its extra levels' position encodings to what the backbone returns."""
    config = {**CONFIG, "model": {**CONFIG["model"], "num_feature_levels": 4}}
    detector = GroundingDino(fill(build_grounding_dino(config, build_tokenizer(vocabulary()))), Resize(64, 96, 32))
    apart = detector.detect(picture(), [["cat"], ["dog"]], joint=False)
    alone = detector.detect(picture(), [[], ["dog"]], joint=True)
    np.testing.assert_array_equal(apart.boxes[12:], alone.boxes)


def test_a_caption_for_each_class_scores_no_other_class(detector):
    got = detector.detect(picture(), [["cat"], [], ["cat", "hot dog"]], joint=False)
    assert got.boxes.shape == (24, 4)
    assert (got.class_scores[:12, 0] > 0).all()
    assert (got.class_scores[:12, 1:] == 0).all()
    assert (got.class_scores[12:, 2] > 0).all()
    assert (got.class_scores[12:, :2] == 0).all()


def test_no_phrases_find_nothing(detector):
    got = detector.detect(picture(), [[], []])
    assert [a.shape for a in got] == [(0, 4), (0,), (0, 2)]


def test_more_than_250_tokens_become_several_captions_that_are_merged(detector):
    phrases = [[f"{a}{b}"] for a in "abcdefghijklm" for b in "nopqrstu"]
    got = detector.detect(picture(), phrases)
    named = got.class_scores > 0
    assert len(got.boxes) == 24
    assert named[:12].any(0).sum() + named[12:].any(0).sum() == len(phrases)
    assert not (named[:12].any(0) & named[12:].any(0)).any()


def test_scores_count_special_tokens_but_classes_do_not(detector):
    """A query's score is over all real tokens, as for the library's box threshold; padding counts nowhere."""
    got = detector.detect(picture(), PHRASES)
    assert (got.scores >= got.class_scores.max(1) - 1e-6).all()


def test_a_narrow_model_leaves_full_size_models_alone():
    library = room._library()
    position = torch.rand(5, 1, 4)
    before = library.transformer.gen_sineembed_for_position(position)
    small_model()
    assert library.transformer.gen_sineembed_for_position(position).equal(before)
    assert before.shape[-1] == 512
    narrow = room._transformer_of_width(64)
    assert narrow is not library.transformer
    assert narrow.gen_sineembed_for_position(position).shape[-1] == 128
    wide = room._transformer_of_width(256)
    assert wide is library.transformer
    # at 256 the replacement would be the library's own function
    embed = library.transformer.get_sine_pos_embed
    torch.testing.assert_close(embed(position, num_pos_feats=128), before)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "millions"), [("grounding_dino_swint.json", 173), ("grounding_dino_swinb.json", 233)])
def test_full_size_configurations_build_the_published_sizes(name, millions):
    config = json.loads((CONFIGS / name).read_text())
    model = build_grounding_dino(config, build_tokenizer(vocabulary()))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == millions
    assert Resize(**config["resize"]) == Resize()
    width = room._SIZES[model.state_dict()["backbone.0.patch_embed.proj.weight"].shape[0]]
    assert width == name


# Loading


def test_a_folder_loads_what_was_written(tmp_path):
    model = small_model()
    loaded = load_grounding_dino(write_folder(tmp_path / "m", model))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.half().float())
    wanted = GroundingDino(model, Resize(**CONFIG["resize"])).detect(picture(), PHRASES)
    for a, b in zip(loaded.detect(picture(), PHRASES), wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    assert loaded.name == str(tmp_path / "m")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_of_the_library_load(tmp_path, monkeypatch, prefix):
    (tmp_path / "small.json").write_text(json.dumps(CONFIG))
    monkeypatch.setattr(room, "_CONFIGS", tmp_path)
    monkeypatch.setattr(room, "_SIZES", {16: "small.json"})
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary()))
    weights = {prefix + name: t for name, t in small_model().state_dict().items()}
    weights[prefix + "label_enc.weight"] = torch.zeros(3, 2)  # training leftovers in published checkpoints
    torch.save({"model": weights}, tmp_path / "x.pth")
    got = load_grounding_dino(tmp_path / "x.pth").detect(picture(), PHRASES)
    wanted = GroundingDino(small_model(), Resize(**CONFIG["resize"])).detect(picture(), PHRASES)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_may_miss_aliases_but_nothing_else():
    model = small_model()
    load_weights(model, dict(model.named_parameters()))  # the box head under one of its names
    weights = {n: p for n, p in model.named_parameters() if "bbox_embed" not in n or "enc_out" in n}
    with pytest.raises(ValueError, match="bbox_embed"):
        load_weights(model, weights)


class _Evil:
    def __reduce__(self):
        return (Path.touch, (Path("evil"),))


def test_bad_checkpoints_are_errors_that_name_the_file_and_the_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = {"model": {"backbone.0.patch_embed.proj.weight": torch.zeros(96, 3, 4, 4)}}
    torch.save(good, tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:-40])
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 768)}, tmp_path / "sam.pth")
    torch.save({"model": [1, 2]}, tmp_path / "list.pth")
    torch.save({}, tmp_path / "nothing.pth")
    torch.save({1: 2, "model": {3: "x"}}, tmp_path / "numbers.pth")
    torch.save({"model": {"backbone.0.patch_embed.proj.weight": torch.tensor(96)}}, tmp_path / "scalar.pth")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(_Evil()))
    (tmp_path / "empty.pth").write_bytes(b"")
    names = ("cut", "sam", "list", "nothing", "numbers", "scalar", "evil", "empty", "absent")
    for name in (f"{name}.pth" for name in names):
        with pytest.raises(WsssError, match=f"{name}: .*download"):
            load_grounding_dino(tmp_path / name)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"cat\ndog\n", b""])
def test_a_vocabulary_that_is_none_is_named(tmp_path, content):
    torch.save({"model": {"backbone.0.patch_embed.proj.weight": torch.zeros(96, 3, 4, 4)}}, tmp_path / "swint.pth")
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(WsssError, match=r"vocab\.txt: not a vocabulary of BERT .* put the vocab.txt of") as error:
        load_grounding_dino(tmp_path / "swint.pth")
    assert "\n" not in str(error.value)


def test_bad_folders_are_errors_that_name_the_file(tmp_path):
    folder = write_folder(tmp_path / "m", small_model())
    weights = folder / "detector.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WsssError, match=r"detector.safetensors: not the weights"):
        load_grounding_dino(folder)
    other = json.loads(json.dumps(CONFIG))
    other["backbone"]["embed_dim"] = 32
    write_folder(folder, small_model(), other)
    with pytest.raises(WsssError, match=r"detector.safetensors: not the weights"):
        load_grounding_dino(folder)
    for broken in ("{", "{}", json.dumps({**CONFIG, "model": {}}), json.dumps({**CONFIG, "vocabulary": "none.txt"})):
        (folder / "detector.json").write_text(broken)
        with pytest.raises(WsssError, match=r"detector.json: not the configuration"):
            load_grounding_dino(folder)


def test_a_missing_vocabulary_says_where_to_put_it(tmp_path):
    name = "no such//name"  # refused before any network is asked
    with pytest.raises(WsssError, match=rf"vocab.txt: no such file.*put the vocab.txt of {name} there"):
        room._published_tokenizer(tmp_path / "vocab.txt", name)


def python(code):
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_drawing_libraries_are_not_imported_and_nothing_is_printed(tmp_path):
    """OpenCV, matplotlib, supervision and pycocotools stay out, and the real visualizer stays importable."""
    folder = write_folder(tmp_path / "m", small_model())
    done = python(
        "import sys, numpy as np\n"
        "from wsss_seed.models.grounding_dino import load_grounding_dino\n"
        f"load_grounding_dino({str(folder)!r}).detect(np.zeros((50, 80, 3), np.uint8), [['cat'], ['dog']])\n"
        "heavy = {'cv2', 'matplotlib', 'supervision', 'pycocotools'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert 'groundingdino.util.visualizer' not in sys.modules\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_system_library_is_one_line_with_the_remedy():
    done = python(
        "import builtins\n"
        "real = builtins.__import__\n"
        "def without(name, *rest, **more):\n"
        "    if name.startswith('timm'):\n"
        "        raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')\n"
        "    return real(name, *rest, **more)\n"
        "from wsss_seed.models import grounding_dino as room\n"
        "from wsss_seed.errors import WsssError\n"
        "builtins.__import__ = without\n"
        "try:\n"
        "    room._library()\n"
        "except WsssError as error:\n"
        "    print(error)\n"
    )
    assert "libGL.so.1" in done.stdout
    assert "apt-get install libgl1" in done.stdout
    assert done.stdout.count("\n") == 1


# The miniature: one set of weights for two libraries


@pytest.fixture(scope="module")
def recipe():
    """The modules under examples/tiny_models that build and export the miniature."""
    sys.path.insert(0, str(ROOT / "examples" / "tiny_models"))
    try:
        import detector_model
        import export_detector
        import train_detector
    finally:
        sys.path.pop(0)
    return detector_model, export_detector, train_detector


@pytest.mark.parametrize("size", [(97, 126), (128, 128), (160, 112), (61, 90)])
def test_transformers_and_groundingdino_give_the_same_boxes(recipe, size):
    detector_model, export_detector, train_detector = recipe
    theirs = fill(detector_model.build().eval(), 3)
    config = export_detector.configuration(theirs)
    ours = build_grounding_dino(config, build_tokenizer(detector_model.vocabulary()))
    load_weights(ours, export_detector.to_groundingdino(theirs.state_dict()))
    detector = GroundingDino(ours, Resize(**config["resize"]))
    caption = " . ".join(CLASSES) + " ."
    pixels = detector.normalised([detector.resized(picture(*size))])
    probabilities, boxes = detector._ask((detector._feature_maps(picture(*size)), caption))
    ids = torch.tensor([ours.tokenizer(caption)["input_ids"]])
    with torch.no_grad():
        logits, wanted, _, _ = train_detector.forward(theirs, pixels, ids)
        out = theirs(pixel_values=pixels, input_ids=ids)
    assert_same(boxes, wanted[-1, 0])
    assert_same(boxes, out.pred_boxes[0])
    assert_same(probabilities, logits[-1, 0].sigmoid())
    assert boxes.std(0).min() > 1e-3


def test_the_exported_folder_loads_and_is_small(recipe, tmp_path):
    detector_model, export_detector, _ = recipe
    export_detector.export(detector_model.build().state_dict(), tmp_path)
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 6e6
    tensors = load_file(tmp_path / "detector.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float16}
    assert load_grounding_dino(tmp_path).detect(picture(), [["cat"]]).boxes.shape == (60, 4)


def test_the_assignment_is_the_cheapest(recipe):
    """The batched assignment of the training loss against trying all of a small problem's permutations."""
    from itertools import permutations

    _, _, train_detector = recipe
    random = torch.Generator().manual_seed(0)
    cost = torch.rand(2, 3, 7, 4, generator=random).round(decimals=1)  # ties
    valid = torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])
    rows = train_detector.assign(cost, valid)
    for k in range(2):
        for b in range(2):
            named = valid[b].nonzero()[:, 0].tolist()
            got = [int(rows[k, b, c]) for c in named]
            assert len(set(got)) == len(got)
            best = min(
                sum(float(cost[k, b, r, c]) for r, c in zip(rs, named, strict=True))
                for rs in permutations(range(7), len(named))
            )
            assert sum(float(cost[k, b, r, c]) for r, c in zip(got, named, strict=True)) == pytest.approx(best)


def test_the_bundled_detector_finds_toyland(recipe):
    sys.path.insert(0, str(ROOT / "examples" / "tiny_models"))
    try:
        from detection_figures import figures
        from evaluate_detector import look
    finally:
        sys.path.pop(0)
    f = figures(look(load_grounding_dino(BUNDLED), "test", 40), len(CLASSES))
    assert f["ap50"] > 0.6
    assert f["class_accuracy"] > 0.7
