"""One process and two on the same device: images per second of both, and whether the masks are equal."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.gpu.scale import Scale
from tests.benchmarks.gpu.throughput import equality, images_for, seeded


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        images = images_for(scale, Path(folder) / "images")
        one = seeded(scale, images, Path(folder) / "one")
        yield {"one": one.to_json()}
        two = seeded(scale, images, Path(folder) / "two", "--workers", "2")
        yield {"two": {**two.to_json(), **equality(two.masks, one.masks)}}
        yield {"ratio": two.images_per_second / one.images_per_second}
