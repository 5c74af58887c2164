"""A few iterations of ``learn-prompts`` and ``train-seg``: seconds per iteration and losses."""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.gpu.report import described
from tests.benchmarks.gpu.scale import Scale
from wsss_seed.data import open_dataset
from wsss_seed.io.png import write_mask
from wsss_seed.io.progress import Progress
from wsss_seed.models.untrained import with_random_weights
from wsss_seed.models.zoo import ModelSet
from wsss_seed.run.learn import learn_prompts
from wsss_seed.seeding.clip_sams.presets import load_preset
from wsss_seed.segmenter.settings import load_recipe
from wsss_seed.segmenter.train import train_segmenter


class Watch(Progress):
    """Notes when each iteration ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def step(self, *, failed: bool = False, note: str = "") -> None:
        self.ends.append(time.perf_counter())

    def per_iteration(self) -> float:
        """Seconds, the median of the second half: kernels are chosen in the first."""
        steps = [after - before for before, after in zip(self.ends, self.ends[1:], strict=False)]
        return statistics.median(steps[len(steps) // 2 :])


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    iterations = scale.pick(30, 3)
    tasks: dict[str, Callable[[Path], dict[str, Any]]] = {
        f"learn-prompts {task}": lambda out, task=task: _learned(scale, task, iterations, out)
        for task in ("cls", "seg")
    }
    recipes = scale.pick(
        (("deeplabv3plus-voc", "bf16"), ("deeplabv3plus-voc", "fp16"), ("mask2former-voc", "bf16")), (("tiny", "fp32"),)
    )
    for recipe, precision in recipes:
        tasks[f"train-seg {recipe} {precision}"] = lambda out, recipe=recipe, precision=precision: _trained(
            scale, recipe, precision, iterations, out
        )
    for name, work in tasks.items():
        print(name, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            if scale.gpu:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(scale.device)
            try:
                found = work(Path(folder))
            except Exception as error:
                found = {"error": described(error)}
            if scale.gpu:
                found["peak_gib"] = torch.cuda.max_memory_allocated(scale.device) / 2**30
        yield {name: found}


def _learned(scale: Scale, task: str, iterations: int, out: Path) -> dict[str, Any]:
    data = open_dataset("toyland", split="train", images=48)
    masks = out / "masks"
    masks.mkdir()
    for sample in data.samples:
        labels = data.mask(sample)
        assert labels is not None
        write_mask(masks / f"{sample.id}.png", labels, data.class_set.palette)
    asked = ModelSet(scale.pick("base", "tiny"), scale.device).for_backend("clip-sams")
    models, _ = with_random_weights(asked, ("clip",))
    watch = Watch()
    result = learn_prompts(
        data,
        models,
        task,
        out / "prompts",
        preset=load_preset(scale.pick("fma-voc", "toyland")),
        overrides={"train.max_iters": iterations, "train.warmup_iters": 1},
        seeds=masks if task == "seg" else None,
        progress=lambda _verb, _unit: watch,
    )
    return {"seconds_per_iteration": watch.per_iteration(), **_finite(dict(result.losses[task]))}


def _trained(scale: Scale, recipe: str, precision: str, iterations: int, out: Path) -> dict[str, Any]:
    data = open_dataset("toyland", split="train", images=48)
    settings = {"train.max_iters": iterations, "train.precision": precision}
    chosen = load_recipe(recipe, {**settings, **({"train.batch_size": 4} if scale.small else {})})
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)  # or accelerate would insist on the precision before
    watches: list[Watch] = []

    def progress(_verb: str, _unit: str) -> Watch:
        watches.append(Watch())
        return watches[-1]

    train_segmenter(
        data,
        out / "segmenter",
        chosen,
        weights="none",
        device=scale.device,
        workers=scale.pick(8, 0),
        progress=progress,
    )
    rows = (out / "segmenter" / "metrics.csv").read_text().splitlines()
    last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
    losses = {name: float(value) for name, value in last.items() if name.startswith("loss")}
    return {"seconds_per_iteration": watches[-1].per_iteration(), **_finite(losses)}


def _finite(losses: dict[str, float]) -> dict[str, Any]:
    """The losses, with an error if there are none or one of them is not finite."""
    wrong = not losses or not all(map(math.isfinite, losses.values()))
    return {"losses": losses, **({"error": "no finite loss"} if wrong else {})}
