"""What identifies the weights of a model set."""

import hashlib
import json
import logging
import shutil
from pathlib import Path

import pytest

from wsss_seed.models import cache, sam
from wsss_seed.models.zoo import ROLES, TINY, ModelSet, find_weights, is_downloaded


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WSSS_SEED_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("role", ROLES)
def test_a_folder_is_known_by_its_content_wherever_it_lies(tmp_path, role):
    bundled = ModelSet("tiny", "cpu").identity(role)
    folder = tmp_path / "elsewhere"
    shutil.copytree(TINY, folder)
    assert ModelSet("tiny", "cpu", **{role: str(folder)}).identity(role) == bundled
    config = json.loads((folder / f"{role}.json").read_text())
    (folder / f"{role}.json").write_text(json.dumps({**config, "more": 1}))
    changed = ModelSet("tiny", "cpu", **{role: str(folder)}).identity(role)
    assert changed != bundled
    with open(folder / f"{role}.safetensors", "ab") as file:
        file.write(b"\0")
    assert len({changed, bundled, ModelSet("tiny", "cpu", **{role: str(folder)}).identity(role)}) == 3


def test_a_file_is_known_by_its_digest(tmp_path):
    (tmp_path / "my.pth").write_bytes(b"weights")
    models = ModelSet("tiny", "cpu", sam=str(tmp_path / "my.pth"))
    assert models.identity("sam") == hashlib.sha256(b"weights").hexdigest()


def test_a_checkpoint_is_known_by_what_was_published_and_a_library_s_by_its_name():
    models = ModelSet("base", "cpu", clip="ViT-B-32:laion2b_s34b_b79k")
    assert models.identity("sam").startswith("ec2df62732")  # of sam_vit_b_01ec64.pth
    assert models.identity("clip") == "ViT-B-32:laion2b_s34b_b79k"


def test_a_large_file_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "large.pth"
    path.write_bytes(b"x" * 17 * 2**20)
    first = ModelSet("tiny", "cpu", sam=str(path)).identity("sam")

    def refuse(*_):
        raise AssertionError("read again")

    monkeypatch.setattr(cache.hashlib, "file_digest", refuse)
    assert ModelSet("tiny", "cpu", sam=str(path)).identity("sam") == first


def test_sam_is_loaded_for_missing_proposals_only(monkeypatch):
    """clip-sams on an image whose proposals are stored."""
    from wsss_seed.data.classes import load_class_set
    from wsss_seed.data.toyland.scene import draw
    from wsss_seed.seeding.clip_sams import cached_proposals, proposal_settings

    models = ModelSet("tiny", "cpu").for_backend("clip-sams")
    settings = proposal_settings(
        load_class_set("toyland"), models, {"proposals.points_per_side": 4, "proposals.crop_n_layers": 0}
    )
    image = draw(0, "test").image
    first = cached_proposals(models, settings)(image)

    def refuse(*_):
        raise AssertionError("SAM was loaded")

    monkeypatch.setattr(sam, "load_sam", refuse)
    again = ModelSet("tiny", "cpu").for_backend("clip-sams")
    assert cached_proposals(again, settings)(image).masks == first.masks
    with pytest.raises(AssertionError, match="SAM was loaded"):
        cached_proposals(again, settings)(image[::-1].copy())


def test_weights_that_libraries_download_are_looked_for_in_their_caches(home: Path, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def cached(repository: str, file: str) -> None:
        folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        (folder / "snapshots" / "abc").mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("abc")
        (folder / "snapshots" / "abc" / file).write_bytes(b"{}")

    def here(role: str, name: str) -> bool:
        return is_downloaded(find_weights(role, name))

    light = "ViT-B-32-256:datacomp_s34b_b86k"
    names = [
        ("sam", "hf:facebook/sam2.1-hiera-tiny"),
        ("clip", light),
        ("clip", "ViTamin-S:datacomp1b"),
        ("sam", "vit_b"),
    ]
    assert not any(here(*name) for name in names)
    assert here("clip", "tiny")
    cached("facebook/sam2.1-hiera-tiny", "config.json")
    cached("laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K", "open_clip_model.safetensors")
    cached("jienengchen/ViTamin-S", "pytorch_model.bin")
    assert [here(*name) for name in names] == [True, True, True, False]


def test_loading_is_logged_with_the_place_of_the_weights(caplog):
    """The bundled models take no time, and are no step that a command line shows."""
    caplog.set_level(logging.INFO, "wsss_seed")
    assert ModelSet("tiny", "cpu").clip.name == "tiny"
    assert caplog.messages == [f"clip tiny: bundled, {TINY}"]
    caplog.clear()
    assert ModelSet("tiny", "cpu", sam=str(TINY)).sam
    assert caplog.messages == [f"sam {TINY}: file, {TINY}", f"loading SAM {TINY} on cpu"]
