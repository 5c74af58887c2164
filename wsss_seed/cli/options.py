"""Options that several commands share.

Precedence, highest first: command line, environment (``WSSS_SEED_<OPTION>``), ``--config FILE.toml``, default.
"""

from __future__ import annotations

import getpass
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config import dotted
from ..errors import UsageError, unknown_name

if TYPE_CHECKING:
    from ..data.base import Dataset as OpenDataset
    from ..models.zoo import ModelSet
    from ..run.on_ray import Cluster


def option(*names: str, help: str, **kwargs: Any) -> Any:
    """A typer option that can also be set through the environment variable ``WSSS_SEED_<NAME>``."""
    long = next(n for n in names if n.startswith("--"))
    env = "WSSS_SEED_" + long.split("/")[0].lstrip("-").replace("-", "_").upper()
    return typer.Option(*names, help=help, envvar=env, show_envvar=False, **kwargs)


def parse_setting(text: str, option: str = "--set") -> tuple[str, Any]:
    """``key=value`` of an option; the value is parsed as TOML if possible, else taken as a string."""
    key, sep, value = text.partition("=")
    if not sep or not key:
        raise UsageError(f"{option} {text}: expected KEY=VALUE, e.g. {option} detector.box_threshold=0.25")
    from ..io.text import parse_toml

    try:
        tomllib.loads(f"v = {value}")
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
    except (ValueError, RecursionError):
        pass  # TOML with an unusable value; parse_toml raises the error that says why
    return key.strip(), parse_toml(f"v = {value}", f"{option} {key.strip()}")["v"]


def _load_config(ctx: typer.Context, path: Path | None) -> Path | None:
    if path is None or ctx.resilient_parsing:
        return path
    from ..io.text import parse_toml, read_text

    if not path.exists():
        raise UsageError(f"{path}: cannot be read (there is no such file); give --config an existing TOML file")
    table = parse_toml(read_text(path), str(path))
    settings = table.pop("settings", {})
    if not isinstance(settings, dict):
        raise UsageError(f"{path}: settings must be a table: a line [settings], followed by a line per setting")
    ctx.obj = dotted(settings)
    known = {p.name.replace("_", "-"): p.name for p in ctx.command.params if p.name not in (None, "set_", "config")}
    defaults: dict[str, Any] = {}
    for key, value in table.items():
        if key.replace("_", "-") not in known:
            raise unknown_name(f"option in {path}:", key, [*known, "settings"])
        defaults[known[key.replace("_", "-")]] = value
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    return path


def settings_of(ctx: typer.Context, pairs: list[str]) -> dict[str, Any]:
    """The settings of ``[settings]`` in the config file, overridden by those of ``--set``."""
    return {**(ctx.obj or {}), **dict(parse_setting(p) for p in pairs)}


def _forbid_network(ctx: typer.Context, wanted: bool) -> bool:
    if wanted and not ctx.resilient_parsing:
        from ..models.cache import stay_offline

        stay_offline()
    return wanted


Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.", show_default=False)]
RunOrUrl = Annotated[str, typer.Argument(metavar="RUN", help="Run folder, or its URL.", show_default=False)]
Original = Annotated[
    bool, typer.Option("--original", help="Use the masks as they were generated, without the corrections of a review.")
]
Dataset = Annotated[str, option("--dataset", "-d", help="voc, coco, folder, webdataset or toyland.")]
Root = Annotated[
    str | None,
    option(
        "--root",
        help="Folder of the dataset, for folder also a URL such as s3://bucket/photos; for webdataset a tar or "
        "several, as in shard-{000..012}.tar; not needed for toyland.",
    ),
]
ListFile = Annotated[
    str | None,
    option(
        "--list",
        metavar="FILE",
        help="Images of --dataset folder: a text file with a path or URL per line, or a CSV or parquet file with the "
        "column path and, if you like, id and labels. Paths are relative to --root, or else to the folder of FILE.",
    ),
]
Split = Annotated[
    str | None,
    option(
        "--split",
        help="Name of the split. Default: train for voc, the first annotation file for coco, test for toyland.",
    ),
]
Classes = Annotated[
    str | None,
    option(
        "--classes",
        help='Class set: voc, coco, toyland; names such as "cat, dog"; a text file with a class per line, "name" or '
        '"name: phrase, phrase"; or a TOML file, as in: classes = [{ name = "cat", phrases = ["cat", "kitty"] }].',
    ),
]
Labels = Annotated[
    str,
    option(
        "--labels",
        help="Image-level labels: auto (look for them beside the dataset), masks (the classes in the ground truth, for "
        'reproductions), none (label-free), or a file: CSV (header image,label; rows such as a.jpg,"cat;dog"), text '
        '(lines such as a.jpg cat, dog), JSON ({"a.jpg": ["cat", "dog"]} or COCO instances), cls_labels.npy, or a '
        "folder of VOC XML.",
    ),
]
Backend = Annotated[
    str | None,
    option(
        "--backend",
        help="Seeding method: dino-sam, clip-sams or sam3. Default: clip-sams if --prompts, --stage or a --preset of "
        "clip-sams is given, else dino-sam, or sam3 with --models sam3.",
    ),
]
Prompts = Annotated[
    str | None,
    option(
        "--prompts",
        help="Prompts of clip-sams: handwritten, or a file or folder written by learn-prompts. Default: bundled "
        "prompts.",
    ),
]
Stage = Annotated[
    str | None,
    option(
        "--stage",
        help="Stage of the clip-sams recipe: handwritten, coarse or fine. Default: the stage the prompts were learned "
        "for.",
    ),
]
Device = Annotated[str, option("--device", help="auto, cpu, cuda or cuda:N.")]
Devices = Annotated[
    str,
    option(
        "--device", help="auto, cpu, cuda or cuda:N; several (cuda:0,cuda:1) share the work, with one process each."
    ),
]
Engine = Annotated[
    str,
    option("--engine", help="What runs the workers: local (processes of this machine) or ray (a Ray cluster)."),
]
Address = Annotated[
    str | None,
    option(
        "--address",
        help="Address of the Ray cluster. Default: the one of this machine, or else a new local one.",
    ),
]
Workers = Annotated[
    int | None,
    option(
        "--workers",
        metavar="N",
        help="Number of workers, which share the work. Default: one for each device, with ray as many as fit.",
        min=1,
    ),
]
GpusPerWorker = Annotated[
    float | None,
    option("--gpus-per-worker", metavar="N", help="GPUs of a Ray worker. Default: 1 if the cluster has any.", min=0),
]
CpusPerWorker = Annotated[
    float | None,
    option("--cpus-per-worker", metavar="N", help="CPUs of a Ray worker. Default: 2.", min=0),
]
Shards = Annotated[
    int | None,
    option(
        "--shards",
        metavar="N",
        help="Number of shards that workers take one after the other. Default: 256, more with many images.",
        min=1,
    ),
]
Precision = Annotated[
    str,
    option(
        "--precision",
        help="fp32, bf16, fp16, sam-bf16 (only SAM's image encoder in bf16), or auto: half precision on a GPU; on a CPU"
        " sam-bf16 where that is faster and gives the same masks, else fp32. Class activation maps are always fp32.",
    ),
]
Batch = Annotated[
    str,
    option(
        "--batch",
        help="Number of images that dino-sam processes together, or auto: 8 on a GPU, 1 on a CPU. If memory runs out, "
        "fewer.",
    ),
]
Compile = Annotated[
    bool,
    option(
        "--compile",
        help="Compile SAM's image encoder (vit_b, vit_l, vit_h) with torch.compile: one to two minutes at the start, "
        "then faster by an eighth on a CPU. Masks differ by rounding.",
    ),
]
Models = Annotated[
    str | None,
    option(
        "--models", help="Model set: tiny, base, large, light, strong or sam3. Default: tiny for toyland, else base."
    ),
]
Clip = Annotated[
    str | None,
    option("--clip", help="CLIP model instead of the model set's, e.g. ViT-B-32:openai or ViT-B-16:my_clip.pt."),
]
Sam = Annotated[
    str | None,
    option(
        "--sam", help="SAM model instead of the model set's, e.g. vit_l, my_sam.pth or hf:facebook/sam2.1-hiera-large."
    ),
]
Detector = Annotated[
    str | None,
    option(
        "--detector",
        help="Detector instead of the model set's, e.g. swinb_cogcoor or hf:google/owlv2-base-patch16-ensemble.",
    ),
]
Offline = Annotated[
    bool, option("--offline", help="Do not use the network; a missing model is an error.", callback=_forbid_network)
]
Preset = Annotated[
    str | None,
    option(
        "--preset",
        help="Recipe. clip-sams has fma-voc, fma-coco and toyland, each with its models; default: the recipe for the "
        "class set, with the models of --models. dino-sam has plain, the baseline without CLIP.",
    ),
]
ClipSamsPreset = Annotated[
    str | None,
    option(
        "--preset",
        help="Recipe of clip-sams: fma-voc, fma-coco or toyland, each with its models. Default: the recipe for the "
        "class set, with the models of --models.",
    ),
]
Orientation = Annotated[
    str,
    option(
        "--orientation",
        help="Masks of photographs that EXIF turns: stored (they match the stored pixels) or upright (they match the "
        "upright image, of which the run folder gets a copy). Models see every image upright.",
    ),
]
Layout = Annotated[
    str | None,
    option(
        "--layout",
        help="Files of the run folder: flat (named by image) or nested (also in 65,536 subfolders, for millions of "
        "images). Default: that of an existing run, else flat.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Backend setting, e.g. detector.box_threshold=0.25 or box_threshold=0.25; see wsss-seed settings.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Images = Annotated[int | None, option("--images", help="Number of toyland images to draw (default 100).", min=1)]
Difficulty = Annotated[
    str,
    option(
        "--difficulty",
        help="Toyland's images: standard, or hard (up to 400 pixels and ten objects, tiny to filling, half hidden "
        "among clutter; a fifth without any class).",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file with any of these options, and settings in a table [settings].",
        is_eager=True,
        callback=_load_config,
        envvar="WSSS_SEED_CONFIG",
        show_envvar=False,
    ),
]


def parse_batch(text: str) -> int | None:
    """The value of ``--batch``; None for ``auto``. Raises WsssError if it is not a number."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"`batch` {text}: expected a number of images, or auto") from None


def model_set(
    name: str | None,
    class_set: str,
    device: str,
    precision: str = "auto",
    compile: bool = False,
    *,
    preset: str | None = None,
    **chosen: Any,
) -> Any:
    """The chosen model set; warns if it was trained on another domain. See ``run.plan.choose_models``."""
    from ..run.plan import choose_models, world_warning
    from . import show

    options = {} if preset is None else {"preset": preset}
    models = choose_models(name, class_set, device, precision, chosen=chosen, options=options, compile=compile)
    warning = world_warning(models, class_set)
    if warning:
        show.warning(warning)
    return models


def placement(
    engine: str, device: str, address: str | None, workers: int | None, gpus: float | None, cpus: float | None
) -> tuple[str, Cluster | None]:
    """The devices, each once per worker, and the Ray cluster; None for engine local. Raises UsageError."""
    if engine not in ("local", "ray"):
        raise unknown_name("engine", engine, ["local", "ray"])
    if engine == "local":
        if address is not None or gpus is not None or cpus is not None:
            raise UsageError("--address, --gpus-per-worker and --cpus-per-worker are for --engine ray")
        devices = device.split(",")
        return ",".join(devices[i % len(devices)] for i in range(workers or len(devices))), None
    from ..run.on_ray import Cluster

    return device, Cluster(address, workers, gpus, 2.0 if cpus is None else cpus)


def place(models: ModelSet, devices: Sequence[str], cluster: Cluster | None) -> str:
    """Where workers run, in words."""
    if cluster is not None:
        return "a Ray cluster"
    return models.device if len(devices) == 1 else ", ".join(devices)


def ground_truth(gt: Path | None, dataset: str | None, *of_dataset: Any) -> OpenDataset | Path | None:
    """The ground truth that --gt or --dataset names; None if neither is given.

    Args:
        gt: folder of index PNGs.
        dataset: name of a dataset.
        of_dataset: root, split and classes, and for drawn images their number, seed and difficulty.
    """
    if dataset is None:
        return gt
    if gt is not None:
        raise UsageError("--gt and --dataset both name the ground truth; give one of them")
    from ..data import open_dataset

    root, split, classes, *drawn = of_dataset
    return open_dataset(dataset, root, split, classes, "none", *drawn)


def user_name() -> str:
    """Name of the account; empty without an entry for the user id, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
