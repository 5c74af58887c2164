"""``generate --batch``: images per second by batch size, and whether the masks are equal."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.gpu.report import described
from tests.benchmarks.gpu.scale import Scale
from tests.benchmarks.gpu.throughput import equality, images_for, seeded


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        images = images_for(scale, Path(folder) / "images")
        one = seeded(scale, images, Path(folder) / "1", "--batch", "1")
        yield {"1": one.to_json()}
        for size in scale.pick((8, 16, 4), (2,)):
            try:
                several = seeded(scale, images, Path(folder) / str(size), "--batch", str(size))
                yield {str(size): {**several.to_json(), **equality(several.masks, one.masks)}}
            except Exception as error:
                yield {str(size): {"error": described(error)}}
