"""The optional dependencies of the package, and the command that installs them."""

from __future__ import annotations

import importlib.util
import json
from importlib.metadata import PackageNotFoundError, distribution
from typing import NamedTuple
from urllib.request import url2pathname

PACKAGE = "wsss-seed"


class Extra(NamedTuple):
    """An extra of the package: the modules it installs, and the purpose."""

    modules: tuple[str, ...]
    purpose: str


EXTRAS = {
    "heif": Extra(("pillow_heif",), "reads HEIC photographs"),
    "remote": Extra(("fsspec", "s3fs"), "reads images behind URLs, such as s3://"),
    "parquet": Extra(("pyarrow",), "reads lists in parquet files"),
    "segmenter": Extra(("accelerate", "scipy", "segmentation_models_pytorch", "timm"), "for train-seg and predict"),
    "ray": Extra(("ray",), "for --engine ray"),
    "review": Extra(("starlette", "uvicorn"), "for review"),
    "multi-gpu": Extra(("accelerate",), "for learn-prompts on several GPUs"),
}


def missing_modules(extra: str) -> list[str]:
    """The modules of an extra that are not installed."""
    return [name for name in EXTRAS[extra].modules if importlib.util.find_spec(name) is None]


def install_command(extra: str) -> str:
    """The command that installs an extra from where the package itself came: an index, a checkout or an archive.

    pip records the latter two in ``direct_url.json`` (packaging.python.org, Recording the Direct URL Origin).
    """
    try:
        origin = json.loads(distribution(PACKAGE).read_text("direct_url.json") or "null")
        url = origin["url"]
        if "dir_info" in origin:
            editable = "-e " * bool(origin["dir_info"].get("editable"))
            return f'pip install {editable}"{url2pathname(url.removeprefix("file://"))}[{extra}]"'
        system = f"{origin['vcs_info']['vcs']}+" if "vcs_info" in origin else ""
        return f'pip install "{PACKAGE}[{extra}] @ {system}{url}"'
    except (PackageNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return f'pip install "{PACKAGE}[{extra}]"'
