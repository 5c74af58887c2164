"""``wsss-seed bench``: how long each stage of a run takes on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..io.text import counted
from . import options, show

if TYPE_CHECKING:
    from ..run.bench import BenchResult


def bench(
    ctx: typer.Context,
    models: Annotated[str, options.option("--models", help="Model set.")] = "base",
    backend: Annotated[
        str | None, options.option("--backend", help="dino-sam (the default) or clip-sams, with handwritten prompts.")
    ] = None,
    images: Annotated[
        int | None,
        options.option(
            "--images",
            metavar="N",
            help="Number of images: drawn ones of 500 x 375 pixels, or the first of --root. Default: 3 on a CPU, 50 on "
            "a GPU.",
            min=1,
        ),
    ] = None,
    root: Annotated[str | None, options.option("--root", help="Folder of photographs. Default: drawn images.")] = None,
    clip: options.Clip = None,
    sam: options.Sam = None,
    detector: options.Detector = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch: options.Batch = "auto",
    compile: options.Compile = False,
    peers: Annotated[
        bool,
        typer.Option(
            "--peers",
            help="Also measure, in turns on the same images and weights: SamAutomaticMaskGenerator of "
            "segment-anything, the loop of Grounded-SAM's demo (dino-sam only), and the maps of CLIP-ES.",
        ),
    ] = False,
    set_: options.Set = None,
    json: options.Json = False,
    config: options.Config = None,
) -> None:
    """Measure how long each stage of a run takes, and the least time that its arithmetic would need.

    Runs the backend as generate does, with VOC's classes, into a temporary folder. Models that have not been downloaded
    get random weights, which take as long.
    """
    settings = options.settings_of(ctx, set_ or [])
    from ..io.progress import Progress
    from ..run.bench import bench as measure
    from ..run.bench import choose_models

    chosen = choose_models(
        models, backend, device, precision, {"clip": clip, "sam": sam, "detector": detector}, compile
    )
    result = measure(
        *chosen,
        settings=settings,
        images=images,
        root=root,
        batch=options.parse_batch(batch),
        peers=peers,
        progress=Progress(show.err),
    )
    show.failures(result.failed)
    if json:
        show.as_json(result.to_json())
    else:
        _show(result)
    raise typer.Exit(1 if result.failed else 0)


def _show(result: BenchResult) -> None:
    named = ", ".join(f"{role} {name}" for role, name in result.models.items())
    threads = counted(result.threads, "thread")
    show.result(f"{result.backend} on {result.device}, {result.precision}, {threads}, torch {result.torch}; {named}")
    if result.random_weights:
        show.result(
            f"random weights for {', '.join(result.random_weights)}, which are not downloaded: time does not depend on "
            "the values of weights, and the steps that follow process typical answers"
        )
    rows = [
        [
            s.name,
            f"{s.seconds:.3f}",
            f"{100 * s.share:.1f}",
            s.precision or "-",
            _figure(s.gflop),
            _figure(s.floor_seconds),
        ]
        for s in result.stages
    ]
    columns = ["stage", "s per image", "%", "precision", "GFLOP", "floor s"]
    show.table(f"{counted(result.images, 'image')}", columns, rows)
    rates = ", ".join(
        f"{before:.2f} TFLOP/s before and {after:.2f} after the images in {name}"
        for name, (before, after) in result.matmul_tflops.items()
    )
    memory = "" if result.peak_memory_gib is None else f", peak memory {result.peak_memory_gib:.2f} GiB"
    show.result(
        f"end to end {result.seconds_per_image:.3f} s per image, {result.images_per_second:.2f} images per second; "
        f"models busy {100 * result.utilisation:.0f}% of the time{memory}"
    )
    if result.batched_images_per_second is not None:
        show.result(f"{result.batched_images_per_second:.2f} images per second with {result.batch} processed together")
    spread = result.seeding_seconds
    show.result(
        f"seeding takes {spread.median:.3f} s per image in the median, {spread.least:.3f} to {spread.greatest:.3f} s"
    )
    show.result(
        f"floor {result.floor_seconds:.3f} s per image: the operations of the models at the higher measured rate of "
        f"matrix products, {rates}"
    )
    if result.peers:
        show.table(
            "on the same weights",
            ["", "s per image", "peer", "peer s", "ratio", "from", "to"],
            [
                [p.name, f"{p.seconds:.3f}", p.peer, f"{p.peer_seconds:.3f}", *(f"{r:.2f}" for r in ratios)]
                for p in result.peers
                for ratios in [(p.ratio, p.ratio_min, p.ratio_max)]
            ],
        )
    slowest = result.slowest
    times = ""
    if slowest.floor_seconds:
        times = f", {slowest.seconds / slowest.floor_seconds:.1f} times its floor"
    show.result(f"{slowest.name} dominates: {100 * slowest.share:.0f}% of the time of all stages{times}")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
