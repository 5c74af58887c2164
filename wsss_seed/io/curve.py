"""Training curves, written as a CSV table and as a PNG plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .files import write_bytes, write_text

_SIZE, _LEFT, _RIGHT, _TOP, _BOTTOM = (960, 480), 80, 24, 40, 40
_COLOURS = ("#1f6fb4", "#d1602f", "#3a8f4d")


def write_curve(path: Path, columns: Mapping[str, Sequence[float]]) -> None:
    """Write ``path``.csv, one row per iteration, and ``path``.png, the plot.

    Args:
        path: without suffix.
        columns: name -> one value per iteration, NaN where there is none; columns whose names begin with ``loss`` or
            ``miou`` are plotted.

    Raises:
        OSError: the files cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["iteration", *columns])
    for i, row in enumerate(zip(*columns.values(), strict=True), 1):
        table.writerow([i, *("" if v != v else f"{v:.8g}" for v in row)])
    write_text(path.with_suffix(".csv"), text.getvalue())
    picture = io.BytesIO()
    drawn = {
        name: values
        for name, values in columns.items()
        if name.startswith(("loss", "miou")) and any(v == v for v in values)
    }
    draw_curve(drawn).save(picture, "PNG")
    write_bytes(path.with_suffix(".png"), picture.getvalue())


def draw_curve(curves: Mapping[str, Sequence[float]]) -> Image.Image:
    """Plot of values over iterations: single values pale, their running mean (over 2 % of the values) bold."""
    image = Image.new("RGB", _SIZE, "white")
    canvas, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    n = max((len(values) for values in curves.values()), default=0)
    shown = [v for values in curves.values() for v in values if v == v]
    low, high = min(0.0, *shown, 0.0), max([*shown, 1e-9])
    width, height = _SIZE[0] - _LEFT - _RIGHT, _SIZE[1] - _TOP - _BOTTOM

    def at(i: float, value: float) -> tuple[float, float]:
        return _LEFT + width * i / max(1, n - 1), _TOP + height * (1 - (value - low) / (high - low))

    for part in range(5):
        value = low + (high - low) * part / 4
        y = at(0, value)[1]
        canvas.line([(_LEFT, y), (_LEFT + width, y)], "#dddddd")
        canvas.text((_LEFT - 8, y), f"{value:.3g}", "black", font, anchor="rm")
        canvas.text((_LEFT + width * part / 4, _TOP + height + 8), f"{n * part // 4}", "black", font, anchor="mt")
    for k, (name, values) in enumerate(curves.items()):
        colour = _COLOURS[k % len(_COLOURS)]
        pale = "#" + "".join(f"{(int(colour[j : j + 2], 16) + 3 * 255) // 4:02x}" for j in (1, 3, 5))
        known = [(i, v) for i, v in enumerate(values) if v == v]
        canvas.line([at(i, v) for i, v in known], pale)
        span = max(1, len(known) // 50)
        sums = [0.0]
        for _, v in known:
            sums.append(sums[-1] + v)
        means = [(sums[j + 1] - sums[max(0, j + 1 - span)]) / (j + 1 - max(0, j + 1 - span)) for j in range(len(known))]
        canvas.line([at(i, m) for (i, _), m in zip(known, means, strict=True)], colour, 2)
        canvas.text((_LEFT + 12 + 160 * k, _TOP - 24), name.replace("_", " "), colour, font)
    return image
