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
from typing import Any, NamedTuple

import typer

from .. import __version__
from ..errors import WsssError, one_line
from . import options, show

_PACKAGES = (
    "torch", "torchvision", "transformers", "huggingface_hub", "open_clip_torch", "segment-anything",
    "groundingdino-py", "safetensors", "numpy", "pillow", "pycocotools",
)  # fmt: skip
# Modules whose compiled parts or system libraries can be missing even though pip reports them as installed.
_IMPORTS = {
    "torch": "pip install --force-reinstall torch",
    "torchvision": "pip install --force-reinstall torchvision (the version that matches torch)",
    "open_clip": "pip install --force-reinstall open_clip_torch",
    "segment_anything": "pip install --force-reinstall segment-anything",
    "transformers": "pip install --force-reinstall transformers",
    "pycocotools.mask": "pip install --force-reinstall pycocotools",
}


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        topic: ``versions``, ``devices``, ``network``, ``cache``, ``checkpoints`` or ``libraries``.
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


def doctor(json: options.Json = False) -> None:
    """Check versions, libraries, devices, network, caches and checkpoints, and suggest fixes.

    Exit status 1 if there is a problem.
    """
    findings = [*_versions(), *_libraries(), *_devices(), *_network(), *_cache(), *_checkpoints()]
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
        except (ImportError, OSError) as error:
            yield Finding("libraries", name, "problem", f"cannot be imported ({one_line(error)})", remedy)
        else:
            yield Finding("libraries", name, "ok", "can be imported")
    try:
        from ..models.grounding_dino import check_library

        check_library()
    except (WsssError, ImportError, OSError) as error:
        yield Finding("libraries", "groundingdino", "problem", one_line(error))
    else:
        yield Finding("libraries", "groundingdino", "ok", "can be imported")


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError):
        return  # reported by _libraries
    yield Finding("devices", "cpu", "ok", f"{torch.get_num_threads()} threads on {os.cpu_count()} processors")
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
    from ..models.zoo import find_weights, model_sets

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
        found = {n: find_weights(role, n).state for role, n, _ in s.models()}
        missing = [n for n, state in found.items() if state == "missing"]
        if not missing:
            yield Finding("checkpoints", f"model set {name}", "ok", "complete")
        else:
            remedy = f"wsss-seed models pull {name}"
            if offline():
                remedy = f"{remedy} on a machine with network access, and copy its cache folder here"
            yield Finding("checkpoints", f"model set {name}", "note", f"missing: {', '.join(missing)}", remedy)
