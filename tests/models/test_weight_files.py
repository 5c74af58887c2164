"""Configurations that ask for more than their weights have."""

import json
import shutil

import pytest

from wsss_seed.errors import WsssError
from wsss_seed.models.zoo import TINY, ModelSet


@pytest.mark.parametrize(
    ("role", "keys"),
    [
        ("clip", ("vision_cfg", "width")),
        ("clip", ("text_cfg", "layers")),
        ("sam", ("image_encoder", "embed_dim")),
        ("detector", ("model", "hidden_dim")),
    ],
)
def test_a_size_beyond_the_weights_is_refused_before_memory_is_allocated(tmp_path, role, keys):
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    path = folder / f"{role}.json"
    config = json.loads(path.read_text())
    inner = config
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = 10**9
    path.write_text(json.dumps(config))
    with pytest.raises(WsssError, match=rf"{role}\.json: a size of 1e\+09; its weights have none above"):
        getattr(ModelSet("tiny", "cpu", **{role: str(folder)}), role)


def test_the_bundled_models_are_within_their_sizes():
    models = ModelSet("tiny", "cpu")
    assert models.clip
    assert models.sam
    assert models.detector
