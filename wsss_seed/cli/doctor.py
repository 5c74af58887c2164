"""``wsss-seed doctor``: check that everything a run needs is installed, and suggest fixes."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from .. import __version__
from ..errors import WsssError, one_line
from ..io.text import counted
from . import options, show

_PACKAGES = (
    "torch", "torchvision", "transformers", "huggingface_hub", "open_clip_torch", "segment-anything",
    "groundingdino-py", "safetensors", "numpy", "pillow", "pycocotools",
)  # fmt: skip
# Modules whose compiled parts or system libraries can be missing even though pip reports them as installed.
_IMPORTS = {
    "torch": "pip install --force-reinstall torch torchvision",
    "torchvision": "pip install --force-reinstall torch torchvision (both from the same index)",
    "open_clip": "pip install --force-reinstall open_clip_torch",
    "segment_anything": "pip install --force-reinstall segment-anything",
    "transformers": "pip install --force-reinstall transformers",
    "pycocotools.mask": "pip install --force-reinstall pycocotools",
}


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        topic: ``versions``, ``libraries``, ``extras``, ``devices``, ``network``, ``cache``, ``checkpoints`` or
            ``time``.
        name: what was checked.
        state: ``ok``, ``note`` (harmless) or ``problem``.
        text: what was found.
        remedy: how to fix it.
    """

    topic: str
    name: str
    state: str
    text: str
    remedy: str | None = None


def doctor(
    time: Annotated[
        bool,
        typer.Option(
            "--time",
            help="Also measure how long the models of --models take per image here, with random weights for those that "
            "have not been downloaded.",
        ),
    ] = False,
    models: Annotated[str, options.option("--models", help="Model set that --time measures.")] = "base",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    json: options.Json = False,
) -> None:
    """Check versions, libraries, devices, network, caches and checkpoints, and suggest fixes.

    Exit status 1 if there is a problem.
    """
    findings = [*_versions(), *_libraries()]
    for check in (_extras, _devices, _network, _cache, _checkpoints):
        with suppress(ImportError, RuntimeError):  # of a library, reported by _libraries
            findings += check()
    findings += _times(models, device, precision) if time else _not_timed()
    problems = [f for f in findings if f.state == "problem"]
    if json:
        found: list[dict[str, Any]] = [f._asdict() for f in findings]
        show.as_json({"problems": len(problems), "findings": found})
    else:
        for topic in dict.fromkeys(f.topic for f in findings):
            show.result(topic)
            for f in (f for f in findings if f.topic == topic):
                mark = {"ok": " ", "note": "-", "problem": "!"}[f.state]
                show.result(f"  {mark} {f.name}: {f.text}" + (f"; {f.remedy}" if f.remedy else ""))
        show.result("no problems found" if not problems else f"problems: {len(problems)} (lines marked !)")
    raise typer.Exit(1 if problems else 0)


def _versions() -> Iterator[Finding]:
    yield Finding("versions", "wsss-seed", "ok", __version__)
    yield Finding("versions", "python", "ok", f"{platform.python_version()} on {platform.platform()}")
    for name in _PACKAGES:
        try:
            yield Finding("versions", name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding("versions", name, "problem", "not installed", f"pip install {name}")


def _libraries() -> Iterator[Finding]:
    """Whether the libraries can be imported; a missing system library prevents it."""
    for name, remedy in _IMPORTS.items():
        try:
            importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:
            if "operator torchvision::" in str(error):  # whichever library imports torchvision
                remedy = _IMPORTS["torchvision"]
            yield Finding("libraries", name, "problem", f"cannot be imported ({one_line(error)})", remedy)
        else:
            yield Finding("libraries", name, "ok", "can be imported")
    try:
        from ..models.grounding_dino import check_library

        check_library()
    except (WsssError, ImportError, OSError, RuntimeError) as error:
        yield Finding("libraries", "groundingdino", "problem", one_line(error))
    else:
        yield Finding("libraries", "groundingdino", "ok", "can be imported")


def _extras() -> Iterator[Finding]:
    from ..io.extras import EXTRAS, install_command, missing_modules

    for name, extra in EXTRAS.items():
        missing = missing_modules(name)
        if missing:
            text = f"{extra.purpose}; missing: {', '.join(missing)}"
            yield Finding("extras", name, "note", text, install_command(name))
        else:
            yield Finding("extras", name, "ok", f"{extra.purpose}; installed")


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError):
        return  # reported by _libraries
    yield Finding(
        "devices", "cpu", "ok", f"{counted(torch.get_num_threads(), 'thread')} on {os.cpu_count()} processors"
    )
    for i in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(i)
        yield Finding("devices", f"cuda:{i}", "ok", f"{about.name}, {about.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.is_available():
        driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")
        if driver:
            yield Finding(
                "devices", "cuda", "problem", f"an NVIDIA driver is present, but torch {torch.__version__} sees no GPU",
                "install the torch build for the driver's CUDA version, https://pytorch.org/get-started",
            )  # fmt: skip
        else:
            yield Finding("devices", "cuda", "note", "no GPU; full-size models take seconds to minutes per image")


def _network() -> Iterator[Finding]:
    from ..models.cache import offline

    forbidden = offline()
    if forbidden:
        yield Finding("network", "offline", "note", f"{forbidden} is set, so nothing is downloaded")
    else:
        yield Finding("network", "online", "ok", "missing models are downloaded when needed")
    for name in ("WSSS_SEED_MIRROR", "HF_ENDPOINT", "http_proxy", "https_proxy"):
        value = os.environ.get(name) or os.environ.get(name.upper())
        if value:  # drops credentials before the @
            yield Finding("network", name, "ok", value.rpartition("@")[2])


def _cache() -> Iterator[Finding]:
    from ..models.zoo import home

    folders = [("wsss-seed", home(), "WSSS_SEED_HOME")]
    with suppress(ImportError):  # reported by _libraries
        from huggingface_hub.constants import HF_HUB_CACHE

        folders.append(("huggingface_hub", Path(HF_HUB_CACHE), "HF_HOME"))
    for name, folder, variable in folders:
        there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
        free = shutil.disk_usage(there).free
        text = f"{folder}, {free / 1e9:.0f} GB free"
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            yield Finding("cache", name, "problem", f"{text}, not writable", f"choose another with {variable}")
        elif free < 4e9:
            yield Finding("cache", name, "note", text, f"--models large takes 5 GB; make room or set {variable}")
        else:
            yield Finding("cache", name, "ok", text)


def _checkpoints() -> Iterator[Finding]:
    from ..models.cache import offline
    from ..models.checkpoints import known_checkpoints, verify
    from ..models.zoo import find_weights, is_downloaded, model_sets

    try:
        known = known_checkpoints()
    except WsssError as error:
        yield Finding("checkpoints", "checkpoints.toml", "problem", str(error))
        return
    for c in known:
        if c.state() == "missing":
            continue
        try:
            verify(c)  # reads only files that changed since they were last verified
        except (WsssError, OSError) as error:
            yield Finding("checkpoints", c.name, "problem", str(error))
        else:
            hashed = all(f.sha256 for f in c.files)
            yield Finding("checkpoints", c.name, "ok", "verified" if hashed else "present; its hash is not known")
    for name, s in model_sets().items():
        missing = list(dict.fromkeys(n for role, n, _ in s.models() if not is_downloaded(find_weights(role, n))))
        if not missing:
            yield Finding("checkpoints", f"model set {name}", "ok", "complete")
        else:
            remedy = f"wsss-seed models pull {name}"
            if offline():
                remedy = f"{remedy} on a machine with network access, and copy its cache folder here"
            yield Finding("checkpoints", f"model set {name}", "note", f"missing: {', '.join(missing)}", remedy)


def _not_timed() -> Iterator[Finding]:
    yield Finding(
        "time", "model sets", "ok",
        "wsss-seed doctor --time --models base measures seconds per image here; light is faster, strong slower",
    )  # fmt: skip


def _times(name: str, device: str, precision: str) -> Iterator[Finding]:
    """The time of each model of a set for an image, and of all of them for an image and for 1,000."""
    from ..io.rate import duration
    from ..models.untrained import without_download
    from ..models.zoo import ModelSet
    from ..run.timing import OBJECTS, time_models

    models = without_download(ModelSet(name, device, precision=precision))
    show.message(f"measuring the models of '{name}' on {models.device} ({models.precision}); this may take minutes")
    try:
        measured = time_models(models)
    except (WsssError, RuntimeError, OSError) as error:
        yield Finding("time", f"model set {name}", "problem", f"cannot be measured ({one_line(error)})")
        return
    for m in measured:
        by = " with random weights, as its own have not been downloaded" if m.untrained else ""
        yield Finding("time", f"{m.role} {m.name}", "ok", f"{m.seconds:.2f} s per image{by}")
    total = sum(m.seconds for m in measured)
    yield Finding(
        "time", f"model set {name}", "ok",
        f"about {total:.1f} s per image of 500 x 375 pixels with {OBJECTS} objects on {models.device}, "
        f"{duration(1000 * total)} per 1,000 images",
    )  # fmt: skip
