"""Weakly supervised semantic segmentation seeds from frozen foundation models.

::

    import wsss_seed as ws

    seeder = ws.load("dino-sam", classes=["cat", "dog"], models="base")
    seed = seeder("photo.jpg")
    run = ws.generate("photos", classes="classes.txt", out="seeds")

Import it before torch if other processes use the same cores: it sets ``OMP_WAIT_POLICY`` to PASSIVE, unless it is set,
which torch only reads when it is imported (see ``load``). What is not listed in ``__all__`` may change without notice.
Nothing heavy is imported before it is needed.
"""

import os
from typing import TYPE_CHECKING, Any

from .errors import CheckpointError, DataError, ImageError, RunFolderError, UsageError, WsssError

if TYPE_CHECKING:
    from .api import ImageSeeder, Run, calibrate, generate, load, open_run
    from .data import ClassSet, load_class_set, open_dataset
    from .types import Instance, Seed

# Idle CPU threads of torch sleep instead of spinning, which is many times slower beside other processes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "ClassSet",
    "DataError",
    "ImageError",
    "ImageSeeder",
    "Instance",
    "Run",
    "RunFolderError",
    "Seed",
    "UsageError",
    "WsssError",
    "__version__",
    "calibrate",
    "generate",
    "load",
    "load_class_set",
    "open_dataset",
    "open_run",
]

_HOMES = {
    "ImageSeeder": "api",
    "Run": "api",
    "calibrate": "api",
    "generate": "api",
    "load": "api",
    "open_run": "api",
    "ClassSet": "data",
    "load_class_set": "data",
    "open_dataset": "data",
    "Instance": "types",
    "Seed": "types",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
