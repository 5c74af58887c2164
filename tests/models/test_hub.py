"""Models of transformers by name: what is found, what is refused and how, and a hub on loopback."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.small_hf import bert_tokenizer, grounding_dino, omdet_turbo, picture, sam, saved
from wsss_seed.errors import WsssError
from wsss_seed.models.hf_detector import load_hf_detector
from wsss_seed.models.hf_masks import load_hf_masks
from wsss_seed.models.sam3 import load_sam3
from wsss_seed.models.zoo import ModelSet

LOADERS = [load_hf_masks, load_hf_detector, load_sam3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("models") / "sam", *sam())


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def said(error) -> str:
    """The message, which is one line."""
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("load", LOADERS)
def test_a_folder_without_configuration(load, tmp_path):
    with pytest.raises(WsssError) as error:
        load(str(tmp_path))
    assert said(error).startswith(f"{tmp_path}: no config.json there; give a folder that transformers'")


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"model_type": 5}', "[" * 100_000, '{"model_type": ' + "1" * 5000 + "}"],
    ids=["torn", "list", "empty", "number", "nested", "digits"],
)
def test_a_damaged_configuration(load, text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WsssError) as error:
        load(str(tmp_path))
    assert said(error).startswith(f"{tmp_path / 'config.json'}: not the configuration of a model (")


def test_a_model_of_another_kind_lists_those_that_will_do(folder, tmp_path):
    detector = saved(tmp_path / "dino", *grounding_dino())
    for load, name, wanted in (
        (load_hf_detector, folder, "kind 'sam', not a zero-shot detector; known kinds: grounding-dino, mm-grounding"),
        (load_hf_masks, detector, "kind 'grounding-dino', not one that segments boxes; known kinds: sam, sam2,"),
        (load_sam3, detector, "kind 'grounding-dino', not SAM 3; known kinds: sam3, sam3_video"),
    ):
        with pytest.raises(WsssError) as error:
            load(str(name))
        assert wanted in said(error)


def test_sam_3_without_its_tracker_makes_no_masks_of_boxes(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam3"}))
    with pytest.raises(WsssError, match=r"contains only SAM 3's detector for texts; use it with `backend`"):
        load_hf_masks(str(tmp_path))


def test_missing_weights(folder, tmp_path):
    broken = copied(folder, tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    with pytest.raises(WsssError) as error:
        load_hf_masks(str(broken))
    assert said(error).startswith(f"{broken}: not the weights of a SamModel (")
    assert said(error).endswith("; download it again, or save it again with save_pretrained")


def test_weights_that_are_not_all_there(folder, tmp_path):
    """transformers would initialise them at random and continue."""
    broken = copied(folder, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    del weights["mask_decoder.iou_token.weight"]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(WsssError) as error:
        load_hf_masks(str(broken))
    assert "(1 tensors are missing, first mask_decoder.iou_token.weight)" in said(error)


def test_damaged_weights_and_weights_of_another_size(folder, tmp_path):
    cut = copied(folder, tmp_path / "cut")
    whole = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    other = copied(folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["mask_decoder_config"]["mlp_dim"] = 56
    (other / "config.json").write_text(json.dumps(config))
    for broken in (cut, other):
        with pytest.raises(WsssError) as error:
            load_hf_masks(str(broken))
        assert said(error).startswith(f"{broken}: not the weights of a SamModel (")


def test_a_processor_that_is_missing(folder, tmp_path):
    broken = copied(folder, tmp_path / "broken")
    for path in broken.glob("*processor*"):
        path.unlink()
    with pytest.raises(WsssError) as error:
        load_hf_masks(str(broken))
    assert "the processor's files (SamProcessor) cannot be read" in said(error)


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("models") / "dino", *grounding_dino())


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "processor_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"null", b"[" * 100_000, b"\xff\xfe", None])
def test_a_damaged_file_of_a_processor(detector, tmp_path, name, content):
    """It is refused in one line, or does not matter to transformers."""
    broken = copied(detector, tmp_path / "broken")
    path = broken / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    try:
        load_hf_detector(str(broken))
        message = None
    except WsssError as error:
        message = str(error)
    if message is None:
        assert name != "tokenizer.json"
        return
    assert message.startswith(f"{broken}: the processor's files (GroundingDinoProcessor) cannot be read (")
    assert message.endswith("; download it again, or save it again with save_pretrained")
    assert "\n" not in message


def test_code_of_a_folder_is_never_run(folder, detector, tmp_path, monkeypatch):
    """Every file that can ask for code of the folder does so; transformers would run it, or ask at a terminal."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    for source, load in ((folder, load_hf_masks), (detector, load_hf_detector)):
        evil = copied(source, tmp_path / source.name)
        harm = tmp_path / f"{source.name}-was-here"
        names = ["Config", "Model", "Tokenizer", "Processor"]
        classes = "".join(f"class {name}:\n    pass\n" for name in names)
        (evil / "evil.py").write_text(f"open({str(harm)!r}, 'w')\n{classes}")
        code = {
            "AutoConfig": "evil.Config",
            "AutoModel": "evil.Model",
            "AutoModelForZeroShotObjectDetection": "evil.Model",
            "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"],
            "AutoProcessor": "evil.Processor",
            "AutoImageProcessor": "evil.Processor",
        }
        for path in evil.glob("*.json"):
            if path.name != "tokenizer.json":
                path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": code}))
        with suppress(WsssError):
            load(str(evil))
        assert not harm.exists()


@pytest.mark.parametrize("name", ["a/b/c", "no such folder", "./nowhere"])
def test_no_folder_and_no_name(name, tmp_path):
    with pytest.raises(WsssError) as error:
        load_hf_masks(name)
    assert said(error).startswith(
        f"{name}: neither a folder nor the name of a repository; give a folder, or OWNER/NAME"
    )


def test_a_run_records_which_weights_a_folder_had(folder, tmp_path):
    """So that a run is not gone on with after they changed."""
    other = copied(folder, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    weights["mask_decoder.iou_token.weight"] += 1
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    digests = [ModelSet("tiny", "cpu", sam=f"hf:{f}").weights()["sam"]["sha256"] for f in (folder, folder, other)]
    assert digests[0] == digests[1]
    assert len({None, *digests}) == 3


def test_a_backbone_by_timms_name_needs_no_network(tmp_path, monkeypatch):
    """As in the published configuration of OmDet-Turbo, which an older version of transformers wrote."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model, processor = omdet_turbo(timm=True)
    folder = saved(tmp_path / "omdet", model, processor)
    want = load_hf_detector(str(folder)).detect(picture(), [("cat",)])
    config = json.loads((folder / "config.json").read_text())
    theirs = config.pop("backbone_config")
    arguments = {key: theirs[key] for key in ("out_indices", "img_size", "always_partition")}
    old = {"backbone": theirs["backbone"], "backbone_kwargs": arguments, "use_timm_backbone": True}
    old |= {"use_pretrained_backbone": True, "backbone_config": None}
    (folder / "config.json").write_text(json.dumps({**config, **old}))
    got = load_hf_detector(str(folder)).detect(picture(), [("cat",)])
    for a, b in zip(want, got, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_model_set_loads_them_by_name(folder, tmp_path):
    models = ModelSet("tiny", "cpu", sam=f"hf:{folder}", detector=f"hf:{saved(tmp_path / 'dino', *grounding_dino())}")
    image = picture()
    found = models.detector.detect(image, [["cat"]])
    assert models.sam.decode_boxes(models.sam.embed(image), found.boxes).iou.shape == (12, 1)


# The hub


_COMMIT = "5" * 40


class Hub:
    """A hub with a few repositories, OWNER/NAME -> its files, as far as huggingface_hub asks for them."""

    def __init__(self, repositories: dict[str, Path]):
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                hub.asked.append(self.path)
                path = self.path.partition("?")[0]
                api = path.startswith("/api/models/")
                owner, repository, *rest = path.removeprefix("/api/models").split("/")[1:]
                name = f"{owner}/{repository}"
                files = sorted(repositories[name].iterdir()) if name in repositories else []
                if owner == "gated":
                    self.answer(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "ask first"})
                elif not files:
                    self.answer(404, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "none"})
                elif api and rest[:1] == ["tree"]:
                    table = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": _COMMIT} for p in files]
                    self.answer(200, json.dumps(table).encode(), {})
                elif api:
                    table = {"id": name, "sha": _COMMIT, "siblings": [{"rfilename": p.name} for p in files], "tags": []}
                    self.answer(200, json.dumps(table).encode(), {})
                else:
                    file = repositories[name] / rest[-1]
                    commit = {"X-Repo-Commit": _COMMIT}
                    if file.is_file():
                        self.answer(200, file.read_bytes(), {**commit, "ETag": f'"{file.name}"'})
                    else:
                        self.answer(404, b"", {**commit, "X-Error-Code": "EntryNotFound"})

            def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


SIGLIP = {
    "embed_dim": 24,
    "vision_cfg": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 1030,
        "width": 32,
        "heads": 2,
        "layers": 1,
        "hf_tokenizer_name": "someone/siglip",
    },
}


@pytest.fixture(scope="module")
def siglip(tmp_path_factory) -> Path:
    """A repository as SigLIP's: the weights for open_clip, and a tokenizer that open_clip does not bring along."""
    folder = tmp_path_factory.mktemp("models") / "siglip"
    bert_tokenizer().save_pretrained(folder)
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**SIGLIP).state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def hub(folder, siglip):
    hub = Hub({"someone/sam": folder, "someone/siglip": siglip})
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


SCRIPT = """
import hashlib
import sys
from wsss_seed.errors import WsssError
from wsss_seed.models.hf_masks import load_hf_masks
try:
    model = load_hf_masks(sys.argv[1]).model
    print(hashlib.sha256(b"".join(v.numpy().tobytes() for v in model.state_dict().values())).hexdigest())
except WsssError as error:
    print("refused", error)
"""


def ask(hub: Hub, cache: Path, *args: str, script: str = SCRIPT, **env: str) -> str:
    """The last line of a script that runs in a process of its own, as huggingface_hub reads its settings only once."""
    done = subprocess.run(
        [sys.executable, "-c", script, *args],
        env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0", **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_a_repository_is_fetched_once_and_kept_in_the_hubs_own_cache(hub, folder, tmp_path):
    state = load_hf_masks(str(folder)).model.state_dict()
    wanted = hashlib.sha256(b"".join(value.numpy().tobytes() for value in state.values())).hexdigest()
    assert ask(hub, tmp_path, "someone/sam") == wanted
    assert any("model.safetensors" in path for path in hub.asked)
    hub.asked.clear()
    assert ask(hub, tmp_path, "someone/sam", HF_HUB_OFFLINE="1") == wanted
    assert hub.asked == []


# A model set with models of the hub, whose CLIP open_clip would list.
SET_SCRIPT = f"""
import json, sys
from pathlib import Path
import open_clip
from open_clip import pretrained
from wsss_seed.models import zoo
folder = Path(sys.argv[1])
(folder / "siglip-test.json").write_text(json.dumps({SIGLIP!r}))
open_clip.add_model_config(folder / "siglip-test.json")
pretrained._PRETRAINED["siglip-test"] = {{"small": pretrained._pcfg(hf_hub="someone/siglip/")}}
(folder / "sets").mkdir(exist_ok=True)
(folder / "sets" / "mine.toml").write_text(
    'title = "of the hub"\\nclip = "siglip-test:small"\\nsam = "hf:someone/sam"\\ndetector = "tiny"'
)
zoo._HERE = folder
"""

PULL = """
from wsss_seed.cli import main
sys.argv = ["wsss-seed", "models", "pull", "mine"]
main()
"""

USE = """
models = zoo.ModelSet("mine", "cpu")
features = models.clip.encode_text(["a cat"])
print(models.sam is not None, tuple(features.shape))
"""


def test_a_model_set_is_pulled_with_all_its_models_of_the_hub(hub, siglip, tmp_path):
    """Weights, tokenizers and configurations: afterwards it works without a network."""
    hub.asked.clear()
    ask(hub, tmp_path / "cache", str(tmp_path), script=SET_SCRIPT + PULL)
    fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert {"open_clip_model.safetensors", "tokenizer_config.json", "model.safetensors"} <= fetched
    hub.asked.clear()
    used = ask(hub, tmp_path / "cache", str(tmp_path), script=SET_SCRIPT + USE, HF_HUB_OFFLINE="1")
    assert used == "True (1, 24)"
    assert hub.asked == []


def test_what_the_hub_does_not_give(hub, tmp_path):
    for name, env, wanted in (
        ("someone/other", {}, "no such folder, and no such repository on http://127.0.0.1"),
        ("gated/sam", {}, "gated/sam, then log in with 'hf auth login'"),
        (
            "someone/sam",
            {"HF_HUB_OFFLINE": "1"},
            "HF_HUB_OFFLINE forbids downloading it; download it while online (hf ",
        ),
    ):
        answer = ask(hub, tmp_path, name, **env)
        assert answer.startswith(f"refused {name}: ")
        assert wanted in answer


@pytest.mark.parametrize("name", ["hf:someone/sam", "siglip-test:small"])
def test_a_hub_that_cannot_be_reached_is_one_line_and_no_retries(tmp_path, name):
    """Without a network: huggingface_hub alone would try for a minute to reach it."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    done = subprocess.run(
        [sys.executable, "-c", SET_SCRIPT + PULL.replace("mine", name), str(tmp_path)],
        env={**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    first, last = done.stderr.splitlines()
    assert first == f"looking for {name.removeprefix('hf:')} on {url}"
    assert last.startswith(f"error: {name.removeprefix('hf:')}: ")
    assert "refused)" in last
    assert done.returncode == 2
