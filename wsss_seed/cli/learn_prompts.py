"""``wsss-seed learn-prompts``: learn prompts for clip-sams from image-level labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from ..io.source import recorded
from . import options, show


def learn_prompts(
    ctx: typer.Context,
    dataset: options.Dataset,
    root: options.Root = None,
    list: options.ListFile = None,
    split: Annotated[
        str | None,
        options.option(
            "--split",
            help="Name of the split. Default: train for voc and toyland, the first annotation file for coco.",
        ),
    ] = None,
    task: Annotated[
        str,
        options.option(
            "--task",
            help="cls (learn from image-level labels), seg (learn from seeds), or both (cls, coarse seeds, seg).",
        ),
    ] = "both",
    labels: options.Labels = "auto",
    classes: options.Classes = None,
    seeds: Annotated[
        Path | None,
        options.option("--seeds", help="Seeds for --task seg: a run folder, or a folder of label maps <id>.png."),
    ] = None,
    preset: options.ClipSamsPreset = None,
    models: options.Models = None,
    clip: options.Clip = None,
    sam: options.Sam = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
    out: Annotated[Path | None, options.option("--out", "-o", help="Folder. Default: prompts/DATASET-SPLIT.")] = None,
    images: Annotated[
        int | None, options.option("--images", help="Number of toyland images to draw (default 400).", min=1)
    ] = None,
    overwrite: Annotated[bool, options.option("--overwrite", help="Start over.")] = False,
    seed: Annotated[int, options.option("--seed", help="Random seed; also that of toyland's images.", min=0)] = 0,
    difficulty: options.Difficulty = "standard",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Training setting, e.g. train.max_iters=600, seg.train.lr=0.002, coarse.sams.background_exponent=0.5.",
        ),
    ] = None,
    json: options.Json = False,
    config: options.Config = None,
) -> None:
    """Learn the prompts of clip-sams from images with image-level labels.

    Running the same command again resumes interrupted training. On several GPUs: accelerate launch -m wsss_seed
    learn-prompts ... (each GPU processes a share of the micro-batches of an iteration).
    """
    from ..data import open_dataset

    overrides = options.settings_of(ctx, set_ or [])
    if dataset == "toyland":
        split, images = split or "train", images or 400
    data = open_dataset(dataset, root, split, classes, labels, images, seed, difficulty, list)

    from ..io.progress import Progress
    from ..run.learn import learn_prompts as run
    from ..run.learn import processes_for
    from ..seeding.clip_sams.presets import load_preset, preset_for

    recipe = load_preset(preset or preset_for(data.class_set))
    processes = processes_for(task, recipe, overrides)
    model_set = options.model_set(
        models, data.class_set.name, processes.device or device, preset=preset, clip=clip, sam=sam
    ).for_backend("clip-sams")
    out = out or Path("prompts") / f"{data.name}-{data.split}"
    if processes.first:
        show.message(
            f"{len(data)} images of {data.title}, {len(data.class_set.names)} classes, labels: "
            f"{data.labels_source or 'none'}; preset {recipe.name}, CLIP {model_set.names['clip']} on "
            f"{model_set.device}"
        )
        show.remarks(data)
        if data.labels_source and data.unlabelled:
            show.warning(f"{data.unlabelled} images have no image-level labels and are left out")
    result = run(
        data,
        model_set,
        task,
        out,
        preset=recipe,
        overrides=overrides,
        seeds=seeds,
        seed=seed,
        overwrite=overwrite,
        processes=processes,
        progress=lambda verb, unit: Progress(show.err, verb, unit),
    )
    if not processes.first:
        raise typer.Exit(130 if result.interrupted else 0)
    show.failures(result.failed)
    if result.turned:
        show.message(f"{result.turned} images were turned upright according to EXIF")
    if json:
        show.as_json(
            {
                "out": str(result.out),
                "prompts": {name: str(path) for name, path in result.prompts.items()},
                "losses": result.losses,
                "turned": result.turned,
                "failed": [{"id": name, "error": error} for name, error in result.failed],
                "interrupted": result.interrupted,
            }
        )
    else:
        for name, losses in result.losses.items():
            values = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in losses.items())
            show.result(f"{name}: {values} (mean over the last tenth); curve: {result.out / name}.png")
        for path in result.prompts.values():
            show.result(f"prompts: {path}")
        if not result.interrupted:
            given = {"--root": root, "--list": list, "--split": data.split, "--classes": classes, "--preset": preset}
            models_given = {"--models": models, "--clip": clip, "--sam": sam}
            show.message(_next(dataset, {**given, **models_given, "--prompts": result.out}))
    if result.interrupted:
        show.error("interrupted; run the same command again to resume")
    raise typer.Exit(130 if result.interrupted else 1 if result.failed else 0)


def _next(dataset: str, given: Mapping[str, Path | str | None]) -> str:
    """The command that seeds the images with the prompts, and the same models."""
    more = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    return f"next: {recorded(['wsss-seed', 'generate', '--dataset', dataset, *more])}"
