"""Checkpoints by name: the bundled entries, the user's own, and what the commands do with them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.models.loopback import Server
from tests.models.own_checkpoint import DATA, HASH
from wsss_seed.errors import WsssError
from wsss_seed.models.checkpoints import addresses, find_checkpoint, known_checkpoints, pull, verify
from wsss_seed.models.libraries import library_models
from wsss_seed.models.zoo import BUNDLED, TINY, ModelSet, find_weights, model_sets

# The bundled entries ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("c", known_checkpoints(), ids=lambda c: c.name)
def test_every_entry_is_complete(c, home: Path):
    assert c.licence in ("MIT", "Apache-2.0")
    assert c.data != "unknown"
    assert c.library in ("open_clip_torch", "segment-anything", "groundingdino-py")
    assert set(c.seen) <= {"voc", "coco"}
    for file in c.files:
        assert all(url.startswith("https://") for url in file.urls)
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.size > 200_000
    for name in (c.name, *c.also):
        assert find_checkpoint(c.role, name) == c
        assert find_weights(c.role, name).state == "missing"


def test_the_addresses_of_openai_contain_the_hash():
    clip = [c for c in known_checkpoints() if c.role == "clip"]
    assert len(clip) == 4
    for c in clip:
        assert c.files[0].urls[0].split("/")[-2:] == [c.files[0].sha256, c.files[0].name]


def test_names_and_files_of_a_role_are_different():
    for role in ("clip", "sam", "detector"):
        entries = [c for c in known_checkpoints() if c.role == role]
        names = [n for c in entries for n in (c.name, *c.also)]
        assert len(names) == len(set(names))
        files = [f for c in entries for f in c.files]
        assert len({f.name for f in files}) == len(set(files))  # one that several have is the same


def test_every_model_of_every_set_is_known():
    for s in model_sets().values():
        for role, name, _ in s.models():
            assert name in BUNDLED or find_checkpoint(role, name) or name in library_models()


def test_swin_b_saw_the_benchmarks_and_swin_t_did_not():
    assert find_checkpoint("detector", "swinb_cogcoor").seen == ("coco", "voc")
    assert find_checkpoint("detector", "swint_ogc").seen == ()


def test_the_large_set_takes_the_clip_of_each_paper():
    large = ModelSet("large", "cpu")
    assert large.for_backend("dino-sam") is large
    assert large.names["clip"] == "ViT-L-14-336-quickgelu:openai"
    fma = large.for_backend("clip-sams")
    assert fma.names == {**large.names, "clip": "ViT-B-16-quickgelu:openai"}
    assert fma.for_backend("clip-sams") is fma
    assert ModelSet("large", "cpu", clip="tiny").for_backend("clip-sams").names["clip"] == "tiny"
    base = ModelSet("base", "cpu")
    assert base.for_backend("clip-sams") is base


def test_a_checkpoint_is_recorded_by_one_name_and_its_published_hash(home: Path):
    models = ModelSet("base", "cpu", clip="ViT-B/16")
    assert models.weights()["clip"] == {
        "name": "ViT-B-16-quickgelu:openai",
        "sha256": "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
    }


# Pulling ------------------------------------------------------------------------------------------------------------


def test_a_missing_model_is_pulled_when_it_is_needed(networked, home: Path, server: Server, tmp_path: Path):
    """Toyland's miniature, published under a name of its own: generate fetches it, and reads what it fetched."""
    weights = (TINY / "detector.safetensors").read_bytes()
    server.files["/small.safetensors"] = weights
    (home / "checkpoints.toml").write_text(
        '[detector.small]\n[[detector.small.files]]\nname = "small.safetensors"\n'
        f'urls = ["{server.url("/small.safetensors")}"]\nsha256 = "{hashlib.sha256(weights).hexdigest()}"\n'
    )
    command = ("generate", "--dataset", "toyland", "--images", 1, "--detector", "small", "--out", "seeds")
    offline = networked(*command, "--offline")
    assert offline.returncode == 2
    path = home / "detector" / "small.safetensors"
    assert f"no file {path}, and offline (--offline or WSSS_SEED_OFFLINE is set)" in offline.stderr
    assert server.url("/small.safetensors") in offline.stderr
    assert hashlib.sha256(weights).hexdigest() in offline.stderr
    assert server.asked == []
    online = networked(*command)
    assert path.read_bytes() == weights
    assert "not a checkpoint of Grounding DINO Swin-T or Swin-B" in online.stderr  # it was the loader that refused


@pytest.mark.parametrize("variable", ["WSSS_SEED_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_says_where_the_file_belongs(
    mine: Path, server: Server, variable: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(variable, "1")
    with pytest.raises(WsssError) as caught:
        pull(find_checkpoint("sam", "mine"))
    for part in (str(mine), server.url("/mine.pth"), HASH, str(len(DATA)), variable):
        assert part in str(caught.value)
    assert server.asked == []
    mine.parent.mkdir()
    mine.write_bytes(DATA)
    pull(find_checkpoint("sam", "mine"))


def test_a_mirror_is_somebody_elses_cache(home: Path, mine: Path, server: Server, monkeypatch: pytest.MonkeyPatch):
    server.files = {"/models/sam/mine.pth": DATA}
    monkeypatch.setenv("WSSS_SEED_MIRROR", server.url("/models/"))
    pull(find_checkpoint("sam", "mine"))
    assert mine.read_bytes() == DATA
    assert [path for path, _ in server.asked] == ["/models/sam/mine.pth"]


def test_what_lies_on_the_hub_follows_its_endpoint(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example/")
    c = find_checkpoint("detector", "swint_ogc")
    (official, copy), (words,) = (addresses(c, f) for f in c.files)
    assert official == c.files[0].urls[0]
    assert copy.startswith("https://hub.example/ShilongLiu/GroundingDINO/resolve/")
    assert words.startswith("https://hub.example/google-bert/bert-base-uncased/resolve/")


def test_an_entry_of_the_users_goes_before_the_bundled_one(home: Path, mine: Path):
    text = (home / "checkpoints.toml").read_text()
    (home / "checkpoints.toml").write_text(text.replace("sam.mine", "sam.vit_b"))
    assert find_checkpoint("sam", "vit_b").files[0].sha256 == HASH
    assert find_checkpoint("sam", "vit_l").files[0].name == "sam_vit_l_0b3195.pth"


@pytest.mark.parametrize(
    "text",
    [
        "[sam.x]\nname = 3",
        "[sam]\nx = 3",
        "[frog.x]\nfiles = []",
        "[sam.x]\nfiles = []",
        '[[sam.x.files]]\nname = "../up"\nurls = ["x"]',
        '[[sam.x.files]]\nname = ".."\nurls = ["x"]',
        '[[sam.x.files]]\nname = ""\nurls = ["x"]',
        '[[sam.x.files]]\nname = "a\\u0000b"\nurls = ["x"]',
        '[[sam.x.files]]\nname = "a"\nurls = [5]',
        '[[sam.x.files]]\nname = "a"\nurls = "x"',
        '[[sam.x.files]]\nname = "a"\nurls = []',
        '[[sam.x.files]]\nname = "a"\nurls = ["x"]\nsize = "large"',
        '[[sam.x.files]]\nname = "a"\nurls = ["x"]\nsize = -1',
        '[[sam.x.files]]\nname = "a"\nurls = ["x"]\nsha256 = 5',
        '[sam.x]\nseen = [5]\nfiles = [{ name = "a", urls = ["x"] }]',
        '[sam.x]\nalso = "abc"\nfiles = [{ name = "a", urls = ["x"] }]',
        '[sam.x]\nlicence = [5]\nfiles = [{ name = "a", urls = ["x"] }]',
    ],
)
def test_a_list_that_is_none_is_refused_by_name(home: Path, text: str):
    (home / "checkpoints.toml").write_text(text)
    with pytest.raises(WsssError, match=r"checkpoints\.toml: not a list of checkpoints"):
        known_checkpoints()


@pytest.mark.parametrize(
    "content",
    [b"[sam", b"a = " + b"1" * 5000, b"a = " + b"[" * 5000, b"\xff"],
    ids=["torn", "digits", "nested", "bytes"],
)
def test_a_list_that_is_not_toml_is_refused_by_name(home: Path, content: bytes):
    (home / "checkpoints.toml").write_bytes(content)
    with pytest.raises(WsssError, match=r"checkpoints\.toml: not (valid TOML|UTF-8 text)"):
        known_checkpoints()
    (home / "checkpoints.toml").unlink()
    (home / "checkpoints.toml").mkdir()
    with pytest.raises(WsssError, match=r"checkpoints\.toml: cannot be read"):
        known_checkpoints()


# Hashes -------------------------------------------------------------------------------------------------------------


def test_a_large_file_is_hashed_once(mine: Path, home: Path):
    mine.parent.mkdir()
    mine.write_bytes(DATA)
    c = find_checkpoint("sam", "mine")
    assert c.state() == "present"
    verify(c)
    assert c.state() == "verified"
    before = mine.stat()
    mine.write_bytes(bytes(len(DATA)))
    os.utime(mine, ns=(before.st_atime_ns, before.st_mtime_ns))
    verify(c)  # nothing says that it has changed, so it is not read
    with pytest.raises(WsssError, match="SHA-256"):
        verify(c, anew=True)
    assert c.state() == "wrong"
    mine.write_bytes(DATA)
    assert c.state() == "present"  # changed, so what is remembered is void
    verify(c)
    mine.write_bytes(DATA[:-1])
    assert c.state() == "wrong"


# Paths --------------------------------------------------------------------------------------------------------------


def test_a_path_is_taken_wherever_a_name_is(home: Path, tmp_path: Path):
    for role in ("clip", "sam", "detector"):
        folder = tmp_path / role
        shutil.copytree(TINY, folder)
        weights = find_weights(role, str(folder))
        assert (weights.state, weights.spec) == ("file", str(folder))
        given = ModelSet("tiny", "cpu", **{role: str(folder)}).weights()[role]
        assert given["sha256"] == ModelSet("tiny", "cpu").weights()[role]["sha256"]
    file = tmp_path / "own.pt"
    file.write_bytes(b"x")
    assert find_weights("clip", f"ViT-B-16:{file}").path == file
    for role in ("clip", "sam", "detector"):
        with pytest.raises(WsssError, match=r"gone\.pth: no such file"):
            find_weights(role, str(tmp_path / "gone.pth"))
        with pytest.raises(WsssError, match=f"unknown {role} model 'vit_x'"):
            find_weights(role, "vit_x")
