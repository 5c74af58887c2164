"""Checkpoints of prompt learning."""

import pytest
import torch

from wsss_seed.errors import WsssError
from wsss_seed.seeding.clip_sams.learn import checkpoint
from wsss_seed.seeding.clip_sams.learn.checkpoint import LearningState


def test_a_checkpoint_is_read_as_written(tmp_path):
    path, about = tmp_path / "cls.checkpoint", {"train.lr": 0.1, "classes": ["cat"]}
    assert checkpoint.load(path, about) is None
    progress = LearningState(3, torch.randn(4, 8), torch.randn(4, 8), {"loss": (0.1, 0.2, 1 / 3)})
    checkpoint.save(path, progress, about)
    again = checkpoint.load(path, about)
    assert again.iteration == 3
    assert again.curve == progress.curve
    assert torch.equal(again.vectors, progress.vectors)
    assert torch.equal(again.momentum, progress.momentum)
    with pytest.raises(WsssError, match=r"train\.lr: 0\.1 before, 0\.2 now.*`overwrite`"):
        checkpoint.load(path, {**about, "train.lr": 0.2})


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no zip", b"x" * 100])
def test_a_damaged_checkpoint_is_one_line(tmp_path, damage):
    path = tmp_path / "cls.checkpoint"
    path.write_bytes(damage)
    with pytest.raises(WsssError, match=r"cls\.checkpoint: not a readable checkpoint"):
        checkpoint.load(path, {})


@pytest.mark.parametrize("key", ["iteration", "vectors", "momentum", "curve", "about"])
def test_a_checkpoint_with_a_value_of_another_type_is_one_line(tmp_path, key):
    path = tmp_path / "cls.checkpoint"
    checkpoint.save(path, LearningState(3, torch.randn(4, 8), torch.randn(4, 8), {"loss": (0.1,)}), {})
    whole = torch.load(path, weights_only=True)
    for value in ("x", [1], {"a": 1}, torch.zeros(2, 3, 5), "[" * 100_000, ...):
        torch.save({k: v for k, v in whole.items() if k != key} | ({} if value is ... else {key: value}), path)
        with pytest.raises(WsssError, match=r"cls\.checkpoint: not a readable checkpoint"):
            checkpoint.load(path, {})
