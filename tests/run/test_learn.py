"""Learning prompts over a dataset: who may write to its folder, and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsss_seed.data import open_dataset
from wsss_seed.io.lock import Lock
from wsss_seed.models.zoo import ModelSet
from wsss_seed.run.learn import learn_prompts
from wsss_seed.seeding.clip_sams.presets import load_preset


def test_the_folder_is_held_from_the_first_task_to_the_last(tmp_path: Path):
    free: list[bool] = []

    def ask(verb: str, unit: str) -> Any:
        lock = Lock(tmp_path / ".lock")
        free.append(lock.take(shared=False))
        lock.close()

    learn_prompts(
        open_dataset("toyland", None, "train", None, "auto", 4, 0),
        ModelSet("tiny", "cpu").for_backend("clip-sams"),
        "both",
        tmp_path,
        preset=load_preset("toyland"),
        overrides={"train.max_iters": 2, "train.warmup_iters": 1, "train.batch_size": 2, "context.n_ctx": 4},
        progress=ask,
    )
    assert free == [False, False, False]  # cls, coarse seeds, seg
    ask("", "")
    assert free[-1]
