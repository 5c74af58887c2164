"""CLIP behind its interface: label-free classification and crop verification rest on these features."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file

from tests.models.random_checkpoints import save_archive
from tests.rounding import assert_same
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.toyland import draw
from wsss_seed.errors import WsssError
from wsss_seed.models.clip import Clip, load_clip, resized_crops
from wsss_seed.models.zoo import TINY
from wsss_seed.seeding.detection.classification import probabilities, text_features
from wsss_seed.seeding.detection.crop_verification import crop_boxes
from wsss_seed.seeding.detection.settings import ClipSettings

BPE = TINY / "bpe.txt.gz"
SIZE = 32
CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": SIZE, "pool_type": "tok"},
    "text_cfg": {
        "context_length": 20,
        "vocab_size": open_clip.SimpleTokenizer(bpe_path=str(BPE)).vocab_size,
        "width": 32,
        "heads": 2,
        "layers": 2,
        "tokenizer_kwargs": {"bpe_path": "bpe.txt.gz"},
    },
}


@pytest.fixture
def model() -> open_clip.CLIP:
    torch.manual_seed(0)
    return open_clip.CLIP(**CONFIG).eval()


@pytest.fixture
def clip(model) -> Clip:
    return Clip(model, open_clip.SimpleTokenizer(bpe_path=str(BPE), context_length=20))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (37, 53, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path, model) -> Path:
    (tmp_path / "clip.json").write_text(json.dumps(CONFIG))
    (tmp_path / "bpe.txt.gz").write_bytes(BPE.read_bytes())
    save_file({k: v.half().contiguous() for k, v in model.state_dict().items()}, tmp_path / "clip.safetensors")
    return tmp_path


def test_text_features_are_the_library_s(clip, model):
    texts = ["a photo of a boat.", "a photo of water.", "zebra"]
    with torch.no_grad():
        expected = model.encode_text(clip.tokenizer(texts), normalize=True)
    got = clip.encode_text(texts)
    assert torch.equal(got, expected)
    assert got.dtype == torch.float32
    assert torch.allclose(got.norm(dim=1), torch.ones(3))


def test_many_texts_go_through_in_parts(clip):
    texts = [f"a photo of {i} cups" for i in range(150)]
    one_by_one = torch.cat([clip.encode_text([t]) for t in texts])
    assert_same(clip.encode_text(texts), one_by_one)


def test_the_whole_image_is_seen_as_the_library_s_squashing_transform_shows_it(clip, model, image):
    transform = image_transform_v2(
        PreprocessCfg(size=SIZE, resize_mode="squash", interpolation="bicubic"), is_train=False
    )
    with torch.no_grad():
        expected = model.encode_image(transform(Image.fromarray(image))[None], normalize=True)
    got = clip.encode_views(image, np.array([[0, 0, 53, 37]]))
    assert_same(got, expected)


def test_a_view_is_stretched_by_pil_and_stays_inside_the_image(image):
    boxes = np.array([[10.5, 3.25, 40, 30.75], [-5, -5, 20, 20], [40, 20, 53 + 1e-4, 37.5]])
    source = Image.fromarray(image)
    for view, box in zip(
        resized_crops(image, boxes, SIZE), [(10.5, 3.25, 40, 30.75), (0, 0, 20, 20), (40, 20, 53, 37)], strict=True
    ):
        assert np.array_equal(view, source.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box))


def test_views_do_not_depend_on_each_other(clip, image):
    rng = np.random.default_rng(2)
    corner = rng.uniform(0, 20, (70, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 15, (70, 2))], 1)
    alone = torch.cat([clip.encode_views(image, box[None]) for box in boxes])
    assert_same(clip.encode_views(image, boxes), alone)


def test_no_box_gives_no_feature(clip, image):
    assert clip.encode_views(image, np.zeros((0, 4))).shape == (0, 24)


def test_a_box_without_area_is_refused(clip, image):
    with pytest.raises(ValueError, match="area inside"):
        clip.encode_views(image, np.array([[0, 0, 9, 9], [60, 40, 80, 90]]))


def test_gray_level_and_colour_order_reach_the_model(clip):
    """RGB, not BGR, which degrades features without any error."""
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 0] = 255
    box = np.array([[0, 0, 20, 20]])
    assert not torch.allclose(clip.encode_views(red, box), clip.encode_views(red[..., ::-1].copy(), box), atol=1e-3)


def test_what_a_seeder_reads_of_it(clip, model):
    assert (clip.image_size, clip.context_length) == (SIZE, 20)
    assert clip.logit_scale == pytest.approx(1 / 0.07)
    assert not any(p.requires_grad for p in model.parameters())


def test_a_folder_gives_the_model_back_in_half_precision(folder, model, clip, image):
    loaded = load_clip(str(folder))
    for name, value in loaded.model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, model.state_dict()[name].half().float()), name
    boxes = np.array([[0, 0, 53, 37], [3, 4, 30, 30]])
    assert torch.allclose(loaded.encode_views(image, boxes), clip.encode_views(image, boxes), atol=5e-3)
    assert torch.allclose(loaded.encode_text(["a cup"]), clip.encode_text(["a cup"]), atol=5e-3)


def _truncate(folder: Path) -> None:
    path = folder / "clip.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def _empty(folder: Path) -> None:
    (folder / "clip.safetensors").write_bytes(b"")


def _remove(folder: Path) -> None:
    (folder / "clip.safetensors").unlink()


def _other_model(folder: Path) -> None:
    config = json.loads(json.dumps(CONFIG))
    config["vision_cfg"]["layers"] = 3
    save_file(open_clip.CLIP(**config).state_dict(), folder / "clip.safetensors")


@pytest.mark.parametrize("damage", [_truncate, _empty, _remove, _other_model])
def test_unusable_weights_are_named(folder, damage):
    damage(folder)
    with pytest.raises(WsssError, match=r"clip\.safetensors: not the weights of .*clip\.json") as error:
        load_clip(str(folder))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["{", "{}", json.dumps({**CONFIG, "depth": 3}), json.dumps([1])])
def test_an_unusable_configuration_is_named(folder, text):
    (folder / "clip.json").write_text(text)
    with pytest.raises(WsssError, match=r"clip\.json: not the configuration"):
        load_clip(str(folder))


def test_a_missing_vocabulary_is_named(folder):
    (folder / "bpe.txt.gz").unlink()
    with pytest.raises(WsssError, match=r"clip\.json: not the configuration.*bpe\.txt\.gz"):
        load_clip(str(folder))


@pytest.fixture
def library_model(tmp_path: Path) -> str:
    """A small architecture known to open_clip by name, with open_clip's usual vocabulary."""
    config = {**CONFIG, "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}}
    (tmp_path / "wsss-seed-test.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "wsss-seed-test.json")
    return "wsss-seed-test"


def test_a_library_model_with_a_local_file(library_model, tmp_path, image):
    torch.manual_seed(3)
    original = open_clip.create_model(library_model).eval()
    torch.save(original.state_dict(), tmp_path / "weights.pt")
    loaded = load_clip(f"{library_model}:{tmp_path / 'weights.pt'}")
    texts = ["a photo of a cat."]
    with torch.no_grad():
        expected = original.encode_text(open_clip.get_tokenizer(library_model)(texts), normalize=True)
    assert torch.equal(loaded.encode_text(texts), expected)
    assert loaded.context_length == 77


@pytest.mark.parametrize("form", ["archive", "state dict"])
def test_openai_s_checkpoints_may_hold_more_than_the_model_needs_but_not_less(library_model, tmp_path, form):
    """OpenAI's own hold three numbers; other exports keep buffers that open_clip computes."""
    weights = open_clip.create_model(library_model).state_dict()
    path = tmp_path / "weights.pt"

    def save(tensors: dict[str, torch.Tensor]) -> None:
        if form == "archive":
            save_archive(tensors, path)
        else:
            torch.save({**tensors, "input_resolution": torch.tensor(SIZE)}, path)

    save({**weights, "visual.proj_out.extra": torch.ones(3, dtype=torch.float64)})
    loaded = load_clip(f"{library_model}:{path}").model.state_dict()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())

    save({k: v for k, v in weights.items() if k not in ("positional_embedding", "ln_final.weight")})
    with pytest.raises(WsssError, match=r"2 tensors are missing: positional_embedding, ln_final\.weight") as error:
        load_clip(f"{library_model}:{path}")
    assert str(path) in str(error.value)


class _Malicious:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_nothing(library_model, tmp_path):
    torch.save({"state_dict": _Malicious(tmp_path / "harm")}, tmp_path / "weights.pt")
    with pytest.raises(WsssError, match=r"weights\.pt: not plain tensors"):
        load_clip(f"{library_model}:{tmp_path / 'weights.pt'}")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"<html>not found</html>"])
def test_a_file_that_is_no_checkpoint_is_refused(library_model, tmp_path, content):
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(WsssError, match=r"weights\.pt: not plain tensors"):
        load_clip(f"{library_model}:{tmp_path / 'weights.pt'}")


@pytest.mark.parametrize("content", [{}, {"a": "b"}, {1: 2}, [1], None, {"state_dict": {}}, {"state_dict": 5}], ids=str)
def test_a_file_without_tensors_is_refused(library_model, tmp_path, content):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(
        WsssError, match=r"weights\.pt: not plain tensors .*it contains no named tensors.*fetch them again"
    ):
        load_clip(f"{library_model}:{tmp_path / 'weights.pt'}")


def test_weights_of_another_model_are_refused(library_model, tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(WsssError, match=r"weights\.pt: not plain tensors that fit this model"):
        load_clip(f"{library_model}:{tmp_path / 'weights.pt'}")


def test_unknown_names_answer_with_the_nearest():
    with pytest.raises(WsssError, match=r"unknown CLIP model 'ViT-B-61'.*ViT-B-16"):
        load_clip("ViT-B-61:openai")
    with pytest.raises(WsssError, match=r"'opneai' is neither a file nor weights .* ViT-B-16: .*openai"):
        load_clip("ViT-B-16:opneai")
    with pytest.raises(WsssError, match="MODEL:PRETRAINED"):
        load_clip("ViT-B-16")


def test_a_file_without_its_model_is_refused(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"x")
    with pytest.raises(WsssError, match="MODEL:FILE"):
        load_clip(str(tmp_path / "weights.pt"))


@pytest.fixture(scope="module")
def bundled() -> Clip:
    return load_clip(str(TINY))


@pytest.fixture(scope="module")
def bundled_texts(bundled) -> np.ndarray:
    """Text features of toyland's classes and then its places."""
    class_set = load_class_set("toyland")
    return text_features(bundled, [*class_set.phrases, *((p,) for p in class_set.background)], ClipSettings().templates)


def test_the_bundled_model_tells_toyland_s_objects_apart(bundled, bundled_texts):
    """On scenes of a seed of their own; 0.92 is expected over 1,000 scenes."""
    right = []
    for i in range(40):
        scene = draw(i, "test", seed=5)
        crops = bundled.encode_views(
            scene.image, crop_boxes(scene.boxes, scene.labels.shape, 0.15, square=True)
        ).numpy()
        right += ((crops @ bundled_texts[:12].T).argmax(1) == [o.index for o in scene.objects]).tolist()
    assert len(right) > 60
    assert np.mean(right) >= 0.82


def test_the_bundled_model_sees_no_object_where_there_is_only_a_place(bundled, bundled_texts):
    """The places are background prompts that mean something to it, so that absent classes can be rejected."""
    shares = []
    for i in range(60):
        scene = draw(i, "test", seed=6)
        height, width = scene.labels.shape
        rows = np.flatnonzero(~scene.labels.any(1))
        if len(rows) and (run := int((np.diff(rows, prepend=-1) == 1).cumprod().sum())) > height / 4:
            view = bundled.encode_views(scene.image, np.array([[0, 0, width, run]])).numpy()
            shares.append(probabilities(view, bundled_texts, bundled.logit_scale)[0, 12:].sum())
    assert len(shares) >= 10
    assert np.median(shares) > 0.8


def test_the_bundled_model_leaves_room_for_learned_prompts(bundled):
    """Start, 16 context vectors, a name, the full stop and the end."""
    assert bundled.context_length >= 24
    longest = max(len(bundled.tokenizer.encode(f"{name}.")) for name in load_class_set("toyland").prompts)
    assert bundled.context_length >= 1 + 16 + longest + 1


def test_weights_that_cannot_be_fetched_are_one_line_with_a_remedy(tmp_path):
    """In a process of its own, because huggingface_hub reads its environment once."""
    code = (
        "from wsss_seed.models.clip import load_clip\n"
        "from wsss_seed.errors import WsssError\n"
        "try:\n    load_clip('ViT-B-16:openai')\nexcept WsssError as error:\n    print(error)"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.count("\n") == 1
    assert "a local file as ViT-B-16-quickgelu:FILE" in done.stdout  # OpenAI's weights want that activation
    assert "ERROR" not in done.stderr
