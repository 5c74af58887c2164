"""``wsss-seed generate``: pseudo-masks for a dataset."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ..errors import UsageError
from ..io.source import recorded
from ..io.text import counted
from . import options, show
from .evaluate import show_evaluation
from .summary import doubts, next_commands, show_summary, warn_of_corrections

if TYPE_CHECKING:
    from ..data.base import Dataset, Sample
    from ..data.orientation import Orientation
    from ..evaluation.evaluate import Evaluation
    from ..models.zoo import ModelSet
    from ..run.generate import RunResult

Shard = Annotated[str | None, options.option("--shard", help="I/N: process only every Nth image, from the Ith on.")]


def parse_shard(text: str | None) -> tuple[int, int]:
    """``"I/N"`` (1-based) as (0-based index, N); None as (0, 1)."""
    if text is None:
        return 0, 1
    try:
        i, n = (int(part) for part in text.split("/"))
    except ValueError:
        i = n = 0
    if not 1 <= i <= n:
        raise UsageError(f"--shard {text}: expected I/N with 1 <= I <= N, e.g. --shard 1/4")
    return i - 1, n


def generate(
    ctx: typer.Context,
    dataset: options.Dataset,
    root: options.Root = None,
    list: options.ListFile = None,
    split: options.Split = None,
    backend: options.Backend = None,
    labels: options.Labels = "auto",
    classes: options.Classes = None,
    prompts: options.Prompts = None,
    preset: options.Preset = None,
    stage: options.Stage = None,
    models: options.Models = None,
    clip: options.Clip = None,
    sam: options.Sam = None,
    detector: options.Detector = None,
    device: options.Devices = "auto",
    engine: options.Engine = "local",
    address: options.Address = None,
    workers: options.Workers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    cpus_per_worker: options.CpusPerWorker = None,
    shards: options.Shards = None,
    precision: options.Precision = "auto",
    compile: options.Compile = False,
    batch: options.Batch = "auto",
    offline: options.Offline = False,
    out: Annotated[
        str | None,
        options.option(
            "--out", "-o", help="Run folder, or a URL such as s3://bucket/run. Default: seeds/DATASET-SPLIT."
        ),
    ] = None,
    images: options.Images = None,
    limit: Annotated[
        int | None, options.option("--limit", metavar="N", help="Process only the first N images.", min=1)
    ] = None,
    sample: Annotated[
        int | None,
        options.option(
            "--sample",
            metavar="N",
            help="Process only N random images, chosen by --seed; a larger N adds to them.",
            min=1,
        ),
    ] = None,
    shard: Shard = None,
    orientation: options.Orientation = "stored",
    layout: options.Layout = None,
    overwrite: Annotated[bool, options.option("--overwrite", help="Regenerate finished masks.")] = False,
    keep_evidence: Annotated[
        bool,
        options.option(
            "--keep-evidence",
            help="Keep the outputs of the models in the run folder, so that reseed makes masks with other thresholds "
            "without them. Takes five to ten times as long.",
        ),
    ] = False,
    seed: Annotated[int, options.option("--seed", help="Random seed of --sample, and of toyland's images.", min=0)] = 0,
    difficulty: options.Difficulty = "standard",
    set_: options.Set = None,
    json: options.Json = False,
    config: options.Config = None,
) -> None:
    """Generate a pseudo-mask per image of a dataset, and score the masks if there is ground truth.

    Running the same command again resumes an interrupted run.
    """
    from ..data import open_dataset

    part = parse_shard(shard)
    settings = options.settings_of(ctx, set_ or [])
    data = open_dataset(dataset, root, split, classes, labels, images, seed, difficulty, list)

    from ..io.progress import Progress
    from ..io.source import location
    from ..run.plan import execute, model_warnings, plan_run

    device, cluster = options.placement(engine, device, address, workers, gpus_per_worker, cpus_per_worker)
    plan = plan_run(
        data,
        backend=backend,
        models=models,
        chosen={"clip": clip, "sam": sam, "detector": detector},
        options={"prompts": prompts, "preset": preset, "stage": stage},
        settings=settings,
        device=device,
        precision=precision,
        compile=compile,
        out=None if out is None else location(out),
        limit=limit,
        sample=sample,
        seed=seed,
        orientation=orientation,
        overwrite=overwrite,
        keep_evidence=keep_evidence,
        command=recorded(sys.argv),
        shards=shards,
        cluster=cluster,
        batch=options.parse_batch(batch),
        layout=layout,
    )
    for text in model_warnings(plan.backend, plan.models, data.class_set.name, plan.options):
        show.warning(text)
    where = options.place(plan.models, plan.devices, cluster)
    show.message(
        f"{counted(len(data), 'image')} of {data.title}, {len(data.class_set.names)} "
        f"{'class' if len(data.class_set.names) == 1 else 'classes'}, labels: "
        f"{data.labels_source or 'none'}; {plan.backend} with {described(plan.models, plan.backend)} on {where}"
    )
    show.remarks(data)
    if data.labels_source not in (None, "drawn") and data.unlabelled:
        show.warning(f"{data.unlabelled} images are not in {data.labels_source}; they are seeded without labels")
    warn_of_truth(data, lambda: plan.samples[part[0] :: part[1]])
    result = execute(plan, part, Progress(show.err))
    conclude(result, data, plan.orientation, json)


def described(models: ModelSet, backend: str) -> str:
    """The model set, and the models that replace its own."""
    from ..models.zoo import ModelSet

    usual = ModelSet(models.name).for_backend(backend).names
    chosen = [f"{role} {name}" for role, name in models.for_backend(backend).names.items() if usual.get(role) != name]
    return f"model set '{models.name}'" + (f", but {', '.join(chosen)}," if chosen else "")


def warn_of_truth(data: Dataset, samples: Callable[[], Sequence[Sample]]) -> None:
    """Warn before the run starts about ground truth that would prevent scoring at the end."""
    if data.drawn or not data.has_masks:
        return
    from ..data.check import truth_faults

    faults = list(truth_faults(data, samples()))
    if faults:
        show.warning(
            f"ground truth of {counted(len(faults), 'image')} cannot be used (first: {faults[0]}); there will be no "
            "mIoU until it is fixed"
        )


def conclude(
    result: RunResult,
    data: Dataset,
    orientation: Orientation,
    json: bool,
    more: dict[str, str] | None = None,
    *,
    trains: bool = True,
) -> None:
    """Report the result of a run, score its masks if there is ground truth, and exit.

    Args:
        result: result of the run.
        data: its dataset.
        orientation: what its masks match.
        json: print the result as one JSON object.
        more: further results by name.
        trains: whether the masks are meant to train a segmenter.
    """
    from ..data.orientation import turned_remark

    show.failures(result.failed, more=f"; see {result.out / 'manifest.jsonl'}")
    if result.kept:
        show.message(f"kept: {_masks(result.kept, 'changed since')}; --overwrite regenerates every mask")
    if result.replaced:
        show.message(f"regenerated: {_masks(result.replaced, 'whose image was replaced since')}")
    if result.turned:
        show.message(turned_remark(result.turned, result.made, orientation))
    evaluation = None
    if data.has_masks and not result.interrupted:
        from ..evaluation.evaluate import evaluate
        from ..io.progress import Progress
        from ..output.scored import record_score

        shown = Progress(show.err)
        evaluation = evaluate(result.out, data, ids=result.ids, orientation=orientation, progress=shown)
        record_score(result.out, evaluation, data, corrected=True)
        warn_of_corrections(result.out, original=False)
    _finish(result, evaluation, json, more, trains=trains)


def conclude_unscored(result: RunResult, json: bool) -> None:
    """Report the result of a run without ground truth, and exit."""
    show.failures(result.failed, more=f"; see {result.out / 'manifest.jsonl'}")
    _finish(result, None, json)


def _finish(
    result: RunResult,
    evaluation: Evaluation | None,
    json: bool,
    more: dict[str, str] | None = None,
    *,
    trains: bool = True,
) -> NoReturn:
    from ..data.classes import read_names
    from ..data.voc_layout import CLASSES
    from ..output.run_folder import read_run

    totals = (read_run(result.out) or {}).get("totals") if result.finalized else None
    if json:
        show.as_json(_as_json(result, evaluation) | {"totals": totals} | (more or {}))
    else:
        if totals is not None and evaluation is None:
            show_summary(totals, read_names(result.out / CLASSES)[1:])
        _show(result, evaluation)
        for name, text in (more or {}).items():
            show.result(f"{name}: {text}")
    if totals is not None and trains:
        for text in doubts(totals):
            show.warning(text)
    if result.made and not result.interrupted:
        failed = {name for name, _ in result.failed}
        example = next((name for name in result.ids if name not in failed), None)
        nothing = trains and totals is not None and not totals.get("images_painted")
        show.message(next_commands(result.out, trains=trains, nothing_in=example if nothing else None))
    if result.interrupted:
        show.error("interrupted; run the same command again to resume")
    raise typer.Exit(result.exit_status)


def _masks(ids: Sequence[str], changed: str) -> str:
    """How many masks changed since they were made, and the ids of the first five."""
    several = len(ids) > 1
    made = "they were made" if several else "it was made"
    return f"{len(ids)} mask{'s' * several} {changed} {made} ({', '.join(ids[:5])}{', ...' * (len(ids) > 5)})"


def _as_json(result: RunResult, evaluation: Evaluation | None) -> dict[str, Any]:
    return {
        "out": str(result.out),
        "images": len(result.ids),
        "made": result.made,
        "skipped": result.skipped,
        "kept": list(result.kept),
        "replaced": list(result.replaced),
        "turned": result.turned,
        "failed": [{"id": name, "error": error} for name, error in result.failed],
        "seconds": round(result.seconds, 3),
        "interrupted": result.interrupted,
        "evaluation": evaluation and evaluation.to_json(),
    }


def _show(result: RunResult, evaluation: Evaluation | None) -> None:
    before = f", {result.skipped} already finished" if result.skipped else ""
    failed = f", {len(result.failed)} failed" if result.failed else ""
    if evaluation is not None:
        show_evaluation(evaluation)
    show.result(f"{counted(result.made, 'mask')} generated{before}{failed}, in {result.seconds:.1f} s")
    show.result(f"masks: {result.out / 'SegmentationClass'}")
