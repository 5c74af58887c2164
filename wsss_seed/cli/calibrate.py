"""``wsss-seed calibrate``: thresholds chosen on a few annotated images, as a file for ``--config``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from . import options, show


def calibrate(
    ctx: typer.Context,
    dataset: options.Dataset,
    out: Annotated[Path, options.option("--out", "-o", help="TOML file to write, for --config.")],
    root: options.Root = None,
    list: options.ListFile = None,
    split: options.Split = None,
    gt: Annotated[
        Path | None,
        options.option("--gt", help="Folder of ground-truth index PNGs. Default: the ground truth of the dataset."),
    ] = None,
    labels: options.Labels = "auto",
    classes: options.Classes = None,
    backend: Annotated[
        str, options.option("--backend", help="Seeding method to calibrate: dino-sam or sam3.")
    ] = "dino-sam",
    models: options.Models = None,
    clip: options.Clip = None,
    sam: options.Sam = None,
    detector: options.Detector = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    images: options.Images = None,
    limit: Annotated[
        int | None, options.option("--limit", help="Use only the first N annotated images.", min=1)
    ] = None,
    start: Annotated[
        str,
        options.option(
            "--from", help="Settings to start from: set (those of the model set) or defaults (those for photographs)."
        ),
    ] = "set",
    cache: Annotated[
        Path | None,
        options.option(
            "--cache",
            help="Folder that keeps the outputs of the models for the next time; also a run folder of generate "
            "--keep-evidence.",
        ),
    ] = None,
    seed: Annotated[int, options.option("--seed", help="Random seed of toyland's images.", min=0)] = 0,
    difficulty: options.Difficulty = "standard",
    set_: options.Set = None,
    json: options.Json = False,
    config: options.Config = None,
) -> None:
    """Choose thresholds on 20 to 500 annotated images and write them to a file for --config.

    The models run once per image; then hundreds of settings are tried on their outputs. A setting is changed only
    if that gains more than chance would; cross-validation says what the choice gains on unseen images. Without
    ground truth, image-level labels decide which classes are found. Settings given by --set or --config stay as given.
    """
    from ..data import open_dataset
    from ..io.files import write_text
    from ..io.progress import Progress
    from ..run.calibrate import calibrate as choose
    from ..run.calibrate import config_file
    from ..run.plan import choose_backend, model_warnings

    if start not in ("set", "defaults"):
        raise UsageError(f"--from {start}: expected set or defaults")
    if not out.parent.is_dir():
        raise UsageError(f"{out}: there is no folder {out.parent}; choose another `out`")
    fixed = options.settings_of(ctx, set_ or [])
    data = open_dataset(dataset, root, split, classes, labels, images, seed, difficulty, list)
    chosen = {"clip": clip, "sam": sam, "detector": detector}
    backend, model_set = choose_backend(
        backend, models, data.class_set.name, device, precision, chosen=chosen, options={}
    )
    show.remarks(data)
    for text in model_warnings(backend, model_set, data.class_set.name, {}):
        show.warning(text)
    found = choose(
        data,
        model_set,
        backend=backend,
        gt=gt,
        limit=limit,
        fixed=fixed,
        from_defaults=start == "defaults",
        cache=cache,
        progress=Progress(show.err, "running the models on"),
        say=show.message,
    )
    missing = [name for name, n in found.per_class.items() if not n]
    if missing:
        show.warning(f"no image shows {', '.join(missing)}: nothing was chosen for these classes")
    write_text(out, config_file(found, data, model_set, backend, gt))
    if json:
        show.as_json({**found.to_json(), "out": str(out)})
        return
    for key, value in found.changes.items():
        show.result(f"{key} = {value}")
    unit = found.criterion
    show.result(
        f"{unit} {show.percent(found.before)} -> {show.percent(found.after)} on these {found.images} images; on unseen "
        f"ones {show.signed(found.gain.value)} with a standard error of {show.percent(found.gain.spread)} "
        f"({found.tried} settings tried)"
    )
    if not found.gain.certain:
        show.result("no gain beyond chance: the settings stay as they are")
    show.result(f"settings: {out} (for --config)")
